"""Lists of known bad material: URLs, hosts and hashes that no dataset may hold."""
