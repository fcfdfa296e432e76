"""Child processes: what they are started with."""

from __future__ import annotations

import subprocess

import pytest

from img2ds.engine.child_process import start_child


@pytest.mark.parametrize("chosen", [None, "4"])
def test_numpy_has_one_thread_unless_somebody_chose(
    chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chosen is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", chosen)
    process, connection = start_child("tests.engine.threads_of_numpy", stdout=subprocess.PIPE)
    connection.close()
    assert process.communicate()[0].decode().strip() == (chosen or "1")
