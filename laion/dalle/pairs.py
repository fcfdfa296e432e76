"""A shuffled stream of batches of the pairs in webdataset shards, which resumes at any position.

Each epoch reads the shards in another order. A few thousand encoded pairs at a time are shuffled
in memory, and decoded batch by batch. A position is the end of a batch in this stream; resuming
there reads at most one shard.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import Failure, UsageError
from laion.clip.batch import stack
from laion.clip.crop import Crop, decode_crop
from laion.clip.geometry import PreprocessConfig
from laion.clip.preprocess import Preprocessor
from laion.samples.sample import Sample
from laion.samples.source import SampleShard

Pixels = npt.NDArray[np.uint8]

#: Pairs that are shuffled together, and the limit on their bytes.
SHUFFLED, SHUFFLED_BYTES = 4096, 256 << 20

#: Bytes of a sample in a tar besides its image: headers and padding of three members, the JSON.
_SAMPLE_OVERHEAD = 3 * 512 + 3 * 256 + 1024


@dataclass(frozen=True, slots=True)
class Position:
    """Where the stream resumes.

    Attributes:
        shard: place of the shard in the epoch's order.
        sample: where in that shard the current shuffle buffer begins.
        read: bytes of the shard before that sample.
        used: pairs of the buffer that are already in batches.
    """

    epoch: int = 0
    shard: int = 0
    sample: int = 0
    read: int = 0
    used: int = 0


@dataclass(slots=True)
class PairBatch:
    """One batch.

    Attributes:
        images: uint8 [n, 3, size, size] in RGB.
        position: where the stream resumes after it.
        done: epochs read so far, with a fraction by bytes.
        dropped: unusable pairs since the previous batch, by reason.
    """

    images: Pixels
    captions: list[str]
    position: Position
    done: float
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Buffer:
    """Shuffled pairs, the position after them, and the epochs read at both ends."""

    start: Position
    bodies: list[tuple[bytes, str]]
    after: Position
    begins: float
    ends: float
    dropped: Counter[str]


class Pairs:
    """The pairs of some shards.

    Args:
        shards: those to read.
        size: pixels of a side; images are resized and cropped as for a CLIP model.
        held_out: share of the pairs that are not in the stream, chosen by a hash of the key.
        decoders: threads that decode.
    """

    def __init__(
        self,
        shards: Sequence[SampleShard],
        size: int,
        held_out: float,
        seed: int,
        decoders: int = 1,
    ) -> None:
        self._shards = list(shards)
        self._held_out = held_out
        self._seed = seed
        self._decoders = decoders
        self._config = PreprocessConfig((size, size), (0.0,) * 3, (1.0,) * 3)
        self._preprocessor = Preprocessor(self._config, "cpu")
        #: Bytes of each shard; shards of unknown size count as equal.
        self._sizes = [max(shard.size or 0, 1) for shard in shards]

    def held_out(self, count: int) -> tuple[Pixels, list[str]]:
        """Read the first `count` held-out pairs in the order of the shards, or all if fewer.

        Returns:
            Images, uint8 [n, 3, size, size], and captions.

        Raises:
            UsageError: there are none, or no pair to train on.
        """
        found: list[tuple[Crop, str]] = []
        others = 0
        dropped: Counter[str] = Counter()
        for shard in self._shards:
            try:
                for sample in shard.samples():
                    if isinstance(pair := _pair(sample), str):
                        dropped[pair] += 1
                    elif not self.is_held_out(sample.key):
                        others += 1
                    elif isinstance(crop := self._crop(pair), Crop):
                        found.append((crop, pair[1]))
                        if len(found) == count:
                            break
            except (OSError, UsageError):
                dropped["unreadable_shard"] += 1
            if len(found) == count:
                break
        if not others and not found:
            reasons = ", ".join(f"{n} {reason}" for reason, n in dropped.most_common(3))
            raise UsageError(f"the shards have no pair of image and caption ({reasons})")
        if not found or not others:
            missing = "no pair is held out" if not found else "no pair is left to train on"
            raise UsageError(f"{missing}: the shards have few pairs; change --held_out")
        return self._levels([crop for crop, _ in found]), [caption for _, caption in found]

    def is_held_out(self, key: str) -> bool:
        """Return whether the pair with that key is held out."""
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") < self._held_out * 2**64

    def batches(self, size: int, start: Position) -> Iterator[PairBatch]:
        """Yield batches of `size` pairs without end, from `start` on.

        Raises:
            UsageError: an epoch had no usable pair.
        """
        got: list[tuple[Crop, str]] = []
        dropped: Counter[str] = Counter()
        epoch, any_usable = start.epoch, True
        with ThreadPoolExecutor(self._decoders) as pool:
            for buffer in self._buffers(start):
                if buffer.start.epoch != epoch:
                    if not any_usable:
                        raise UsageError("no image in the shards can be decoded")
                    epoch, any_usable = buffer.start.epoch, False
                used = start.used if buffer.start == _begin(start) else 0
                if not used:
                    dropped += buffer.dropped
                while used < len(buffer.bodies):
                    some = buffer.bodies[used : used + size - len(got)]
                    used += len(some)
                    for crop, pair in zip(pool.map(self._crop, some), some, strict=True):
                        if isinstance(crop, Crop):
                            got.append((crop, pair[1]))
                            any_usable = True
                        else:
                            dropped[crop.reason] += 1
                    if len(got) == size:
                        share = used / len(buffer.bodies)
                        done = buffer.begins + share * (buffer.ends - buffer.begins)
                        at_end = used == len(buffer.bodies)
                        position = buffer.after if at_end else replace(buffer.start, used=used)
                        images = self._levels([crop for crop, _ in got])
                        yield PairBatch(images, [c for _, c in got], position, done, dropped)
                        got, dropped = [], Counter()

    def _buffers(self, start: Position) -> Iterator[_Buffer]:
        at = _begin(start)
        while True:
            order = np.random.default_rng([self._seed, at.epoch]).permutation(len(self._shards))
            bodies: list[tuple[bytes, str]] = []
            weight = 0
            dropped: Counter[str] = Counter()
            begins = self._done(order, at)
            for place in range(at.shard, len(order)):
                first = at.sample if place == at.shard else 0
                read = 0
                shard = self._shards[order[place]]
                samples = enumerate(self._readable(shard, dropped), 1)
                for number, sample in samples:
                    pair = _pair(sample)
                    read += len(sample.body or b"") + _SAMPLE_OVERHEAD
                    if number <= first or self.is_held_out(sample.key):
                        continue
                    if isinstance(pair, str):
                        dropped[pair] += 1
                        continue
                    bodies.append(pair)
                    weight += len(pair[0])
                    if len(bodies) == SHUFFLED or weight > SHUFFLED_BYTES:
                        after = Position(at.epoch, place, number, read)
                        ends = self._done(order, after)
                        yield self._shuffle(at, bodies, after, begins, ends, dropped)
                        at, begins = after, ends
                        bodies, weight, dropped = [], 0, Counter()
            after = Position(at.epoch + 1)
            yield self._shuffle(at, bodies, after, begins, float(after.epoch), dropped)
            at = after

    def _readable(self, shard: SampleShard, dropped: Counter[str]) -> Iterator[Sample]:
        """Yield the samples of a shard up to the first read error."""
        try:
            yield from shard.samples()
        except (OSError, UsageError):
            dropped["unreadable_shard"] += 1

    def _shuffle(
        self, start: Position, bodies: list[Any], after: Position, begins: float, ends: float,
        dropped: Counter[str],
    ) -> _Buffer:  # fmt: skip
        seed = [self._seed, start.epoch, start.shard, start.sample]
        order = np.random.default_rng(seed).permutation(len(bodies))
        shuffled = [bodies[place] for place in order]
        return _Buffer(start, shuffled, after, begins, ends, dropped)

    def _done(self, order: npt.NDArray[np.int64], at: Position) -> float:
        sizes = [self._sizes[place] for place in order]
        before = sum(sizes[: at.shard]) + min(at.read, sizes[at.shard])
        return float(at.epoch + before / sum(sizes))

    def _crop(self, pair: tuple[bytes, str]) -> Crop | Failure:
        return decode_crop(pair[0], self._config)

    def _levels(self, crops: list[Crop]) -> Pixels:
        levels: Pixels = self._preprocessor.levels(stack(crops)).byte().numpy()
        return levels


def _begin(position: Position) -> Position:
    return replace(position, used=0)


def _pair(sample: Sample) -> tuple[bytes, str] | str:
    """Return the encoded image and the caption, or the reason why it is not a pair."""
    if lack := sample.lack():
        return lack
    assert sample.body is not None
    assert sample.caption is not None
    return sample.body, sample.caption
