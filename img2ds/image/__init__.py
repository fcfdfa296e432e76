"""From the bytes of an image file to the image of a sample."""
