"""A private certificate authority and servers' certificates, good and bad, made once a process.

EC keys: they are made in a millisecond. Nothing here is trusted by any system.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

#: The names that the good certificate is for, in addition to 127.0.0.1.
NAMES = ("pics.example", "*.pics.example", "xn--bcher-kva.example")
#: The name that the certificate of another host is for.
OTHER_NAME = "other.example"

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def pem(self) -> bytes:
        """Key and certificate in one, as `SSLContext.load_cert_chain` takes them."""
        return self.certificate_pem + self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def issue(
    names: tuple[str, ...],
    issuer: Identity | None = None,
    *,
    authority: bool = False,
    age: datetime.timedelta = _DAY,
    life: datetime.timedelta = 3650 * _DAY,
    alternatives: bool = True,
    issuer_url: str | None = None,
) -> Identity:
    """A new certificate for `names`, valid for `life` since `age` ago.

    Args:
        issuer: who signs; None for a self-signed certificate.
        alternatives: whether the names are subject alternative names, too.
        issuer_url: where the certificate says that its issuer's is.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    begins = datetime.datetime.now(datetime.timezone.utc) - age
    signer = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + life)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if issuer_url is not None:
        place = x509.UniformResourceIdentifier(issuer_url)
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place)
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    if authority:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        if alternatives:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
    return Identity(builder.sign(signer, hashes.SHA256()), key)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@cache
def authority() -> Identity:
    """The authority that clients under test trust."""
    return issue(("Test Authority",), authority=True)


@cache
def good() -> Identity:
    return issue((*NAMES, "127.0.0.1"), authority())


@cache
def expired() -> Identity:
    """The right names and the right issuer, a day too late."""
    return issue((*NAMES, "127.0.0.1"), authority(), age=31 * _DAY, life=30 * _DAY)


@cache
def not_yet_valid() -> Identity:
    """The right names and the right issuer, a day too early."""
    return issue((*NAMES, "127.0.0.1"), authority(), age=-_DAY)


@cache
def self_signed() -> Identity:
    return issue((*NAMES, "127.0.0.1"))


@cache
def wrong_host() -> Identity:
    """A good certificate of another host."""
    return issue((OTHER_NAME,), authority())


@cache
def common_name_alone() -> Identity:
    """The right name in the one place where browsers do not look any more (RFC 9525 6.3)."""
    return issue((NAMES[0],), authority(), alternatives=False)


@cache
def unknown_authority() -> Identity:
    """Signed by an unknown authority."""
    return issue((*NAMES, "127.0.0.1"), issue(("Unknown Authority",), authority=True))


#: What a client must refuse, by a name for test reports.
BAD: dict[str, Callable[[], Identity]] = {
    "expired": expired,
    "not yet valid": not_yet_valid,
    "self-signed": self_signed,
    "wrong host": wrong_host,
    "unknown authority": unknown_authority,
    "common name alone": common_name_alone,
}


def open_context(make: Callable[[], Identity] = good) -> ssl.SSLContext:
    """A server's TLS context with the certificate that `make` gives."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # the module ssl reads files alone
        file.write(make().pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context


#: The same, shared by all who ask for the same certificate: not to be changed.
server_context = cache(open_context)


@cache
def _bundle() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="img2ds-test-")
    Path(folder.name, "authority.pem").write_bytes(authority().certificate_pem)
    return folder


def bundle() -> str:
    """A PEM file with the authority, for `ca_bundle`; removed when the process ends."""
    return str(Path(_bundle().name, "authority.pem"))
