"""Measurements of img2ds; one file a question. Not tests: nothing asserts a time."""
