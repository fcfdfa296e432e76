"""Columns that cannot be what they are named for."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.config.options import InputOptions
from img2ds.core.failure import UsageError
from img2ds.source.table import open_source


@pytest.mark.parametrize("value", [1, 0.5, True, datetime(2026, 1, 1)])
def test_a_column_of_numbers_holds_no_urls(tmp_path: Path, value: Any) -> None:
    path = str(tmp_path / "list.parquet")
    pq.write_table(pa.table({"id": [value], "url": ["http://a/"]}), path)
    with pytest.raises(UsageError, match=r"in the column 'id', not URLs: choose another with"):
        open_source(path, "parquet", InputOptions(url_list=path, url_col="id"))
    open_source(path, "parquet", InputOptions(url_list=path))
