"""`--metrics_port`: Prometheus text over HTTP."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections import Counter

import pytest

from img2ds.core.failure import UsageError
from img2ds.report.condition import Condition
from img2ds.report.counters import Counts
from img2ds.report.metrics import serve_metrics, text
from img2ds.report.run_state import RunState


def state() -> RunState:
    made = RunState()
    made.progress(Counts(8, 5000, Counter({"http_404": 2})))
    made.commit(Counts(8, 5000, Counter({"http_404": 2})))
    made.shards_expected = 3
    made.condition = Condition("outage", "no network", waits=True)
    return made


def test_the_text() -> None:
    lines = text(state()).splitlines()
    for line in (
        "img2ds_rows_total 10",
        "img2ds_successes_total 8",
        'img2ds_failures_total{reason="http_404"} 2',
        "img2ds_bytes_received_total 5000",
        "img2ds_shards_committed_total 1",
        "img2ds_shards_expected 3",
        "img2ds_waiting 1",
    ):
        assert line in lines
    assert not any(line.startswith("img2ds_rows_expected") for line in lines), "it is unknown"
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_it_is_served_while_the_run_lasts() -> None:
    with serve_metrics(state(), 0) as url:
        assert url is not None
        with urllib.request.urlopen(url) as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b"img2ds_rows_total 10\n" in response.read()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(url + "/../etc")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)


def test_a_port_in_use_is_told() -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(UsageError, match=f"--metrics_port {port}: address already in use"),
            serve_metrics(state(), port),
        ):
            pass
    with serve_metrics(state(), None) as url:
        assert url is None
