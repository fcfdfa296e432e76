"""The stages of a run of N released pairs: what each costs, and what bounds it on a fleet."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from benchmark import plan_constants as c
from laion.knn.build_memory import BuildMemory
from laion.knn.index_kinds import choose_plan

HOUR = 3600.0
#: Bytes of one request for a WAT file, see img2ds/storage/retrying_file.py.
BLOCK = 8 << 20
#: Cores of the machine that plans a dedup or a release, or trains an index.
PLANNERS = 16
#: Memory that the index is built with, of a machine with 64 GB.
INDEX_MEMORY = 48e9
#: Dimensions of ViT-B/32.
DIMENSION = 512
#: Tasks of `laion dedup`, one for each partition of the digests (laion/data/partition.py).
PARTITIONS = 64


@dataclass(frozen=True, slots=True)
class Fleet:
    """Equal machines. `price` is that of one for an hour, in dollars; memory and disk in bytes.

    `lost_every` are the seconds between two losses of a machine, of all of them; 0 for none. A lost
    machine is replaced.
    """

    nodes: int = 10
    cores: int = 16
    gbit: float = 10.0
    gpus: int = 1
    memory: float = 64e9
    disk: float = 1e12
    price: float = 1.0
    gpu_rate: float = c.GPU_RATE.value
    lost_every: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a stage takes, whoever does it. Seconds of one core or GPU, bytes, and counts.

    Attributes:
        rows: pairs that it reads, or images.
        tasks: what is begun again when it is lost, where that is not a shard.
        kept: bytes that stay when the pipeline is done.
        scratch: bytes on local disks, of all nodes.
        memory: bytes that one process needs, or the whole stage where it is one process.
        serial: seconds that no further node shortens.
    """

    name: str
    rows: float
    cpu: float
    gpu_images: float = 0.0
    read: float = 0.0
    written: float = 0.0
    kept: float = 0.0
    scratch: float = 0.0
    memory: float = 0.0
    shards: float = 0.0
    tasks: float = 0.0
    files: int = 3
    gets: float = 0.0
    serial: float = 0.0

    @property
    def objects(self) -> float:
        return self.shards * self.files

    @property
    def requests(self) -> float:
        """Requests to the store: each object is written and looked at, and `gets` are read."""
        return 2 * self.objects + self.gets

    def bounds(self, fleet: Fleet) -> dict[str, float]:
        """Return the seconds that each resource alone would take."""
        gpus = fleet.nodes * fleet.gpus * fleet.gpu_rate
        link = fleet.nodes * fleet.gbit * 1e9 / 8
        return {
            "CPU": self.cpu / self._workers(fleet),
            # A link carries as much in either direction at the same time.
            "network": max(self.read, self.written) / link,
            "GPU": self.gpu_images / gpus if gpus else (float("inf") if self.gpu_images else 0.0),
        }

    def _workers(self, fleet: Fleet) -> float:
        """Return how many cores have something to do."""
        return max(min(fleet.nodes * fleet.cores, self.tasks or self.shards), 1)

    def task_seconds(self, fleet: Fleet) -> float:
        """Return how long a worker takes for one task: a shard, begun and committed."""
        workers = self._workers(fleet)
        if self.gpu_images:
            workers = min(fleet.nodes * max(fleet.gpus, 1), workers)
        busy = max(self.bounds(fleet).values())
        return busy * workers / (self.tasks or self.shards)

    def repeated(self, fleet: Fleet) -> float:
        """Return the work done again because machines are lost, as a share of the work.

        A lost machine loses the tasks that its workers have begun; what they have committed stays.
        Losses come at random: a task of T seconds takes (e^xT - 1) / x on machines lost x times a
        second, and that is half a task each time where tasks are short.
        """
        if not fleet.lost_every:
            return 0.0
        losses = self.task_seconds(fleet) / (fleet.lost_every * fleet.nodes)
        return math.expm1(losses) / losses - 1

    def wall(self, fleet: Fleet) -> float:
        """Return the seconds on a fleet: the slowest resource, then what is serial."""
        return max(self.bounds(fleet).values()) * (1 + self.repeated(fleet)) + self.serial

    def bound(self, fleet: Fleet) -> str:
        """Return what bounds it."""
        seconds = {**self.bounds(fleet), "serial": self.serial}
        return max(seconds, key=lambda name: seconds[name])

    def serial_share(self, fleet: Fleet, nodes: int = 64) -> float:
        """Return the share of the stage at so many nodes that is serial (Amdahl)."""
        return self.serial / self.wall(replace(fleet, nodes=nodes))


def download(rows: float) -> Stage:
    """The download of a list with this many URLs."""
    images = rows * c.ALIVE.value
    shards = rows / c.SHARD_ROWS.value
    return Stage(
        name="download",
        rows=rows,
        cpu=images * c.IMAGE_SECONDS.value,
        read=images * c.WIRE_BYTES.value,
        written=images * c.STORED_BYTES.value,
        kept=images * c.STORED_BYTES.value,
        memory=c.WORKER_BYTES.value,
        shards=shards,
        gets=rows * c.CANDIDATE_BYTES.value / BLOCK,
        serial=shards * c.MARKER_SECONDS.value,
    )


def stages(released: float) -> list[Stage]:
    """Return the stages from WAT files to an index of `released` pairs."""
    images = released / c.SIMILAR.value
    urls = images / c.ALIVE.value
    candidates = urls / c.UNIQUE.value
    wats = candidates / (c.WAT_IMAGES.value * c.ENGLISH.value)
    shards = urls / c.SHARD_ROWS.value
    marker = c.MARKER_SECONDS.value
    pair = c.EMBEDDING_BYTES.value + c.METADATA_BYTES.value
    extract = Stage(
        name="extract", rows=wats * c.WAT_IMAGES.value,
        cpu=wats * c.WAT_SECONDS_A_MB.value * c.WAT_BYTES.value / 1e6,
        read=wats * c.WAT_BYTES.value, written=candidates * c.CANDIDATE_BYTES.value,
        memory=230e6, shards=wats, files=2, gets=wats * c.WAT_BYTES.value / BLOCK,
        serial=wats * marker,
    )  # fmt: skip
    opened = PARTITIONS * wats
    dedup = Stage(
        name="dedup", rows=candidates,
        cpu=candidates * c.DEDUP_SECONDS.value + opened * c.DEDUP_FILE_SECONDS.value,
        read=candidates * c.CANDIDATE_BYTES.value + opened * c.FOOTER_BYTES.value,
        written=urls * c.CANDIDATE_BYTES.value, kept=candidates * c.BLOOM_BYTES.value,
        memory=0.5e9 + candidates / PARTITIONS * c.BLOOM_BYTES.value,
        shards=PARTITIONS, gets=2 * (opened + wats),
        # Footers are read by all cores of one machine.
        serial=wats * (marker + c.DEDUP_START_SECONDS.value / PLANNERS),
    )  # fmt: skip
    score = Stage(
        name="score", rows=images, cpu=images * c.LOAD_SECONDS.value, gpu_images=images,
        read=images * c.STORED_BYTES.value, written=released * pair, memory=4e9,
        shards=shards, files=4, gets=images * c.STORED_BYTES.value / BLOCK, serial=shards * marker,
    )  # fmt: skip
    tag = Stage(
        name="tag", rows=released, cpu=released * c.TAG_SECONDS.value, read=released * pair,
        written=released * pair, memory=1e9, shards=shards, files=4, gets=3 * shards,
        serial=shards * marker,
    )  # fmt: skip
    release = Stage(
        name="release", rows=released, cpu=released * c.RELEASE_SECONDS.value,
        read=released * pair, written=released * pair, kept=released * pair,
        scratch=released * c.SCRATCH_BYTES.value, memory=0.12e9 + released / 8,
        shards=released / 1e6, files=5, gets=3 * shards,
        # The plan is made by all cores of one machine.
        serial=released * c.PLAN_SECONDS.value / PLANNERS + shards * marker,
    )  # fmt: skip
    return [extract, dedup, download(urls), score, tag, release, _index(released)]


def _index(released: float) -> Stage:
    """The index of the images, on disk (`--kind rabitq`), on a disk that all machines see.

    Segments are tasks; one machine trains the lists before, and merges the segments afterwards. Its
    codes are written twice, in segments and merged; vectors are copied to its disk.
    """
    vectors, codes = released * c.EMBEDDING_BYTES.value / 2, released * c.INDEX_BYTES.value
    plan = choose_plan("rabitq", int(released), DIMENSION, int(INDEX_MEMORY))
    lists = int(plan.factory.removeprefix("IVF").partition("_")[0])
    code = int(c.INDEX_BYTES.value)
    segment = BuildMemory(int(INDEX_MEMORY), DIMENSION).segment_rows(code, int(released))
    training = plan.train_rows * lists * DIMENSION * c.TRAINING_SECONDS.value
    return Stage(
        name="index", rows=released, cpu=released * c.INDEX_SECONDS.value - training, read=vectors,
        written=vectors + 2 * codes, kept=vectors + codes, scratch=vectors + 2 * codes, shards=1,
        # A third of the memory is the sample, as float32.
        memory=min(3 * plan.train_rows * DIMENSION * 4, INDEX_MEMORY),
        # As many workers as a machine has share its memory.
        tasks=released / max(segment // PLANNERS, 1),
        gets=vectors / BLOCK, serial=training / PLANNERS + codes / c.DISK_RATE.value,
    )  # fmt: skip


def rate(fleet: Fleet, image_seconds: float) -> float:
    """Return the images a second that a fleet downloads, where one takes so much of a core."""
    return min(
        fleet.nodes * fleet.cores / image_seconds,
        fleet.nodes * fleet.gbit * 1e9 / 8 / c.WIRE_BYTES.value,
    )
