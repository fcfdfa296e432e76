"""A folder of S3 is listed in ranges at once, and is what s3fs lists."""

from __future__ import annotations

from collections import Counter
from typing import Any

import fsspec
import pytest

from img2ds.core.failure import UsageError
from img2ds.storage import OutputFolder, find_inputs, s3_listing, sizes
from img2ds.storage.remote_listing import entry_version

#: Names with numbers of two lengths and others, one that XML and URLs quote, and folders.
NAMES = [
    *(f"{number:05d}.tar" for number in range(0, 400, 3)),
    *(f"{number:06d}_stats.json" for number in range(100_000, 100_040)),
    ".img2ds-manifest", 'a & "b" <c>+%41 \u00e9\U0001f600.txt', "z.parquet",
    *(f"{number:05d}/000.jpg" for number in range(60)), "sub/deep/file",
]  # fmt: skip


@pytest.fixture
def place(s3: str, request: pytest.FixtureRequest) -> str:
    fs, path = fsspec.core.url_to_fs(f"{s3}/{request.node.name}")
    fs.pipe({f"{path}/{name}": name.encode() for name in NAMES})
    return f"{s3}/{request.node.name}"


def by_s3fs(place: str) -> dict[str, tuple[int | None, int]]:
    fs, path = fsspec.core.url_to_fs(place)
    return {
        entry["name"].removeprefix(f"{path}/"): (
            (None, 0) if entry["type"] == "directory" else (entry["size"], entry_version(entry))
        )
        for entry in fs.ls(path, detail=True, refresh=True)
    }


@pytest.fixture
def pages(place: str, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Pages of ten entries; counts those that were asked for after a name, and all."""
    fs, _ = fsspec.core.url_to_fs(place)
    monkeypatch.setitem(fs.req_kw, "MaxKeys", 10)
    monkeypatch.setattr(s3_listing, "_FEW", 50)
    asked: Counter[str] = Counter()
    call = fs._call_s3

    async def counted(method: str, **request: Any) -> Any:
        asked["pages"] += 1
        asked["ranges"] += "StartAfter" in request and "ContinuationToken" not in request
        return await call(method, **request)

    monkeypatch.setattr(fs, "_call_s3", counted)
    return asked


def listed(place: str) -> dict[str, tuple[int | None, int] | None]:
    found = sizes(OutputFolder.open(place))
    return {name: found.find(name) for name in found}


def test_ranges_have_all_names(place: str, pages: Counter[str]) -> None:
    assert listed(place) == by_s3fs(place)
    assert pages["ranges"] > 8


def test_inputs_are_found_in_pages(place: str, pages: Counter[str]) -> None:
    wanted = sorted(f"{place}/{name}" for name in NAMES if "/" not in name and name[-4:] == ".tar")
    found = find_inputs(place, [".tar"])
    assert [file.path for file in found] == wanted
    assert {file.size for file in found} == {9}
    assert pages["pages"] > len(wanted) / 10, "by pages, and not by `ls`"
    with pytest.raises(UsageError, match="has no file that ends in"):
        find_inputs(place, [".csv"])
    with pytest.raises(UsageError, match="there is no file or folder"):
        find_inputs(f"{place}/none", [".csv"])


def test_a_service_that_lists_in_another_order(
    place: str, pages: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_listing, "_is_sorted", lambda _: False)
    assert listed(place) == by_s3fs(place)
    assert not pages["ranges"]


def test_a_service_that_lists_all_after_any_name(
    place: str, pages: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, _ = fsspec.core.url_to_fs(place)
    call = fs._call_s3

    async def without(method: str, **request: Any) -> Any:
        request.pop("StartAfter", None)
        return await call(method, **request)

    monkeypatch.setattr(fs, "_call_s3", without)
    assert listed(place) == by_s3fs(place)
    assert pages["pages"] < len(NAMES)  # ten times what one list takes


def test_a_client_that_has_no_such_event(
    place: str, pages: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, _ = fsspec.core.url_to_fs(place)
    fs.s3.meta.events.unregister(s3_listing._EVENT, unique_id=s3_listing._EVENT)
    monkeypatch.setattr(s3_listing, "_EVENT", "before-parse.other.ListObjectsV2")
    assert listed(place) == by_s3fs(place)
