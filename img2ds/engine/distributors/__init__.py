"""Distributors: run workers on this machine, on Ray or on Spark."""
