"""`laion release` and `laion stats`: the data set as LAION-400M has it, and what is in it."""
