"""Whose fault is it that a name cannot be resolved: the name's, or that of the name servers?

When other names fail as well, the servers are overloaded, out or out of reach, and the same name
will be answered later. What is asked is how likely this name's failures were if it were like all
the others: a name that fails four times while a tenth of the others do is to blame (1 in 10,000).
"""

from __future__ import annotations

import math

#: A name is to blame when its failures would come by chance to one of so many names.
BY_CHANCE = 1.0 / 2000
#: Seconds in which what others did loses most of its weight.
MEMORY = 3.0
#: Share of failures that is assumed as long as nothing is known, with the weight of one name.
ASSUMED = 0.02


class FailureShare:
    """The share of questions that failed lately. The k-th one about a name weighs 1/k: names that
    fail again and again say less and less of the name servers."""

    def __init__(self) -> None:
        self._asked = self._failed = 0.0
        self._at = 0.0

    def add(self, now: float, weight: float, *, failed: bool) -> None:
        """Count a question that was answered or failed."""
        self._fade(now)
        self._asked += weight
        self._failed += weight * failed

    def without(self, now: float, own: float) -> float:
        """Return the share among other names than one whose failures weigh `own` by now."""
        self._fade(now)
        failed, asked = max(self._failed - own, 0.0), max(self._asked - own, 0.0)
        return min((failed + ASSUMED) / (asked + 1.0), 1.0)

    def weight(self, now: float) -> float:
        """Return how much all that was counted weighs by now."""
        self._fade(now)
        return self._asked

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
        self._own = FailureShare()
        self.failures = 0

    def note_answer(self, now: float) -> None:
        """Note that a question was answered."""
        self._share.add(now, 1.0 / (self.failures + 1), failed=False)

    def note_failure(self, now: float) -> None:
        """Note that a question failed; weigh it later, when it is known how others fared."""
        self.failures += 1
        for share in (self._share, self._own):
            share.add(now, 1.0 / self.failures, failed=True)

    def weigh(self, now: float) -> bool:
        """Return whether the name is to blame, after the last failure."""
        self._chance *= self._share.without(now, self._own.weight(now))
        return self._chance <= BY_CHANCE
