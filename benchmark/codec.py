"""What does an image cost, from its bytes to the sample's, against the floor and other libraries?

Each image of the corpus goes through all contenders by turns, the first one changing with each
image and round; what counts is CPU time of the thread. The floor is the best bare library calls
that make the very same bytes, given the size and the format: that is checked for every image.
"""

from __future__ import annotations

import argparse
import gc
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmark import measure, peer, peer_stages, world
from benchmark.contenders import (
    CLASSES,
    CONTENDERS,
    STAGES,
    Case,
    Times,
    read_cases,
)
from benchmark.corpus import open_corpus

QUESTION = "codec"


def check(case: Case) -> None:
    """Stop unless the floor's image is img2ds's; warms up all contenders too.

    Where img2ds has learned to do something better, so must the floor.
    """
    made = {name: contender(case)[0] for name, contender in CONTENDERS.items()}
    if not made["img2ds"] == made["floor"] == made["by stage"]:
        world.stop(f"the floor makes another image of {case.file.name} than img2ds does")


def take_times(cases: Iterator[Case], rounds: int) -> list[tuple[Case, dict[str, Times]]]:
    """The median of the rounds for each image, contender and stage."""
    names = list(CONTENDERS)
    found = []
    gc.disable()
    for number, case in enumerate(cases):
        check(case)
        taken: dict[str, list[Times]] = defaultdict(list)
        for turn in range(rounds):
            first = (number + turn) % len(names)
            for name in names[first:] + names[:first]:
                taken[name].append(CONTENDERS[name](case)[1])
        medians = {
            name: tuple(map(measure.middle, zip(*times, strict=True)))
            for name, times in taken.items()
        }
        found.append((case, medians))
        if number % 100 == 0:
            gc.collect()
    gc.enable()
    return found


def summary(found: list[tuple[Case, dict[str, Times]]]) -> dict[str, float]:
    """Means over images, in milliseconds; `rest` is what img2ds does outside its stages."""

    def mean(name: str, stage: int | None = None) -> float:
        times = [times[name] for _, times in found]
        return sum(sum(t) if stage is None else t[stage] for t in times) / len(times)

    result = {"img2ds": mean("img2ds")}
    result.update({stage: mean("by stage", n) for n, stage in enumerate(STAGES)})
    result["rest"] = result["img2ds"] - sum(result[stage] for stage in STAGES)
    result["floor"] = mean("floor")
    result.update({f"floor {stage}": mean("floor", n) for n, stage in enumerate(STAGES)})
    result.update({name: mean(name) for name in ("turbo", "OpenCV", "Pillow")})
    result["ratio"] = result["img2ds"] / result["floor"]
    return result


def report(found: list[tuple[Case, dict[str, Times]]]) -> dict[str, dict[str, float]]:
    """Print the table; what is in it, by row."""
    groups: dict[str, list[tuple[Case, dict[str, Times]]]] = defaultdict(list)
    order = [f"< {side}" for side in CLASSES] + [f">= {CLASSES[-1]}"]
    for entry in sorted(found, key=lambda e: (e[0].file.kind, order.index(e[0].group))):
        groups[f"{entry[0].file.kind} {entry[0].group}"].append(entry)
    groups["all"] = found
    results = {name: summary(entries) for name, entries in groups.items()}
    shown = ("img2ds", *STAGES, "rest", "floor", "ratio", "turbo", "OpenCV", "Pillow")
    rows = [
        [name, str(len(groups[name])), *(f"{result[column]:.2f}" for column in shown)]
        for name, result in results.items()
    ]
    print("\nms of CPU an image, by format and longer side")
    print(measure.table(["image", "count", *shown], rows))
    every = results["all"]
    print(
        f"img2ds takes {every['ratio']:.3f}x the floor over the corpus, "
        f"OpenCV {every['OpenCV'] / every['img2ds']:.2f}x and "
        f"Pillow {every['Pillow'] / every['img2ds']:.2f}x of img2ds"
    )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--every", type=int, default=1, help="take each so many'th image alone")
    parser.add_argument("--peer_venv", type=Path, default=peer.HOME)
    options = parser.parse_args()
    measure.warn_when_busy()
    corpus = open_corpus()
    found = take_times(read_cases(corpus, options.every), options.rounds)
    results = report(found)
    theirs = peer_stages.ask(options.peer_venv, "codec", [str(corpus.folder), str(options.every)])
    if theirs:
        words = ", ".join(f"{stage} {theirs[stage]:.2f}" for stage in STAGES)
        print(f"img2dataset's Resizer, right after that: {theirs['resizer']:.2f} ms ({words})")
    measure.keep(QUESTION, {
        "rounds": options.rounds, "pictures": len(found), "ms": results, "img2dataset": theirs,
    })  # fmt: skip


if __name__ == "__main__":
    main()
