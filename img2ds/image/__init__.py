"""From the bytes of a picture to the bytes of a sample."""
