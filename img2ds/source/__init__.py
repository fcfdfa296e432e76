"""Input files as rows: one module a format, one protocol.

A source never holds more than one shard's rows and one row group's pages.
"""
