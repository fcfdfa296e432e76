"""`laion filter`: keeps the pairs that an SQL condition, or a share of the best, selects."""
