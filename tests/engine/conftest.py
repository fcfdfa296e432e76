"""Folders on S3 for the engine, as for the storage beneath it."""

from __future__ import annotations

from tests.storage.conftest import s3

__all__ = ["s3"]
