"""`laion tag`: the NSFW tag of every pair, and the filter of illegal content."""
