"""From Common Crawl's WAT files to candidates: image URLs with their alt texts."""
