"""Everything between a URL and the bytes behind it, on trio."""
