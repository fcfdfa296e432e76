"""Distributions: hosts, shapes, names in bounded memory, histograms of scores."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from laion.report import distribution
from laion.report.distribution import Names, Score, count_shapes, hosts_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Photos.Example/1.jpg", "photos.example"),
        ("https://user:word@photos.example:8080/?a=b", "photos.example"),
        ("https://photos.example", "photos.example"),
        ("https://photos.example?x=@y", "photos.example"),
        ("data:image/png;base64,aa", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_hosts(url: str | None, host: str) -> None:
    assert hosts_of(pa.array([url], pa.string())).to_pylist() == [host]


def test_shapes() -> None:
    widths = pa.chunked_array([[640, 480, 300, 100, 2000, None, 0]])
    heights = pa.chunked_array([[480, 640, 300, 400, 1000, 10, 10]])
    aspects, sides = count_shapes(widths, heights)
    assert aspects == {
        "1:1 to 3:2": 2, "2:3 to 1:1": 1, "below 1:3": 1, "2:1 to 3:1": 1
    }  # fmt: skip
    assert sides == {"256 to 511 px": 3, "64 to 127 px": 1, "512 to 1023 px": 1}


def test_rare_names_are_forgotten_where_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distribution, "MAX_NAMES", 10)
    monkeypatch.setattr(distribution, "KEPT_NAMES", 3)
    names = Names()
    names.add(pa.array(["a"] * 5 + ["b"] * 4 + [f"rare {n}" for n in range(9)]))
    assert len(names.counts) == 3
    assert names.total == 18
    assert names.most_common(2) == {"a": 5, "b": 4, "others": 9}


def test_a_score_has_quantiles_and_counts_what_is_missing() -> None:
    score = Score(0.0, 1.0)
    values = np.random.default_rng(1).uniform(0, 1, 10_000)
    score.add(pa.array([*values.tolist(), None, float("nan"), 1.0]))
    assert score.count == 10_001
    assert score.missing == 2
    assert score.quantiles(4) == pytest.approx([0.25, 0.5, 0.75], abs=0.02)
