"""What does a run of any size take? Stage by stage, on a fleet that you describe.

    python -m benchmark.plan --rows 5.85e9 --nodes 10 --cores 16 --gbit 12.5 --gpus 1 --price 0.68
    python -m benchmark.plan --sources          every figure it reckons with, and where it is from

Nothing is measured here: figures are those of benchmark/results, or carry their source.
"""

from __future__ import annotations

import argparse

from benchmark import plan_constants
from benchmark.measure import table
from benchmark.plan_constants import Constant
from benchmark.plan_stages import HOUR, Fleet, Stage, rate, stages

ROWS = (100e6, 400e6, 5.85e9)
#: The machines of what others published: LAION-400M's paper, and AWS's c6i.4xlarge for LAION-5B.
PAPER = Fleet(nodes=1, cores=16, gbit=1.0, gpus=0)
LAION_5B = Fleet(nodes=10, cores=16, gbit=12.5, gpus=0)


def amount(value: float, unit: str = "") -> str:
    """Three digits and a prefix: 1.23 TB."""
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5:
            return f"{value:.3g} {prefix}{unit}".rstrip()
        value /= 1000
    return f"{value:,.3g} P{unit}"


def stage_row(stage: Stage, fleet: Fleet) -> list[str]:
    wall = stage.wall(fleet)
    return [
        stage.name, amount(stage.rows), f"{stage.cpu / HOUR:,.1f}",
        f"{stage.gpu_images / fleet.gpu_rate / HOUR:,.1f}", amount(stage.read, "B"),
        amount(stage.written, "B"), amount(stage.kept, "B"), amount(stage.scratch, "B"),
        amount(stage.memory, "B"), amount(stage.objects), amount(stage.requests),
        f"{stage.serial:,.0f}", f"{stage.serial_share(fleet):.1%}", f"{wall / HOUR:,.1f}",
        f"{wall / HOUR * fleet.nodes * fleet.price:,.0f}", stage.bound(fleet),
    ]  # fmt: skip


HEAD = [
    "stage", "rows", "CPU h", "GPU h", "read", "written", "kept", "scratch", "memory", "objects",
    "requests", "serial s", "at 64", "hours", "$", "bound by",
]  # fmt: skip


def problems(stage: Stage, fleet: Fleet) -> list[str]:
    """Return why the stage does not fit on the fleet."""
    found = []
    if stage.memory > fleet.memory:
        found.append(f"{stage.name} needs {amount(stage.memory, 'B')} of memory in one process")
    if stage.scratch > fleet.disk:
        found.append(f"{stage.name} needs {amount(stage.scratch, 'B')} on the disk of one machine")
    if stage.gpu_images and not fleet.gpus:
        found.append(f"{stage.name} needs GPUs: --gpus")
    return found


def losses(found: list[Stage], fleet: Fleet) -> str:
    """Return what lost machines cost, stage by stage."""
    rows = [
        [stage.name, f"{stage.task_seconds(fleet):,.0f}", f"{stage.repeated(fleet):.2%}",
         f"{stage.wall(fleet) / HOUR:,.1f}"]
        for stage in found
    ]  # fmt: skip
    return table(["stage", "seconds a task", "done again", "hours"], rows)


def published() -> list[list[str]]:
    """Return what others published next to what the plan says of it."""
    paper = 100e6 / rate(PAPER, plan_constants.IMAGE_SECONDS.value) / HOUR
    theirs = rate(LAION_5B, plan_constants.IMG2DATASET_SECONDS.value)
    ours = rate(LAION_5B, plan_constants.IMAGE_SECONDS.value)
    said = plan_constants.LAION_5B_RATE.value
    hours = plan_constants.PAPER_HOURS.value
    return [
        ["LAION-400M: 100 M images, 1 Gbit/s, 16 cores", f"{hours:.0f} h", f"{paper:.1f} h",
         f"{paper / hours - 1:+.0%}"],
        ["LAION-5B: 10 nodes of 16 cores, img2dataset", f"{said:,.0f}/s", f"{theirs:,.0f}/s",
         f"{theirs / said - 1:+.0%}"],
        ["LAION-5B: the same nodes, img2ds", f"{said:,.0f}/s", f"{ours:,.0f}/s",
         f"{ours / said - 1:+.0%}"],
    ]  # fmt: skip


def sources() -> list[list[str]]:
    """Return every constant with its source."""
    return [
        [name, f"{value.value:.4g}", value.source]
        for name, value in vars(plan_constants).items()
        if isinstance(value, Constant)
    ]


def fleet_of(options: argparse.Namespace) -> Fleet:
    return Fleet(
        options.nodes, options.cores, options.gbit, options.gpus, options.memory_gb * 1e9,
        options.disk_tb * 1e12, options.price, options.gpu_rate, options.lost_every * 60,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Fleet()
    parser.add_argument("--rows", type=float, nargs="+", default=list(ROWS), help="pairs released")
    parser.add_argument("--nodes", type=int, default=default.nodes)
    parser.add_argument("--cores", type=int, default=default.cores, help="of one node")
    parser.add_argument("--gbit", type=float, default=default.gbit, help="Gbit/s of one node")
    parser.add_argument("--gpus", type=int, default=default.gpus, help="of one node")
    parser.add_argument("--gpu_rate", type=float, default=default.gpu_rate, help="images/s of one")
    parser.add_argument("--memory_gb", type=float, default=default.memory / 1e9)
    parser.add_argument("--disk_tb", type=float, default=default.disk / 1e12)
    parser.add_argument("--price", type=float, default=default.price, help="$ a node and hour")
    parser.add_argument(
        "--lost_every", type=float, default=0.0, help="minutes until one of the nodes is lost"
    )
    parser.add_argument(
        "--sources", action="store_true", help="print the figures and their sources"
    )
    options = parser.parse_args()
    if options.sources:
        print(table(["constant", "value", "source"], sources()))
        return
    fleet = fleet_of(options)
    for rows in options.rows:
        found = stages(rows)
        hours = sum(stage.wall(fleet) for stage in found) / HOUR
        print(f"\n{amount(rows)} pairs released, {fleet.nodes} nodes of {fleet.cores} cores, "
              f"{fleet.gbit:g} Gbit/s and {fleet.gpus} GPUs: {hours:,.0f} h, "
              f"${hours * fleet.nodes * fleet.price:,.0f}\n")  # fmt: skip
        print(table(HEAD, [stage_row(stage, fleet) for stage in found]))
        if fleet.lost_every:
            print(f"\nA node is lost every {fleet.lost_every / 60:g} minutes:\n")
            print(losses(found, fleet))
        for problem in (line for stage in found for line in problems(stage, fleet)):
            print(f"  does not fit: {problem}")
    print("\nPublished, and by this plan:\n")
    print(table(["run", "published", "plan", "difference"], published()))


if __name__ == "__main__":
    main()
