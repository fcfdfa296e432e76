"""`laion dedup_images`: keeps one of the images that look the same."""
