"""`laion group`: one row a URL, with all of its texts, so that it is downloaded once."""
