"""C extensions of the image pipeline; all optional."""
