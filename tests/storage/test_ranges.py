"""Places of many files of S3 are read together."""

from __future__ import annotations

import fsspec
import pytest

from img2ds.storage import Range, read_ranges


def test_ranges_of_many_files(s3: str) -> None:
    fs, path = fsspec.core.url_to_fs(s3)
    fs.pipe({f"{path}/ranges/{number}": bytes(range(number, number + 9)) for number in range(20)})
    wanted = [Range(f"{s3}/ranges/{number}", number % 5, 6) for number in range(20)]
    assert read_ranges(wanted) == [bytes(range(n + n % 5, n + 6)) for n in range(20)]
    assert read_ranges([]) == []
    with pytest.raises(FileNotFoundError):
        read_ranges([*wanted, Range(f"{s3}/ranges/gone", 0, 1)])
