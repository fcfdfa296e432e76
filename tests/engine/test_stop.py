"""One signal sets the switch, the second stops at once, and no later one disturbs the tidying."""

from __future__ import annotations

import os
import signal

import pytest

from img2ds.engine.stop import StopNow, StopSwitch


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_second_signal_raises_and_the_third_does_nothing() -> None:
    with StopSwitch() as stop:
        interrupt()
        assert stop.is_set()
        assert stop.reason == "stopped by SIGINT"
        with pytest.raises(StopNow):
            interrupt()
        interrupt()
        interrupt()


def test_what_is_over_cannot_be_stopped() -> None:
    with StopSwitch() as stop:
        stop.armed = False
        interrupt()
        interrupt()
        assert stop.interrupted
