"""The parent's benchmark replays what workers send, all of it."""

from __future__ import annotations

from pathlib import Path

from benchmark.marker_store import ROWS
from benchmark.node import TARGET, replay
from img2ds.engine.marker_cache import PIECE


def test_every_row_and_report_goes_through_the_parent(tmp_path: Path) -> None:
    found = replay(tmp_path, 300 * ROWS - 5, TARGET)
    assert found["shards"] == 300
    assert found["rows"] == 300 * ROWS, "made-up shards are full"
    assert found["reports"] == 300 * 13, "one report each half second, and one for the shard"
    assert PIECE > 300
    assert not list((tmp_path / "out").glob(".img2ds-markers-*")), "too few for the cache"
