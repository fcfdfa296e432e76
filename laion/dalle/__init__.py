"""A small text-to-image model, trained on a data set's pairs: a proof that they teach something."""
