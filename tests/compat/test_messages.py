"""`error_message` is what img2dataset records for the same response: the text of urllib's error."""

from __future__ import annotations

import socket
import ssl
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import trio

from img2ds.core.failure import Failure, Reason, failure
from img2ds.core.img2dataset import reason_of
from img2ds.core.img2dataset_messages import (
    NO_NAME_SERVER,
    NOT_DECODED,
    TLS_READ_TIMED_OUT,
    UNKNOWN_HOST,
    read_phrase,
)
from img2ds.image.sniff import sniff
from img2ds.report.tally import Tally
from tests.contract.fetcher_setups import FETCHERS, HOST, world
from tests.run_on_virtual_clock import loopback_only, run
from tests.server import certificates, greetings
from tests.server.registry import BEHAVIOURS
from tests.server.web import Behaviour, Peer, Request

#: Responses of which both say the same, byte for byte.
SAME = (
    "/304", "/403", "/404", "/410", "/429", "/500", "/503", "/999", "/fails-then-works",
    "/closes-without-reply", "/resets-without-reply", "/resets-in-header", "/resets-in-body",
    "/length-too-long", "/redirect-loop", "/redirect-without-location",
)  # fmt: skip
#: Responses to which the answer is silence.
SILENT = ("/never-answers", "/unresponsive-after-header", "/unresponsive-in-body",
          "/unresponsive-in-header")  # fmt: skip


class Phrases(Behaviour):
    """A status line with the words of the server's own."""

    def __init__(self, line: bytes) -> None:
        self.line = line

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(self.line + b"\r\nContent-Length: 0\r\n\r\n")
        return False


def by_urllib(url: str) -> str:
    """The message that img2dataset 1.47 records; its `download_image` catches everything."""
    try:
        context = ssl.create_default_context(cafile=certificates.bundle())
        with urllib.request.urlopen(url, timeout=30, context=context) as response:
            response.read()
    except Exception as error:
        return str(error)
    raise AssertionError(f"urllib fetched {url}")


@pytest.fixture
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leads urllib to loopback, as `connect_to` leads us."""
    real: Callable[..., Any] = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *more, **named: real("127.0.0.1" if host == HOST else host, *more, **named),
    )


def both(kind: str, path: str, scheme: str = "http", **more: Any) -> tuple[str, str]:
    """What is recorded here, and by img2dataset. In real time, which urllib has; nobody waits."""

    async def main() -> tuple[str, str]:
        async with world(kind, **more) as there:
            outcome = await there.get(f"{scheme}://{HOST}{path}")
            assert isinstance(outcome, Failure), "it was fetched"
            port = getattr(there, scheme).port
            theirs = await trio.to_thread.run_sync(by_urllib, f"{scheme}://{HOST}:{port}{path}")
            return outcome.error_message, theirs

    with loopback_only():
        return trio.run(main)


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("path", SAME)
@pytest.mark.parametrize("kind", FETCHERS)
def test_responses(kind: str, path: str) -> None:
    ours, theirs = both(kind, path)
    assert ours == theirs


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("kind", FETCHERS)
@pytest.mark.parametrize(
    "line",
    [b"HTTP/1.1 404 NOT FOUND", b"HTTP/1.0 404 Not Found", b"HTTP/1.1 404 ", b"HTTP/1.1 404",
     b"HTTP/1.1 500 M\xfcde", b"HTTP/1.1 503 Over  there"],
)  # fmt: skip
def test_the_phrase_is_the_servers(kind: str, line: bytes) -> None:
    ours, theirs = both(kind, "/", behaviours={"/": Phrases(line)})
    assert ours == theirs


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("kind", FETCHERS)
@pytest.mark.parametrize(
    "identity",
    [
        certificates.expired,
        certificates.self_signed,
        certificates.wrong_host,
        certificates.unknown_authority,
    ],
)
def test_certificates(kind: str, identity: Any) -> None:
    ours, theirs = both(kind, "/good.jpg", "https", identity=identity)
    assert "CERTIFICATE_VERIFY_FAILED" in ours
    assert ours == theirs


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("kind", FETCHERS)
@pytest.mark.parametrize(
    ("scheme", "greeting"),
    [
        ("http", greetings.closes_at_once),
        ("https", greetings.speaks_plain_http),
        ("https", greetings.refuses_the_name),
    ],
)
def test_greetings(kind: str, scheme: str, greeting: Any) -> None:
    ours, theirs = both(kind, "/good.jpg", scheme, greeting=greeting)
    assert ours == theirs


@pytest.mark.parametrize("kind", FETCHERS)
@pytest.mark.parametrize("path", SILENT)
@pytest.mark.parametrize(
    ("scheme", "message"), [("http", "timed out"), ("https", TLS_READ_TIMED_OUT)]
)
def test_silence(kind: str, path: str, scheme: str, message: str) -> None:
    async def main() -> str:
        async with world(kind) as there:
            outcome = await there.get(f"{scheme}://{HOST}{path}")
            assert isinstance(outcome, Failure)
            return outcome.error_message

    assert run(main) == message


@pytest.mark.parametrize("kind", FETCHERS)
def test_connections_that_are_refused(kind: str) -> None:
    async def main() -> str:
        async with world(kind, connect_to=("closed.example::127.0.0.1:9",)) as there:
            outcome = await there.get("http://closed.example/")
            assert isinstance(outcome, Failure)
            return outcome.error_message

    assert run(main) == by_urllib("http://127.0.0.1:9/")


def test_names() -> None:
    with pytest.raises(socket.gaierror) as caught:  # names that end in .invalid are never asked for
        socket.getaddrinfo("no such host.invalid", 80)
    assert f"<urlopen error {caught.value}>" == UNKNOWN_HOST
    assert f"<urlopen error [Errno {socket.EAI_AGAIN}] " in NO_NAME_SERVER


def test_a_scheme_that_there_is_not() -> None:
    async def main() -> str:
        async with world("trio") as there:
            outcome = await there.get("gopher://h.example/")
            assert isinstance(outcome, Failure)
            return outcome.error_message

    assert run(main) == by_urllib("gopher://h.example/")


@pytest.mark.parametrize(
    ("reason", "path"),
    [(b.reason, b.path) for b in BEHAVIOURS.values() if b.path in SAME or b.path in SILENT],
)
def test_messages_of_img2dataset_are_read_back(reason: str, path: str) -> None:
    async def main() -> str:
        async with world("trio") as there:
            outcome = await there.get(f"http://{HOST}{path}")
            assert isinstance(outcome, Failure)
            return outcome.error_message

    known = reason_of(run(main))
    assert known == reason or (reason, known) in {("stalled", "connect_timeout"),
                                                  ("incomplete_body", "connect_reset")}  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "phrase"),
    [(b" Not Found ", "Not Found"), (b"", ""), (b"\x1b[31mred\x07", "[31mred"),
     (b"x" * 1000, "x" * 100), ("é".encode("latin-1"), "é")],
)  # fmt: skip
def test_phrases_can_be_printed(raw: bytes, phrase: str) -> None:
    assert read_phrase(raw) == phrase


def test_statistics_count_the_same_messages() -> None:
    tally = Tally()
    tally.add_failure(failure(Reason.DECODE_ERROR, "broken PNG data", NOT_DECODED))
    tally.add_failure(failure(Reason.NOT_AN_IMAGE, "not an image: HTML", NOT_DECODED))
    assert tally.messages == {"Image decoding error": 2}
    assert tally.reasons == {"decode_error": 1, "not_an_image": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html></html>", NOT_DECODED),
        (b"what is this", NOT_DECODED),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "not an image: HEIC"),
        (b"<svg/>", "not an image: SVG"),
    ],
)
def test_images_of_formats_that_are_not_read_are_named(body: bytes, message: str) -> None:
    refused = sniff(body)
    assert isinstance(refused, Failure)
    assert refused.error_message == message
