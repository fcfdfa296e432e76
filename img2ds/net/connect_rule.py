"""curl's --connect-to: connect somewhere else than the URL says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from img2ds.core.failure import UsageError


@dataclass(frozen=True, slots=True)
class ConnectRule:
    """One rule: an empty or `*` part of the pattern matches all, an empty target part keeps
    what was asked for."""

    host: str
    port: str
    to_host: str
    to_port: str

    @classmethod
    def parse(cls, text: str) -> ConnectRule:
        """Read HOST:PORT:ADDR:PORT, IPv6 literals in brackets.

        Raises:
            UsageError: it does not have this form.
        """
        parts: list[str] = []
        rest = text
        for _ in range(4):
            if rest.startswith("["):
                part, _, rest = rest[1:].partition("]")
                rest = rest.removeprefix(":")
            else:
                part, _, rest = rest.partition(":")
            parts.append(part)
        host, port, to_host, to_port = parts
        numbers = [p for p in (port.replace("*", ""), to_port) if p]
        if rest or not all(p.isdigit() and 0 < int(p) < 65536 for p in numbers):
            raise UsageError(f"--connect_to: {text!r} is not HOST:PORT:ADDR:PORT")
        return cls(host.lower().replace("*", ""), port.replace("*", ""), to_host, to_port)

    def applies(self, host: str, port: int) -> bool:
        """Return whether the rule is for `host` and `port`."""
        return self.host in ("", host) and self.port in ("", str(port))


class ConnectRules:
    """The rules of a run; the first that applies counts.

    Raises:
        UsageError: a rule cannot be read.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._rules = [ConnectRule.parse(text) for text in texts]

    def redirect(self, host: str, port: int) -> tuple[str, int] | None:
        """Return where to connect instead of `host` and `port`; None without a rule for them."""
        for rule in self._rules:
            if rule.applies(host, port):
                return rule.to_host or host, int(rule.to_port or port)
        return None
