"""The search page and its API."""
