"""Congestion control: what the workers of one machine may have in progress, and whose fault it is.

Limits belong to the machine, not to a process: see `machine`. Nothing here does network I/O.
"""
