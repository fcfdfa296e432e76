"""Whose fault a failure is, by what else happened."""

from __future__ import annotations

import numpy as np
import pytest

from img2ds.congestion.attribution import (
    BY_CHANCE,
    OF_THE_NETWORK,
    Fault,
    all_lost,
    attribute,
)
from img2ds.congestion.machine import CELL
from img2ds.congestion.signals import Signal
from img2ds.core.failure import Failure, Reason


def fault(reason: str, *, outage: bool = False, **happened: float) -> Fault:
    growth = np.zeros(CELL)
    for name, number in happened.items():
        growth[getattr(Signal, name)] = number
    return attribute(Failure(reason, ""), growth, 10.0, outage)


@pytest.mark.parametrize("reason", ["http_404", "not_an_image", "tls_error", "dns_not_found"])
def test_what_was_answered_is_the_rows_even_in_an_outage(reason: str) -> None:
    assert fault(reason, outage=True) is Fault.ROW


@pytest.mark.parametrize("reason", sorted(OF_THE_NETWORK))
def test_nothing_of_an_outage_is_the_rows(reason: str) -> None:
    assert fault(reason, outage=True) is Fault.SHARED


def test_silence_is_the_hosts_while_others_connect_at_once() -> None:
    assert fault("connect_timeout", CLEAN_CONNECTS=100, ALL_RETRANSMITTED=5) is Fault.ROW


def test_silence_is_the_paths_while_others_need_more_than_one_syn() -> None:
    assert fault("connect_timeout", CLEAN_CONNECTS=100, ALL_RETRANSMITTED=15) is Fault.SHARED


def test_one_retransmission_proves_nothing() -> None:
    assert fault("connect_timeout", CLEAN_CONNECTS=1, ALL_RETRANSMITTED=1) is Fault.ROW


def test_silence_is_the_paths_when_hosts_fail_that_answered_before() -> None:
    assert fault("connect_timeout", CLEAN_CONNECTS=20, KNOWN_FAILURES=3) is Fault.SHARED
    assert fault("connect_refused", CLEAN_CONNECTS=20, KNOWN_FAILURES=3) is Fault.SHARED
    assert fault("connect_timeout", CLEAN_CONNECTS=100, KNOWN_FAILURES=3) is Fault.ROW


def test_silence_of_everybody_without_an_outage_is_a_list_of_dead_hosts() -> None:
    assert fault("connect_timeout", CONNECT_TIMEOUTS=50) is Fault.ROW


@pytest.mark.parametrize("reason", ["stalled", "too_slow", "max_time", "incomplete_body"])
def test_a_stalled_body_is_the_links_when_most_are_slow(reason: str) -> None:
    assert fault(reason, FAST_BODIES=4, SLOW_BODIES=6, BODY_BYTES=1e6) is Fault.SHARED
    assert fault(reason, FAST_BODIES=100, SLOW_BODIES=6) is Fault.ROW


def test_stalled_bodies_alone_are_their_servers() -> None:
    """At the end of a run nothing else is left, however often they are asked for again."""
    assert fault("stalled", SLOW_BODIES=20, BODY_BYTES=5000) is Fault.ROW


def test_a_name_without_an_answer_is_the_resolvers_verdict() -> None:
    assert fault("dns_failure") is Fault.UNCLEAR
    assert fault("dns_timeout") is Fault.ROW
    for reason in (Reason.DNS_FAILURE, Reason.DNS_TIMEOUT):
        shared = Failure(reason.value, "", shared=True)
        assert attribute(shared, np.zeros(CELL), 10.0, outage=False) is Fault.SHARED


@pytest.mark.parametrize("reason", ["stalled", "max_time"])
def test_a_short_time_limit_ends_before_an_outage_is_noticed(reason: str) -> None:
    silence = np.zeros(CELL)
    assert attribute(Failure(reason, ""), silence, 3.0, False) is Fault.UNCLEAR
    assert attribute(Failure(reason, ""), silence, 10.0, False) is Fault.ROW
    silence[Signal.ANSWERS] = 1
    assert attribute(Failure(reason, ""), silence, 3.0, False) is Fault.ROW


def test_a_missing_route_is_not_clear_at_first() -> None:
    assert fault("network_unreachable", ANSWERS=100) is Fault.UNCLEAR


def attempts_until_to_blame(clean: float, retransmitted: float) -> int:
    growth = np.zeros(CELL)
    growth[Signal.CLEAN_CONNECTS], growth[Signal.ALL_RETRANSMITTED] = clean, retransmitted
    chance, attempts = 1.0, 0
    while chance >= BY_CHANCE:
        chance *= all_lost(growth)
        attempts += 1
    return attempts


def test_a_host_that_stays_silent_on_a_full_path_is_dead_in_the_end() -> None:
    assert attempts_until_to_blame(clean=80, retransmitted=20) == 2
    assert attempts_until_to_blame(clean=50, retransmitted=50) == 2
    assert 10 < attempts_until_to_blame(clean=0, retransmitted=50) < 15
