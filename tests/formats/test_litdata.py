"""litdata: the index of the folder, and damage. LitData's own tests are in tests/readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import img2ds
from img2ds.formats.contract import DamagedShardError
from img2ds.formats.litdata import LitDataReader
from img2ds.storage import OutputFolder
from tests.contract.samples_and_readers import read_litdata, samples, write
from tests.server.served_rows import ROWS, serve_rows


def test_the_index_lists_what_is_committed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with serve_rows(output_format="litdata", caption_col="caption", image_size=32) as flags:
        arguments: dict[str, Any] = {**flags, "output_folder": out}
        img2ds.download(ROWS, **arguments)
        index = json.loads((out / "index.json").read_text())
        stored = {path.name: read_litdata(path) for path in sorted(out.glob("*.bin"))}
        assert [(c["filename"], c["chunk_size"], c["chunk_bytes"]) for c in index["chunks"]] == [
            (name, len(found), (out / name).stat().st_size) for name, found in stored.items()
        ]
        assert index["config"]["data_format"] == ["jpeg", "str", "str", "str"]
        # It is the same after a resume, and another one for other shards: readers compare it.
        (out / "00001_stats.json").unlink()
        img2ds.download(ROWS, **arguments)
        assert json.loads((out / "index.json").read_text()) == index
        img2ds.download(ROWS[:20], **arguments, incremental_mode="overwrite")
    after = json.loads((out / "index.json").read_text())
    assert [chunk["filename"] for chunk in after["chunks"]] == ["00000.bin", "00001.bin"]
    assert after["updated_at"] != index["updated_at"]


@pytest.mark.parametrize("captions", [True, False], ids=["captions", "no captions"])
def test_values_are_told_apart(captions: bool, tmp_path: Path) -> None:
    write(tmp_path, "litdata", captions)
    reader = LitDataReader(OutputFolder.open(str(tmp_path)), "00007.bin", "jpg")
    found = list(reader.samples())
    assert [sample.key for sample in found] == sorted(s.key for s in samples(captions))
    assert {"txt" in sample.parts for sample in found} == {captions}


def test_damage_raises_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, "litdata", True)
    path = tmp_path / "00007.bin"
    whole = path.read_bytes()
    dice = np.random.default_rng(1)
    found = 0
    for place in dice.integers(0, 200, 100):
        data = bytearray(whole)
        data[place] ^= 1 << int(dice.integers(8))
        path.write_bytes(data)
        try:
            list(LitDataReader(OutputFolder.open(str(tmp_path)), "00007.bin", "jpg").samples())
        except DamagedShardError:
            found += 1
    assert found
