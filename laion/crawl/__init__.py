"""`laion crawl`: download, score, tag and filter at once; only kept pairs reach a disk."""
