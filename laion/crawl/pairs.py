"""Scores, tags and filters pairs as their images arrive: the sink of a crawl's shard.

One thread a process embeds, for all of its shards: batches wait for it in a short queue, and when
that is full downloading waits. What fails a rule is forgotten at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from img2ds.core.sample import Sample
from img2ds.engine.shard_output import ShardOutput
from img2ds.formats.webdataset import TarWriter
from img2ds.report.shard_report import ShardReport
from img2ds.report.tally import Tally
from laion.clip.embed import Embedder
from laion.clip.metadata_table import PairRow, metadata_table
from laion.clip.stage import BELOW
from laion.data.embedding_writer import write_embedding_shard
from laion.samples.sample import Sample as Pair
from laion.tag.tagging import TagRules, tag_rows

#: Batches that wait for the model, or are in it: enough that it never waits for the next.
MAX_BATCHES = 4


@dataclass(frozen=True, slots=True)
class Kept:
    """A pair that passed: its row, embeddings [dim] float16, their cosine, and its tag."""

    row: PairRow
    image: np.ndarray[Any, Any]
    text: np.ndarray[Any, Any]
    similarity: np.float32
    tag: str | None


class Scorer:
    """A model, and the thread that works for all shards of a process."""

    def __init__(self, embedder: Embedder, rules: TagRules | None, min_similarity: float) -> None:
        self.embedder = embedder
        self.rules = rules
        self._least = min_similarity
        self._thread = ThreadPoolExecutor(1, "clip")
        self._room = threading.BoundedSemaphore(MAX_BATCHES)

    def submit(self, samples: Sequence[Sample], sink: PairCollector) -> Future[None]:
        """Have a batch judged; blocks while many wait."""
        self._room.acquire()
        future = self._thread.submit(self._judge, samples, sink)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def _judge(self, samples: Sequence[Sample], sink: PairCollector) -> None:
        pairs, of = _by_text(samples)
        captions = [pair.caption or "" for pair in pairs]
        scored = self.embedder.pairs([bytes(sample.image) for sample in samples], captions, of)
        counts = sink.counts
        for failure in scored.failures.values():
            counts.drop(failure.reason)
        similar = scored.similarity >= self._least
        counts.drop(BELOW, int((~similar).sum()))
        rows = [place for place, keeps in zip(scored.rows, similar.tolist(), strict=True) if keeps]
        images, texts = (e[similar].astype(np.float16) for e in (scored.image, scored.text))
        similarity = scored.similarity[similar]
        kept: Sequence[bool] = [True] * len(rows)
        tags: Sequence[str | None] = [None] * len(rows)
        if self.rules is not None and rows:
            chosen = [captions[place] for place in rows]
            keys = [pairs[place].key for place in rows]
            tagged = tag_rows(self.rules, images, texts, chosen, keys=keys)
            kept, tags = tagged.kept.tolist(), tagged.tags
            counts.reasons.update(tagged.dropped)
            counts.metrics.update(tagged.metrics())
        for n, place in enumerate(rows):
            if kept[n]:
                sample, fields = samples[of[place]], pairs[place].fields
                size = (fields["width"], fields["height"])
                row = PairRow(sample.key, captions[place], fields, size)
                sink.keep(Kept(row, images[n], texts[n], similarity[n], tags[n]), sample)


def _by_text(samples: Sequence[Sample]) -> tuple[list[Pair], list[int]]:
    """Return the pairs of images, one for each text, and the image of each."""
    pairs: list[Pair] = []
    of: list[int] = []
    for number, sample in enumerate(samples):
        texts = Pair(sample.key, None, sample.caption, sample.metadata).by_text()
        pairs += texts
        of += [number] * len(texts)
    return pairs, of


class PairCollector:
    """The sink of one shard: commits what is kept as a shard of a tagged folder.

    Args:
        output: its counts have what was dropped before anything was downloaded.
        saved: the extension of the images when kept ones are saved too, else None.
    """

    def __init__(self, output: ShardOutput, scorer: Scorer, saved: str | None) -> None:
        self.counts = output.counts
        self._output = output
        self._scorer = scorer
        self._batch: list[Sample] = []
        self._judged: list[Future[None]] = []
        self._kept: list[Kept] = []
        self._tar: TarWriter | None = None
        if saved is not None:
            self._tar = TarWriter(f"{output.name}.tar", saved, output.stage)

    def add(self, sample: Sample) -> None:
        """Take a downloaded pair."""
        self._batch.append(sample)
        if len(self._batch) >= self._scorer.embedder.batch_size:
            self._submit()

    def _submit(self) -> None:
        if self._batch:
            self._judged.append(self._scorer.submit(self._batch, self))
            self._batch = []

    def keep(self, pair: Kept, sample: Sample) -> None:
        """A pair passed. Called by the scorer's thread. Raises OSError: the disk is full."""
        is_new = not self._kept or self._kept[-1].row.key != sample.key  # not another text of it
        self._kept.append(pair)
        if self._tar is not None and is_new:
            self._tar.add(sample)

    def fail(self, error: OSError, notes: list[str]) -> ShardReport[Any]:
        """See `ShardSink.fail`."""
        self._output.notes.extend(notes)
        for future in self._judged:
            future.cancel()
        if self._tar is not None:
            self._tar.abort()
        return self._output.cannot_write(error)

    def commit(
        self, tally: Tally, notes: list[str], metadata: Callable[[], pa.Table]
    ) -> ShardReport[Any]:
        """Wait for the last pairs, write them, and commit the shard."""
        self._submit()
        output, counts = self._output, self.counts
        try:
            for future in self._judged:
                future.result()
            self._write()
        except OSError as error:
            return self.fail(error, notes)
        output.notes.extend(notes)
        counts.successes = len(self._kept)
        counts.reasons.update(tally.reasons)
        counts.bytes_received += tally.bytes_received
        counts.metrics["downloaded"] = tally.successes
        return output.commit()

    def _write(self) -> None:
        output = self._output
        if self._tar is not None:
            output.add(self._tar.finish(pa.table({})))
        kept = sorted(self._kept, key=lambda pair: pair.row.key)
        similarity = np.array([pair.similarity for pair in kept], np.float32)
        table = metadata_table([pair.row for pair in kept], similarity)
        if self._scorer.rules is not None:
            tags = pa.array([pair.tag for pair in kept], pa.string())
            table = table.append_column("nsfw", tags)
        empty = np.empty((0, self._scorer.embedder.dim), np.float16)
        images = np.stack([pair.image for pair in kept]) if kept else empty
        texts = np.stack([pair.text for pair in kept]) if kept else empty
        write_embedding_shard(output.name, output.path, table, images, texts)
