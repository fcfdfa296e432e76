"""When a question is asked whose answer is known, and what it says."""

from __future__ import annotations

import pytest
import trio

from img2ds.net.dns_canary import QUIET, Canary
from img2ds.net.dns_exchange import Outcome, Result
from img2ds.net.dns_fault import FailureShare
from tests.run_on_virtual_clock import run


class Server:
    """Answers as `outcome` says; counts the questions."""

    def __init__(self, outcome: Outcome = Outcome.FOUND) -> None:
        self.outcome = outcome
        self.asked: list[str] = []
        self.answered = 0.0
        self.share = FailureShare()
        self.canary = Canary(self.share, self._ask, lambda: self.answered)

    async def _ask(self, name: str) -> Result:
        self.asked.append(name)
        return Result(self.outcome)

    async def ask_for(self, seconds: int, answers: int) -> None:
        """Ask again and again, while so many other questions a second are answered."""
        for _ in range(10 * seconds):
            self.answered += answers / 10
            self.canary.ask_if_quiet()
            await trio.sleep(0.1)


def test_a_question_a_second_is_asked_when_nothing_else_is_answered() -> None:
    async def main() -> None:
        server = Server()
        await server.ask_for(3, answers=0)
        assert server.asked == []  # no name is known
        server.canary.name = "a.example"
        await server.ask_for(10, answers=0)
        assert len(server.asked) == pytest.approx(10 / QUIET, abs=1)

    run(main)


def test_nothing_is_asked_while_others_are_answered() -> None:
    async def main() -> None:
        server = Server()
        server.canary.name = "a.example"
        await server.ask_for(10, answers=10)
        assert server.asked == []

    run(main)


@pytest.mark.parametrize(("outcome", "share"), [(Outcome.FOUND, 0.0), (Outcome.TIMED_OUT, 1.0)])
def test_the_outcome_tells_how_the_servers_are(outcome: Outcome, share: float) -> None:
    async def main() -> None:
        server = Server(outcome)
        server.canary.name = "a.example"
        await server.ask_for(5, answers=0)
        assert server.share.without(trio.current_time(), 0.0) == pytest.approx(share, abs=0.1)

    run(main)
