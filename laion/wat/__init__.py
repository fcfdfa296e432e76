"""Extract candidates, image URLs with their alt texts, from Common Crawl's WAT files."""
