"""Evaluation sets that a dataset must not contain: `--decontaminate`.

Their images go through the same passes as the rows, in batches of their own, and are never
duplicates themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from img2ds.core.failure import Failure, UsageError
from img2ds.core.pdq import BYTES, GOOD
from img2ds.engine.shard_output import ShardOutput
from img2ds.storage import OutputFolder
from laion.data.embedding_folder import EmbeddingFolder, open_embedding_folder
from laion.dedup_images.hash_comparison import HashComparison
from laion.dedup_images.hash_files import PLAIN
from laion.dedup_images.image_hash import image_hash
from laion.dedup_images.options import BY_HASH, DedupImagesOptions
from laion.dedup_images.scattered import BATCH_SHIFT, RunWriter, part_name, record_type
from laion.provenance import ModelNames
from laion.samples.source import SampleShard, SampleShards, find_shards

#: Clusters that an image of an evaluation set is compared in: there are few of these images.
PROBES = 8
#: Images that are sent at once.
_BLOCK = 1000


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A folder of images, or of their embeddings; the other one is None."""

    place: str
    images: SampleShards | None = None
    embeddings: EmbeddingFolder | None = None

    def fingerprint(self) -> list[Any]:
        """Return what identifies it, as JSON."""
        source = self.images or self.embeddings
        assert source is not None
        return list(source.fingerprint()["files"])


def find_evaluation_sets(
    options: DedupImagesOptions, model: ModelNames
) -> tuple[EvaluationSet, ...]:
    """Find the sets of `--decontaminate`.

    Args:
        model: what the input's embeddings were made with.

    Raises:
        UsageError: a folder has neither images nor embeddings, or cannot be compared.
    """
    found = []
    for place in options.decontaminate:
        if OutputFolder.open(place).names("img_emb"):
            if options.by == BY_HASH:
                raise UsageError(
                    f"--decontaminate {place} has embeddings, and hashes are of images: give the "
                    "images, or use --by embedding"
                )
            found.append(EvaluationSet(place, embeddings=open_embedding_folder(place, ())))
            continue
        found.append(EvaluationSet(place, images=find_shards(place)))
        if options.by != BY_HASH and model.model is None:
            raise UsageError(
                f"--decontaminate {place} has images, and {options.input} does not record the "
                "model to embed them with: give their embeddings, or use --by hash"
            )
    if options.by != BY_HASH and any(one.images for one in found):
        from laion.clip.stage import check

        check(score_options(options, model, "", ""))
    return tuple(found)


def embed(
    options: DedupImagesOptions, model: ModelNames, images: str, output_folder: str
) -> EmbeddingFolder | None:
    """Embed the images of a set with the model of the input; None if that is not complete.

    Raises:
        UsageError: the model or the images cannot be had.
    """
    from laion.clip.stage import run

    report = run(score_options(options, model, images, output_folder))
    return None if report.exit_code else open_embedding_folder(output_folder, ())


def score_options(
    options: DedupImagesOptions, model: ModelNames, images: str, output_folder: str
) -> Any:
    """Return the options of `laion score` for the images of a set."""
    from laion.clip.options import ScoreOptions

    assert model.model is not None
    return ScoreOptions(
        input=images or "-",
        output_folder=output_folder or "-",
        model=model.model,
        pretrained=model.pretrained,
        enable_text=False,
        distributor=options.distributor,
    )


@dataclass(frozen=True, slots=True)
class EvaluationTask:
    """A shard of images of an evaluation set, batch `shard_id`."""

    shard_id: int
    source: SampleShard
    comparison: HashComparison
    key_bytes: int


def scatter_images(task: EvaluationTask, shard: ShardOutput) -> None:
    """Hash the images of a set and send them to their buckets."""
    writer = RunWriter(shard, task.comparison.buckets)
    samples, sent = iter(task.source.samples()), 0
    while block := list(islice(samples, _BLOCK)):
        hashes = np.zeros((len(block), BYTES), np.uint8)
        for place, sample in enumerate(block):
            found = None if sample.body is None else image_hash(sample.body)
            if found is None or isinstance(found, Failure):
                shard.counts.drop("no_image" if found is None else found.reason)
            elif found.quality < GOOD:
                shard.counts.drop(PLAIN)
            else:
                hashes[place] = np.frombuffer(found.bytes, np.uint8)
                shard.counts.successes += 1
        rows, buckets = task.comparison.place(hashes)
        records = np.empty(len(rows), record_type(task.key_bytes))
        records["bucket"], records["rank"] = buckets, -np.inf
        records["place"] = (np.uint64(task.shard_id) << BATCH_SHIFT) | (sent + rows).astype(
            np.uint64
        )
        records["key"] = _keys([sample.key for sample in block], task.key_bytes)[rows]
        writer.add(records, hashes[rows])
        sent += len(block)
    writer.close()
    np.save(shard.path(part_name(shard.number, "shards.npy")), np.array([sent], np.int64))


def _keys(keys: Sequence[str], key_bytes: int) -> Any:
    encoded = [key.encode() for key in keys]
    return np.array([key if len(key) <= key_bytes else b"" for key in encoded], f"S{key_bytes}")
