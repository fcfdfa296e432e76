"""Attack img2ds on this machine, and print what it costs: see `tests.attack`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.attack.bars import Line, judge, print_table
from tests.attack.case import Case, honest_cases, image_cases
from tests.attack.damage import Damage
from tests.attack.kills import Kills
from tests.attack.mixed import Mixed, some_of
from tests.attack.one_by_one import OneByOne
from tests.attack.responses import response_cases
from tests.attack.search_server import SearchServer

#: What a row may take while it is measured: long enough for bodies to be made and sent.
_PATIENT = {"timeout": 120, "max_time": 300}
#: The same for responses that do not end.
_SHORT = {"timeout": 3, "max_time": 8}


def measure(cases: list[Case], flags: dict[str, int], folder: Path) -> list[Line]:
    run = OneByOne(cases, folder, flags)
    outcomes = run.run()
    return judge(cases, [run.measured[place] for place in range(len(cases))], outcomes)


def parts(words: list[str], seed: int, folder: Path) -> Iterator[tuple[str, list[Line]]]:
    """Yield the title and the lines of each table."""
    images, responses = image_cases(words), response_cases(words)
    if images:
        cases = [*honest_cases(images), *images]
        yield "Images", measure(cases, _PATIENT, folder / "images")
    if responses:
        yield "Responses", measure(responses, _SHORT, folder / "responses")
    if not words or "kills" in words:
        yield "Kills", Kills(folder / "kills", seed).run()
    if not words or "damage" in words:
        yield "Damaged shards", Damage(folder / "damage", seed).run()
    if not words or "serve" in words:
        yield "Search server", SearchServer(folder / "serve").run()
    if not words or "mixed" in words:
        everything = [*image_cases([]), *response_cases([])]
        yield "All at once", Mixed(some_of(everything), folder / "mixed").run()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.attack", description=__doc__)
    parser.add_argument("words", nargs="*", help="only kinds that have one of these in their name; "
                        "kills, damage, serve and mixed are whole parts")  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="of moments of kills and damaged bits")
    options = parser.parse_args()
    started, missed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="img2ds-attack-") as name:
        for title, lines in parts(options.words, options.seed, Path(name)):
            print_table(f"{title}, {time.monotonic() - started:.0f} s after the start", lines)
            missed += sum(line.missed for line in lines)
    print(f"\n{missed or 'no'} bars missed, in {time.monotonic() - started:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
