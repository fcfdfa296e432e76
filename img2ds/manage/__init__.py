"""What is done with a data set that is there: `img2ds status|verify|retry|reshard`."""
