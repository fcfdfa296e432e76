"""A small text-to-image model, trained on the pairs of a dataset to check that they are usable."""
