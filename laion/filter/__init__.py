"""`laion filter`: keeps the pairs that a condition, a recipe, or a share of the best selects."""
