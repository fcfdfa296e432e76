"""What do lost machines cost a run? Ray nodes and Spark executors are killed, and replaced.

    python -m benchmark.kills [--distributor ray] [--tasks 120] [--seconds 3] [--every 8]

Nothing is computed: a task waits. Each says when it begins, so that what was begun and lost is
known to the second, and can be compared with what `benchmark.plan --lost_every` reckons.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.measure import keep, table, warn_when_busy
from benchmark.plan_stages import Fleet, Stage
from img2ds.engine.fingerprint import fingerprint
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from laion.stage import StageOptions, StageReport, StageSpec, open_stage

#: Machines, and workers of each.
NODES, WORKERS = 3, 4
_EXECUTOR = b"CoarseGrainedExecutorBackend"


@dataclass(frozen=True, slots=True)
class Wait:
    """A task: waits, and says in the folder `log` when it begins."""

    shard_id: int
    seconds: float
    log: str


def make(task: Wait, shard: ShardOutput) -> None:
    """Make a shard of one row: see `SequentialWorker.make`."""
    begun = time.time()
    Path(task.log, f"{task.shard_id}-{os.getpid()}-{begun}").touch()
    time.sleep(task.seconds)
    Path(shard.path(f"{shard.name}.txt")).write_text("x")
    shard.counts.successes += 1


@contextmanager
def ray_nodes() -> Iterator[Callable[[int], None]]:
    """A cluster on this machine, which RAY_ADDRESS names; yields what replaces a node."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=WORKERS) for _ in range(NODES)]
    os.environ["RAY_ADDRESS"] = cluster.address

    def kill(_: int) -> None:
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=WORKERS))

    try:
        yield kill
    finally:
        cluster.shutdown()


@contextmanager
def spark_executors() -> Iterator[Callable[[int], None]]:
    """Yields what kills an executor below a process; Spark replaces it."""
    yield lambda process: kill_tree(executors(process)[0])


def open_spark() -> None:
    """Open a session on a cluster of this process's own."""
    import pyspark
    from pyspark.sql import SparkSession

    os.environ.update(
        SPARK_HOME=str(Path(pyspark.__file__).parent), PYSPARK_PYTHON=sys.executable,
        SPARK_LOCAL_IP="127.0.0.1",
    )  # fmt: skip
    settings = {
        "spark.master": f"local-cluster[{NODES},{WORKERS},512]", "spark.executor.memory": "512m",
        "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false",
        "spark.task.maxFailures": "1000",
    }  # fmt: skip
    builder: Any = SparkSession.builder
    for name, value in settings.items():
        builder = builder.config(name, value)
    builder.getOrCreate().sparkContext.setLogLevel("OFF")


def children() -> dict[int, list[int]]:
    """Return the processes of each parent."""
    found: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(place.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        found.setdefault(parent, []).append(int(place.parent.name))
    return found


def descendants(process: int) -> list[int]:
    """Return the processes below one, parents first."""
    tree, found = children(), [process]
    for each in found:
        found += tree.get(each, [])
    return found[1:]


def executors(process: int) -> list[int]:
    """Return Spark's executors below a process, the oldest first."""
    return sorted(
        each for each in descendants(process)
        if _EXECUTOR in Path(f"/proc/{each}/cmdline").read_bytes()
    )  # fmt: skip


def kill_tree(process: int) -> None:
    """Kill a process with all below it, as a machine that is lost."""
    for each in [process, *descendants(process)]:
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            continue


CLUSTERS = {"ray": ray_nodes, "pyspark": spark_executors}


def run(name: str, tasks: int, seconds: float, folder: str) -> StageReport:
    """Make all shards."""
    if name == "pyspark":
        open_spark()
    options = StageOptions(
        output_folder=f"{folder}/out",
        distributor=name,
        processes_count=NODES * WORKERS,
        max_shard_retry=3,
    )
    spec = StageSpec(
        stage="kills", options=options, fingerprint=fingerprint("waits", []), shard_count=tasks
    )
    log = f"{folder}/log"
    with open_stage(spec) as build:
        waits = [Wait(build.first_shard + number, seconds, log) for number in range(tasks)]
        build.run(SequentialWorker(build.folder, make), waits)
    return build.report


def measure(name: str, tasks: int, seconds: float, every: float) -> dict[str, Any]:
    """Run in a process of its own, kill machines meanwhile, and count what was lost."""
    with tempfile.TemporaryDirectory() as place, CLUSTERS[name]() as kill:
        log = Path(place, "log")
        log.mkdir()
        command = [sys.executable, "-m", "benchmark.kills", "--child", name, place]
        command += ["--tasks", str(tasks), "--seconds", str(seconds)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as child:
            while not any(log.iterdir()) and child.poll() is None:
                time.sleep(0.1)
            began, kills = time.time(), list[float]()
            while child.poll() is None:
                if time.time() < began + every * (len(kills) + 1):
                    time.sleep(0.05)
                    continue
                kills.append(time.time())
                kill(child.pid)
            wall = time.time() - began
        begun = [entry.name.split("-") for entry in log.iterdir()]
        committed = len(list(Path(place, "out").glob("*_stats.json")))
    lost = seconds_lost(begun, kills)
    stage = Stage(name="kills", rows=tasks, cpu=tasks * seconds, shards=tasks)
    fleet = Fleet(nodes=NODES, cores=WORKERS, lost_every=wall / max(len(kills), 1))
    return {
        "exit_code": child.returncode, "kills": len(kills), "wall_s": wall, "committed": committed,
        "begun_again": len(begun) - committed, "seconds_lost": lost,
        "share": lost / (tasks * seconds), "plan": stage.repeated(fleet),
    }  # fmt: skip


def seconds_lost(begun: list[list[str]], kills: list[float]) -> float:
    """Return the work of attempts that were followed by another: until the kill that ended them."""
    starts: dict[str, list[float]] = {}
    for number, _, at in begun:
        starts.setdefault(number, []).append(float(at))
    total = 0.0
    for times in starts.values():
        for start in sorted(times)[:-1]:
            total += min((kill for kill in kills if kill > start), default=start) - start
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--distributor", choices=list(CLUSTERS), nargs="+", default=list(CLUSTERS))
    parser.add_argument("--tasks", type=int, default=120)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a task")
    parser.add_argument("--every", type=float, default=8.0, help="seconds between two kills")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, folder = options.child
        raise SystemExit(run(name, options.tasks, options.seconds, folder).exit_code)
    warn_when_busy()
    found = {
        name: measure(name, options.tasks, options.seconds, options.every)
        for name in options.distributor
    }
    print(f"{options.tasks} tasks of {options.seconds:g} s on {NODES} machines of {WORKERS} "
          f"workers, one killed every {options.every:g} s")  # fmt: skip
    rows = [
        [name, str(each["committed"]), str(each["kills"]), str(each["begun_again"]),
         f"{each['seconds_lost'] / max(each['kills'], 1):.1f}", f"{each['share']:.1%}",
         f"{each['plan']:.1%}", f"{each['wall_s']:.0f}", str(each["exit_code"])]
        for name, each in found.items()
    ]  # fmt: skip
    print(table(["on", "committed", "kills", "begun again", "s lost a kill", "done again", "plan",
                 "wall s", "exit code"], rows))  # fmt: skip
    keep("kills", {"tasks": options.tasks, "seconds": options.seconds, "every": options.every,
                   "nodes": NODES, "workers": WORKERS, "runs": found})  # fmt: skip


if __name__ == "__main__":
    # Workers import the function that they are to run: `__main__` is another module there.
    from benchmark.kills import main as run_main

    run_main()
