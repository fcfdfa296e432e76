"""Keeps pandas out of processes that do not use it.

pyarrow imports it for the first list that it is given, to see whether that is a Series: half a
second of CPU and 50 MB.
"""

from __future__ import annotations

import sys
from typing import Any


class _NoPandas:
    """A module finder that does not find pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def keep_pandas_out() -> None:
    """Make pyarrow believe that pandas is not installed, in this process.

    It looks once, so others may import pandas after this. Not for a process whose user may give
    pyarrow a Series: that would be a sequence like any other, with NaN for what is missing.
    """
    if "pandas" not in sys.modules:
        import pyarrow as pa  # here: messages about a mistyped command need not wait for it

        finder: Any = _NoPandas
        sys.meta_path.insert(0, finder)
        try:
            pa.array([None])
        finally:
            sys.meta_path.remove(finder)
