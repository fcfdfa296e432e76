"""What bounds a run: for the live line, the log and the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from img2ds.report.units import share

#: Share of the time above which a bound is worth a line at the end.
WORTH_SAYING = 0.2


@dataclass(frozen=True, slots=True)
class Condition:
    """What bounds a run on a machine now, or what is out there.

    Attributes:
        kind: a stable name, such as "link"; empty when nothing but the machine itself is known.
        text: for people, such as "link 19.8 Mbit/s".
        waits: whether nothing goes on until this ends.
    """

    kind: str = ""
    text: str = ""
    waits: bool = False

    @property
    def fact(self) -> str:
        """The words for the live line; empty if there is nothing to say."""
        return f"bound by {self.text}" if self.text and not self.waits else self.text


@dataclass(slots=True)
class Conditions:
    """The conditions of a run, at regular intervals."""

    _times: Counter[str] = field(default_factory=Counter)
    _last: dict[str, Condition] = field(default_factory=dict)

    def add(self, condition: Condition) -> None:
        """Add the condition of one interval."""
        self._times[condition.kind] += 1
        self._last[condition.kind] = condition

    def lines(self) -> list[str]:
        """Return what bounded the run, and what would help."""
        lines = []
        whole = sum(self._times.values())
        for kind, times in self._times.most_common():
            if kind and times >= WORTH_SAYING * whole:
                fact = self._last[kind].fact.partition(";")[0]
                lines.append(f"{fact} ({share(times, whole)} of the time)")
                if hint := HINTS.get(kind):
                    lines.append(f"hint: {hint}")
        return lines


#: What would help, by the kind of a condition.
HINTS = {
    "name_server": "--dns_servers takes faster name servers; --resolver unbound runs one here",
    "router": "the router or firewall on the way bears no more connections; a machine that is "
    "connected without it is faster, more --thread_count is not",
    "link": "the network connection is full; nothing here makes it faster",
    "hosts": "most rows wait for hosts that limit requests; a shuffled list spreads them",
}
