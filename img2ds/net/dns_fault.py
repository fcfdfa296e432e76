"""Whose fault is it that a name cannot be resolved: the name's, or that of the name servers?

When other names fail as well, the servers are overloaded, out or out of reach, and the same name
will be answered later. What is asked is how likely this name's failures were if it were like all
the others: a name that fails four times while a tenth of the others do is to blame (1 in 10,000).
"""

from __future__ import annotations

import math

#: A name is to blame when its failures would come by chance to one of so many names.
BY_CHANCE = 1.0 / 500
#: Seconds in which what others did loses most of its weight.
MEMORY = 3.0
#: Share of failures that is assumed as long as nothing is known, with the weight of one name.
ASSUMED = 0.04


class FailureShare:
    """The share of names whose first question failed lately; further ones would count twice."""

    def __init__(self) -> None:
        self._asked = self._failed = 0.0
        self._at = 0.0

    def add(self, now: float, *, failed: bool) -> None:
        """Count the first question about a name."""
        self._fade(now)
        self._asked += 1.0
        self._failed += failed

    def without(self, now: float, failed_at: float) -> float:
        """Return the share among the other names than one whose first question failed then."""
        self._fade(now)
        own = math.exp((failed_at - now) / MEMORY)
        failed, asked = max(self._failed - own, 0.0), max(self._asked - own, 0.0)
        return min((failed + ASSUMED) / (asked + 1.0), 1.0)

    def _fade(self, now: float) -> None:
        factor = math.exp((self._at - now) / MEMORY)
        self._asked *= factor
        self._failed *= factor
        self._at = now


class Suspicion:
    """How likely a name's failures are if the name is not to blame.

    Attributes:
        failures: of this name.
    """

    def __init__(self, share: FailureShare) -> None:
        self._share = share
        self._chance = 1.0
        self._failed_at: float | None = None
        self.failures = 0

    def note_answer(self, now: float) -> None:
        """Note that a question was answered."""
        if self.failures == 0:
            self._share.add(now, failed=False)

    def note_failure(self, now: float) -> None:
        """Note that a question failed; weigh it later, when it is known how others fared."""
        self.failures += 1
        if self._failed_at is None:
            self._failed_at = now
            self._share.add(now, failed=True)

    def weigh(self, now: float) -> bool:
        """Return whether the name is to blame, after the last failure."""
        assert self._failed_at is not None
        self._chance *= self._share.without(now, self._failed_at)
        return self._chance <= BY_CHANCE
