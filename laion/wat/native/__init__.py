"""C extensions that scan WAT files; all optional."""
