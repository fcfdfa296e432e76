"""Flags: how one is declared, the option groups, and how the command line is read."""
