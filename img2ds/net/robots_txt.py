"""robots.txt: which rules are ours, and whether they allow a URL (RFC 9309). Pure.

Patterns are matched without regular expressions: a hostile file must not cost more than its length.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from urllib.parse import quote

#: Bytes of a file that count: at least 500 KiB (RFC 9309 2.5).
MAX_BYTES = 512_000
#: Rules for us that count; the longest real files have some hundreds.
MAX_RULES = 5_000

_LINE = re.compile(r"[\r\n]+")
_PRODUCT = re.compile(r"[A-Za-z0-9_-]*")
_ESCAPE = re.compile(r"%([0-9a-fA-F]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ASCII = "".join(map(chr, range(0x21, 0x7F)))


class Rules:
    """The rules of a robots.txt that are for us.

    Args:
        rules: whether each allows, and its pattern. Without one all is allowed.
    """

    __slots__ = ("_rules", "size")

    def __init__(self, rules: Collection[tuple[bool, str]] = ()) -> None:
        # The longest pattern that matches decides, and of equally long ones that which allows.
        ordered = sorted(set(rules), key=lambda rule: (-len(rule[1]), not rule[0]))
        self._rules = tuple(ordered[:MAX_RULES])
        self.size = sum(len(pattern) + 1 for _, pattern in self._rules)

    def allows(self, target: str) -> bool:
        """Return whether a URL may be requested, given its path and query."""
        if not self._rules:
            return True
        target = normalized(target)
        return next((allow for allow, pattern in self._rules if _matches(pattern, target)), True)

    def dump(self) -> bytes:
        """Return the rules as bytes, which `load` reads."""
        return "\n".join(f"{'+' if allow else '-'}{text}" for allow, text in self._rules).encode()

    @classmethod
    def load(cls, data: bytes) -> Rules:
        """Return the rules that were dumped."""
        lines = data.decode().split("\n") if data else []
        return cls([(line[0] == "+", line[1:]) for line in lines])


def parse_robots(data: bytes, agents: Collection[str]) -> Rules:
    """Return the rules of a robots.txt for the user agents that we are, else those for all.

    Args:
        agents: product tokens in lower case.
    """
    if len(data) > MAX_BYTES:  # without the line that is cut
        data = data[: data.rfind(b"\n", 0, MAX_BYTES) + 1]
    ours: list[tuple[bool, str]] = []
    others: list[tuple[bool, str]] = []
    named = False  # whether any group names us
    group: set[str] = set()
    in_rules = True
    for key, value in _records(data.decode("utf-8-sig", "replace")):
        if key == "user-agent":
            if in_rules:  # a line of rules ends the names of a group
                group, in_rules = set(), False
            match = _PRODUCT.match(value)
            group.add("*" if value.startswith("*") else match[0].lower() if match else "")
            named = named or not group.isdisjoint(agents)
            continue
        in_rules = True
        if not value:  # allows, or forbids, nothing
            continue
        rule = key == "allow", normalized(value)
        if not group.isdisjoint(agents):
            ours.append(rule)
        elif "*" in group:
            others.append(rule)
    return Rules(ours if named else others)


def _records(text: str) -> Iterator[tuple[str, str]]:
    """Yield the lines that count: others must not interfere (RFC 9309 2.2.4)."""
    for line in _LINE.split(text):
        key, colon, value = line.partition("#")[0].partition(":")
        key = key.strip().lower()
        if colon and key in ("user-agent", "allow", "disallow"):
            yield key, value.strip()


def normalized(path: str) -> str:
    """Return a path in one spelling: escapes where they are needed, and only there (2.2.2)."""
    if not path.isascii() or not path.isprintable() or " " in path:
        path = quote(path, safe=_ASCII, errors="replace")
    return _ESCAPE.sub(_escape, path) if "%" in path else path


def _escape(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


def _matches(pattern: str, target: str) -> bool:
    """Match a pattern from the start of `target`: `*` is any text, a final `$` its end (2.2.3)."""
    anchored = pattern.endswith("$")
    first, *rest = (pattern[:-1] if anchored else pattern).split("*")
    if not target.startswith(first):
        return False
    if not rest:
        return not anchored or len(target) == len(first)
    place = len(first)
    last = rest.pop()
    for part in rest:
        found = target.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    if anchored:
        return len(target) - len(last) >= place and target.endswith(last)
    return target.find(last, place) >= 0
