"""img2ds turns a list of image URLs into a training dataset."""

__version__ = "0.1.0"
