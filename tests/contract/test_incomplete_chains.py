"""Servers that do not send the issuer of their certificate: it is fetched, and never trusted."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from img2ds.core.failure import Failure
from img2ds.net.chain import issuer_url, read_certificates
from img2ds.net.issuers import MAX_ISSUER
from tests.contract.fetcher_setups import HOST, world
from tests.run_on_virtual_clock import run
from tests.server.certificates import Identity, authority, issue
from tests.server.connection import Good
from tests.server.web import Behaviour, Peer, Request, head, reply

PKI = "pki.example"
URL = f"http://{PKI}/issuer.cer"
PATH = "/good.jpg"
_DAY = datetime.timedelta(days=1)


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of these tests would jump while a thread works."""

    async def at_once(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    monkeypatch.setattr("img2ds.net.issuers._in_thread", at_once)


class Published(Behaviour):
    """The file of an issuer."""

    path = "/issuer.cer"

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(self.data)
        return False


class Silent(Behaviour):
    """Takes the request, and that was all."""

    path = "/issuer.cer"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await trio.sleep_forever()


def der(identity: Identity) -> bytes:
    return identity.certificate.public_bytes(Encoding.DER)


def intermediate(
    root: Identity | None = None,
    age: datetime.timedelta = _DAY,
    life: datetime.timedelta = 9 * _DAY,
) -> Identity:
    return issue(("Test Intermediate",), root or authority(), authority=True, age=age, life=life)


def leaf(issuer: Identity, *names: str, url: str | None = URL) -> Identity:
    return issue(names or (HOST,), issuer, issuer_url=url)


def fetched(
    identity: Identity,
    behaviour: Behaviour,
    rows: int = 1,
) -> tuple[list[str | None], int]:
    """Fetch an image over https. Returns the messages of failures, and how often the issuer's
    file was asked for."""

    async def main() -> tuple[list[str | None], int]:
        behaviours = {PATH: Good(), behaviour.path: behaviour}
        async with world("trio", behaviours, identity=lambda: identity, hosts=(HOST, PKI)) as there:
            messages: list[str | None] = []

            async def row() -> None:
                outcome = await there.get(f"https://{HOST}{PATH}")
                if isinstance(outcome, Failure):
                    assert outcome.reason == "tls_error"
                    messages.append(outcome.message)
                else:
                    messages.append(None)

            async with trio.open_nursery() as nursery:
                for _ in range(rows):
                    nursery.start_soon(row)
            await row()
            return messages, there.http.targets[(PKI, "/issuer.cer")]

    return run(main)


def test_the_issuer_is_fetched_once_for_all_rows() -> None:
    issuer = intermediate()
    assert fetched(leaf(issuer), Published(reply(der(issuer))), rows=5) == ([None] * 6, 1)


def test_an_issuer_in_pkcs7() -> None:
    issuer, other = intermediate(), issue(("Other",), authority(), authority=True)
    file = pkcs7.serialize_certificates([other.certificate, issuer.certificate], Encoding.DER)
    assert fetched(leaf(issuer), Published(reply(file))) == ([None] * 2, 1)


def test_a_whole_chain_asks_for_nothing() -> None:
    issuer = intermediate()
    alone = leaf(issuer)

    class Whole(Identity):
        @property
        def pem(self) -> bytes:
            return alone.pem + issuer.certificate_pem

    whole = Whole(alone.certificate, alone.key)
    assert fetched(whole, Published(reply(der(issuer)))) == ([None] * 2, 0)


UNKNOWN = issue(("Unknown",), authority=True)
SELF = issue(("Test Intermediate",), authority=True)


@pytest.mark.parametrize(
    ("issuer", "names", "words"),
    [
        (intermediate(UNKNOWN), (), "unable to get issuer certificate"),
        (UNKNOWN, (), "issuer is not trusted"),
        (SELF, (), "issuer is not trusted"),
        (intermediate(age=31 * _DAY, life=30 * _DAY), (), "certificate has expired"),
        (intermediate(), ("other.example",), "hostname mismatch"),
        (issue(("Test Intermediate",), authority()), (), "invalid ca certificate"),
    ],
    ids=["no root", "root of its own", "self-signed", "expired", "wrong host", "no authority"],
)
def test_what_is_fetched_is_not_trusted(
    issuer: Identity, names: tuple[str, ...], words: str
) -> None:
    messages, _ = fetched(leaf(issuer, *names), Published(reply(der(issuer))))
    assert all(message is not None and words in message for message in messages), messages


def test_the_certificate_of_another_issuer_does_not_help() -> None:
    messages, _ = fetched(leaf(intermediate()), Published(reply(der(intermediate()))))
    assert None not in messages


@pytest.mark.parametrize(
    "behaviour",
    [
        Published(reply(b"", 404)),
        Published(reply(b"no certificate")),
        Published(reply(b"\x30\x03abc")),
        Published(reply(b"\x30\x82\xff\xff" + bytes(MAX_ISSUER))),
        Published(reply(b"", 302, location=URL)),
        Published(head(content_length=1 << 40)),
        Silent(),
    ],
    ids=["404", "text", "broken", "large", "redirect", "huge length", "silent"],
)
def test_an_issuer_that_cannot_be_had_is_asked_for_once(behaviour: Behaviour) -> None:
    messages, asked = fetched(leaf(intermediate()), behaviour, rows=3)
    assert messages == ["certificate: incomplete certificate chain"] * 4
    assert asked == 1


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "localhost"])
def test_private_addresses_are_not_asked(host: str) -> None:
    issuer = intermediate()
    alone = leaf(issuer, url=f"http://{host}/issuer.cer")
    messages, _ = fetched(alone, Published(reply(der(issuer))))
    assert messages == ["certificate: incomplete certificate chain"] * 2


@pytest.mark.parametrize("url", [None, "https://pki.example/issuer.cer", "ldap://pki.example/x"])
def test_a_certificate_that_does_not_say_where(url: str | None) -> None:
    issuer = intermediate()
    messages, asked = fetched(leaf(issuer, url=url), Published(reply(der(issuer))))
    assert messages == ["certificate: unable to get local issuer certificate"] * 2
    assert asked == 0


def test_where_an_issuer_is() -> None:
    found = issuer_url(der(leaf(authority())))
    assert found is not None
    assert found.text == URL
    long = f"http://{PKI}/" + "x" * 200
    found = issuer_url(der(leaf(authority(), url=long)))
    assert found is not None
    assert found.text == long
    assert issuer_url(der(authority())) is None
    assert issuer_url(b"") is None


def test_broken_files_have_no_certificates() -> None:
    file = pkcs7.serialize_certificates([authority().certificate], Encoding.DER)
    assert read_certificates(file) == [der(authority())]
    assert x509.load_der_x509_certificate(read_certificates(file)[0]) == authority().certificate
    for end in range(len(file)):
        assert read_certificates(file[:end]) == []
    for at in range(60):
        changed = bytearray(file)
        changed[at] ^= 0xFF
        read_certificates(bytes(changed))
