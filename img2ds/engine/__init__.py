"""Runs numbered tasks in worker processes until each is committed. Knows nothing of images."""
