"""What was measured, the bar it has to hold, and the table of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.measure import table
from tests.attack.case import Case
from tests.attack.one_by_one import Measured

#: CPU seconds that a case without pixels may take, and bytes that any may take above an idle
#: worker. With pixels it may take as long as two honest images of as many, if that is more.
MOST_CPU, MOST_MEMORY, HONEST_TIMES = 1.0, 512_000_000, 2.0

_HEAD = ("kind", "input bytes", "CPU s", "at most", "MB above idle", "at most", "outcome", "")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table. Seconds and bytes; None where they are not measured."""

    name: str
    outcome: str
    size: str = ""
    cpu: float | None = None
    most_cpu: float | None = None
    memory: int | None = None
    most_memory: int | None = None
    failed: bool = False

    @property
    def missed(self) -> bool:
        """Whether it costs more than it may, or did what it must not."""
        return (
            self.failed
            or (self.cpu or 0.0) > (self.most_cpu or 0.0)
            or (self.memory or 0) > (self.most_memory or 0)
        )

    def cells(self) -> list[str]:
        return [
            self.name, self.size, _seconds(self.cpu), _seconds(self.most_cpu),
            _megabytes(self.memory), _megabytes(self.most_memory), self.outcome,
            "MISSED" if self.missed else "",
        ]  # fmt: skip


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _megabytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:.0f}"


def print_table(title: str, lines: Sequence[Line]) -> None:
    print(f"\n{title}\n\n{table(_HEAD, [line.cells() for line in lines])}", flush=True)


def judge(
    cases: Sequence[Case], measured: Sequence[Measured], outcomes: Sequence[str]
) -> list[Line]:
    """Compare cases with the honest ones among them, which say what a pixel may cost."""
    pairs = list(zip(cases, measured, strict=True))
    rates = {c.honest: m.cpu / c.pixels for c, m in pairs if c.name.startswith("honest ")}
    lines = []
    for (case, found), outcome in zip(pairs, outcomes, strict=True):
        honest = HONEST_TIMES * rates[case.honest] * case.pixels if case.honest else 0.0
        most = case.count * max(MOST_CPU, honest)
        lines.append(
            Line(case.name, outcome, case.size, found.cpu, most, found.memory, MOST_MEMORY)
        )
    return lines
