"""Samples, images and captions, in tars, folders of files and tables."""
