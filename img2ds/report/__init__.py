"""Counters that merge, the console, the summary, Weights & Biases."""
