"""Manages existing datasets: `img2ds status|verify|retry|reshard`."""
