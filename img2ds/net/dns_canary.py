"""A question whose answer is known, to learn how the name servers are when nothing else tells.

Late in a run all names that exist are known, and only those are asked for that fail. Then nothing
would show that it is the names that fail, not the servers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from img2ds.net.dns_exchange import Result
from img2ds.net.dns_fault import FailureShare

#: Seconds without an answer after which one question is asked, and between two of them.
QUIET = 1.0
#: What an outcome weighs among those of names: there are few questions of this kind.
WEIGHT = 8.0


class Canary:
    """Asks for a name that was found.

    Args:
        share: gets the outcomes.
        ask: asks one question.
        answered: returns how many questions of the machine's workers were answered, these ones
            not counted: a server that counts questions is asked no more while it answers.

    Attributes:
        name: the name to ask for; None as long as none was found.
    """

    def __init__(
        self,
        share: FailureShare,
        ask: Callable[[str], Awaitable[Result]],
        answered: Callable[[], float],
    ) -> None:
        self.name: str | None = None
        self._share = share
        self._ask = ask
        self._answered = answered
        self._last = 0.0
        self._quiet_since = float("-inf")

    def ask_if_quiet(self) -> None:
        """Ask in the background, unless there was an answer just now."""
        now, answered = trio.current_time(), self._answered()
        if answered != self._last:
            self._last, self._quiet_since = answered, now
        if self.name is not None and now >= self._quiet_since + QUIET:
            self._quiet_since = now
            trio.lowlevel.spawn_system_task(self._run, self.name)

    async def _run(self, name: str) -> None:
        result = await self._ask(name)
        self._share.add(trio.current_time(), WEIGHT, failed=not result.is_answer)
