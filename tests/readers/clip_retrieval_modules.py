"""Modules of clip-retrieval without its package, which imports models that cannot be had here."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def clip_retrieval_module(name: str) -> Any:
    """Import `clip_retrieval.NAME`; skip the test where it, or what it needs, is not installed."""
    try:
        places = [str(Path(str(distribution("clip-retrieval").locate_file("clip_retrieval"))))]
    except PackageNotFoundError:
        pytest.skip("clip-retrieval is not installed: make compat")
    parts = ["clip_retrieval", *name.split(".")[:-1]]
    for count in range(1, len(parts) + 1):
        package = ".".join(parts[:count])
        if package not in sys.modules:
            module = ModuleType(package)
            module.__path__ = [str(Path(place, *parts[1:count])) for place in places]
            sys.modules[package] = module
    try:
        return importlib.import_module(f"clip_retrieval.{name}")
    except ImportError as error:
        pytest.skip(f"clip-retrieval cannot be imported: {error}")
