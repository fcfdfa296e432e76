"""`laion release` and `laion stats`: the dataset in LAION-400M's form, and its statistics."""
