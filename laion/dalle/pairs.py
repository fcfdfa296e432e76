"""Pairs of webdataset shards in batches, mixed, epoch after epoch, from any position on.

Shards are read from beginning to end, each epoch in another order; a few thousand pairs at a time
are mixed, as they are encoded, and decoded batch by batch. A position says where in this stream
a batch ended: it is found again by reading no more than one shard.
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
from img2ds.storage import InputFile
from laion.clip.batch import stack
from laion.clip.crop import Crop, decode_crop
from laion.clip.geometry import PreprocessConfig
from laion.clip.preprocess import Preprocessor
from laion.clip.samples import Sample, read_samples

Pixels = npt.NDArray[np.uint8]

#: Pairs that are mixed with each other, and bytes above which fewer are.
MIXED, MIXED_BYTES = 4096, 256 << 20

#: Bytes of a sample besides its picture: headers of three members and their padding, the JSON.
_BESIDES = 3 * 512 + 3 * 256 + 1024


@dataclass(frozen=True, slots=True)
class Position:
    """Where the stream goes on: in mixed pairs that begin at `sample` of the `shard`-th shard of
    the epoch's order, `used` of which are done with. `read` are the bytes before that sample.
    """

    epoch: int = 0
    shard: int = 0
    sample: int = 0
    read: int = 0
    used: int = 0


@dataclass(slots=True)
class PairBatch:
    """Pictures uint8 [n, 3, size, size] in RGB and their captions.

    `position` is where the stream goes on behind it, `done` how much of the epochs is over, by
    bytes; `dropped` counts pairs that were left out on the way, by reason.
    """

    pictures: Pixels
    captions: list[str]
    position: Position
    done: float
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Mix:
    """Pairs that are mixed with each other, in their mixed order, and where the next begin."""

    start: Position
    bodies: list[tuple[bytes, str]]
    after: Position
    begins: float
    ends: float
    dropped: Counter[str]


class Pairs:
    """The pairs of some shards.

    Args:
        files: the shards.
        size: pixels of a picture's side; it is resized and cropped as for a CLIP model.
        held_out: share of the pairs that is not in the stream, by a hash of their key.
        decoders: threads that decode.
    """

    def __init__(
        self, files: Sequence[InputFile], size: int, held_out: float, seed: int, decoders: int = 1
    ) -> None:
        self._files = list(files)
        self._held_out = held_out
        self._seed = seed
        self._decoders = decoders
        self._config = PreprocessConfig((size, size), (0.0,) * 3, (1.0,) * 3)
        self._preprocessor = Preprocessor(self._config, "cpu")
        #: Whole epochs' sizes in bytes, where nobody knows one shards count alike.
        self._sizes = [max(file.size or 0, 1) for file in files]

    def held_out(self, count: int) -> tuple[Pixels, list[str]]:
        """The first `count` held-out pairs in the order of the shards, fewer where there are no
        more: uint8 [n, 3, size, size], and captions.

        Raises:
            UsageError: there are none, or no pair to train on.
        """
        found: list[tuple[Crop, str]] = []
        others = 0
        dropped: Counter[str] = Counter()
        for file in self._files:
            try:
                for sample in read_samples(file.path):
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
            raise UsageError(f"there is no pair of picture and caption in the shards ({reasons})")
        if not found or not others:
            what = "no pair is held out" if not found else "no pair is left to train on"
            raise UsageError(f"{what}: the shards have few, choose another --held_out")
        return self._levels([crop for crop, _ in found]), [caption for _, caption in found]

    def is_held_out(self, key: str) -> bool:
        """Whether the pair of that key is never trained on."""
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") < self._held_out * 2**64

    def batches(self, size: int, start: Position) -> Iterator[PairBatch]:
        """Batches of `size` pairs without end.

        Raises:
            UsageError: an epoch had no pair at all.
        """
        got: list[tuple[Crop, str]] = []
        dropped: Counter[str] = Counter()
        epoch, any_there = start.epoch, True
        with ThreadPoolExecutor(self._decoders) as pool:
            for mix in self._mixes(start):
                if mix.start.epoch != epoch:
                    if not any_there:
                        raise UsageError("no picture of the shards can be decoded")
                    epoch, any_there = mix.start.epoch, False
                used = start.used if mix.start == _begin(start) else 0
                if not used:
                    dropped += mix.dropped
                while used < len(mix.bodies):
                    some = mix.bodies[used : used + size - len(got)]
                    used += len(some)
                    for crop, pair in zip(pool.map(self._crop, some), some, strict=True):
                        if isinstance(crop, Crop):
                            got.append((crop, pair[1]))
                            any_there = True
                        else:
                            dropped[crop.reason] += 1
                    if len(got) == size:
                        share = used / len(mix.bodies)
                        done = mix.begins + share * (mix.ends - mix.begins)
                        at_end = used == len(mix.bodies)
                        position = mix.after if at_end else replace(mix.start, used=used)
                        pictures = self._levels([crop for crop, _ in got])
                        yield PairBatch(pictures, [c for _, c in got], position, done, dropped)
                        got, dropped = [], Counter()

    def _mixes(self, start: Position) -> Iterator[_Mix]:
        at = _begin(start)
        while True:
            order = np.random.default_rng([self._seed, at.epoch]).permutation(len(self._files))
            bodies: list[tuple[bytes, str]] = []
            weight = 0
            dropped: Counter[str] = Counter()
            begins = self._done(order, at)
            for place in range(at.shard, len(order)):
                first = at.sample if place == at.shard else 0
                read = 0
                path = self._files[order[place]].path
                samples = enumerate(self._readable(path, dropped), 1)
                for number, sample in samples:
                    pair = _pair(sample)
                    read += len(sample.body or b"") + _BESIDES
                    if number <= first or self.is_held_out(sample.key):
                        continue
                    if isinstance(pair, str):
                        dropped[pair] += 1
                        continue
                    bodies.append(pair)
                    weight += len(pair[0])
                    if len(bodies) == MIXED or weight > MIXED_BYTES:
                        after = Position(at.epoch, place, number, read)
                        ends = self._done(order, after)
                        yield self._mixed(at, bodies, after, begins, ends, dropped)
                        at, begins = after, ends
                        bodies, weight, dropped = [], 0, Counter()
            after = Position(at.epoch + 1)
            yield self._mixed(at, bodies, after, begins, float(after.epoch), dropped)
            at = after

    def _readable(self, path: str, dropped: Counter[str]) -> Iterator[Sample]:
        """The samples of a shard, up to where it cannot be read."""
        try:
            yield from read_samples(path)
        except (OSError, UsageError):
            dropped["unreadable_shard"] += 1

    def _mixed(
        self, start: Position, bodies: list[Any], after: Position, begins: float, ends: float,
        dropped: Counter[str],
    ) -> _Mix:  # fmt: skip
        seed = [self._seed, start.epoch, start.shard, start.sample]
        order = np.random.default_rng(seed).permutation(len(bodies))
        mixed = [bodies[place] for place in order]
        return _Mix(start, mixed, after, begins, ends, dropped)

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
    """Encoded picture and caption, or the reason that it is no pair."""
    if sample.lack or sample.body is None or sample.caption is None:
        return sample.lack or "no_image"
    return sample.body, sample.caption
