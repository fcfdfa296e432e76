"""A private certificate authority, and one EC certificate for every https host of a list."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "img2ds benchmark")])
_ISSUER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "img2ds benchmark authority")])


class Authority:
    """Signs with a key that exists only as long as the object does."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(
            _ISSUER, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0), None
        )

    def write_certificates(self, hosts: Iterable[str], folder: Path) -> None:
        """`HOST.crt` for each host name or address, all with the key `key.pem`."""
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        leaf = x509.BasicConstraints(ca=False, path_length=None)
        for host in hosts:
            names = x509.SubjectAlternativeName([_general_name(host)])
            certificate = self._sign(_NAME, key.public_key(), leaf, names)
            (folder / f"{host}.crt").write_bytes(_pem(certificate))

    def write_bundle(self, path: Path, *, with_system: bool) -> int:
        """A PEM file with this authority, after the system's where asked for; how many there are.

        A machine's own list is long, and reading it is a part of what a client does.
        """
        system = ssl.get_default_verify_paths().cafile if with_system else None
        others = Path(system).read_bytes().rstrip() + b"\n" if system else b""
        path.write_bytes(others + _pem(self._certificate))
        return others.count(b"BEGIN CERTIFICATE") + 1

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        constraints: x509.BasicConstraints,
        names: x509.SubjectAlternativeName | None,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        own = self._key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_ISSUER)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
