"""`laion dalle`: train on shards, generate images for prompts, rank them, and write the results."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from img2ds.core.failure import UsageError
from img2ds.engine.build import hold_folder
from img2ds.engine.shard_output import cannot_write
from img2ds.engine.stop import StopNow, StopSwitch
from img2ds.storage import OutputFolder
from laion.clip.device import check_devices, pick_devices
from laion.clip.model import ModelSpec, check_files, fetch
from laion.clip.open_clip_library import require_open_clip
from laion.dalle.options import DalleOptions
from laion.samples.source import SampleShard, find_shards

if TYPE_CHECKING:
    from laion.dalle.sample import Sample, SampleSet
    from laion.dalle.trainer import Trainer

#: Number of held-out captions that serve as prompts if none are given.
PROMPTS = 8

#: Results of a training, in the order they are written; `overwrite` removes them.
FILES = ("dalle.pt", "curves.jsonl", "curves.png", "samples", "samples.json", "samples.png",
         "README.md")  # fmt: skip


@dataclass(slots=True)
class DalleReport:
    """The outcome of `laion dalle`."""

    folder: str
    lines: list[str] = field(default_factory=list)
    exit_code: int = 0

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run needs besides its shards.

    Attributes:
        ranking: the model that ranks samples, with local weights; None if samples are not ranked.
        prompts: those given by the user; may be empty.
    """

    device: str
    ranking: ModelSpec | None
    prompts: list[str]


def check(options: DalleOptions) -> Resources:
    """Find the device, the ranking model and the prompts.

    Raises:
        UsageError: one of them is not available, or a library is missing.
    """
    require_open_clip()
    from laion.dalle.figures import check_figures

    check_figures()
    check_devices(options.devices)
    prompts = _read_prompts(options.prompts) if options.prompts is not None else []
    spec = None
    if options.model and options.samples:
        spec = fetch(ModelSpec(options.model, options.pretrained, options.pretrained_tag))
        check_files(spec)
    return Resources(pick_devices(options.devices)[0], spec, prompts)


def run(options: DalleOptions) -> DalleReport:
    """Train, or resume training, then generate samples. Blocks until that is done or stopped.

    Raises:
        UsageError: the shards, the device, the model or the folder cannot be used; nothing was
            done.
    """
    shards = find_shards(options.input).shards
    resources = check(options)
    folder = OutputFolder.open(options.output_folder, options.tmp_dir)
    with hold_folder(folder, options.force), StopSwitch() as stop:
        work = _Run(options, folder, resources, stop, DalleReport(folder.path))
        try:
            work.run(shards)
        except StopNow:
            work.fail(130, "stopped: rerun the same command to resume from the last checkpoint")
        except OSError as error:
            work.fail(1, f"{cannot_write(error)}: rerun the same command to resume")
    return work.report


@dataclass(frozen=True, slots=True)
class _Run:
    """One run in a locked output folder."""

    options: DalleOptions
    folder: OutputFolder
    resources: Resources
    stop: StopSwitch
    report: DalleReport

    def fail(self, exit_code: int, line: str) -> None:
        self.report.exit_code = exit_code
        self.report.lines.append(line)

    def run(self, shards: Sequence[SampleShard]) -> None:
        """Train, generate, write. Raises OSError, StopNow."""
        from laion.dalle.figures import draw_curves
        from laion.dalle.readme import similarity_lines, training_lines
        from laion.dalle.sample import SampleSet
        from laion.dalle.trainer import Trainer

        if self.options.incremental_mode == "overwrite":
            self.folder.remove(FILES)
        trainer = Trainer(self.options, shards, self.folder, self.resources.device)
        is_done = trainer.run(self.stop)
        self.folder.write_bytes(
            "curves.png", draw_curves(trainer.progress.points, trainer.progress.kept_steps)
        )
        self.report.lines += training_lines(trainer.progress)
        if not is_done:
            progress = trainer.progress
            self.fail(
                130,
                f"{self.stop.reason} in the {progress.phase} phase after step {progress.step}, "
                "which is saved: rerun the same command to resume",
            )
            return
        samples = self._samples(trainer) if self.options.samples else SampleSet()
        if self.stop.is_set():
            self.fail(
                130,
                f"{self.stop.reason} while generating samples; the model is saved: rerun the "
                "same command to generate them again",
            )
            return
        self._write(trainer, samples)
        self.report.lines += [*similarity_lines(samples.by_prompt), *samples.notes]
        self.report.lines.append(
            f"wrote {self.folder.path}: "
            + ("samples.png, samples/, " if samples.by_prompt else "")
            + "curves.png, curves.jsonl, README.md, dalle.pt"
        )

    def _samples(self, trainer: Trainer) -> SampleSet:
        """Generate and rank samples; fewer if stopped."""
        from laion.clip.embed import Embedder
        from laion.dalle.sample import SampleSet, rank

        assert trainer.vocabulary is not None
        prompts = self.resources.prompts or _held_out_prompts(trainer)
        notes = [
            f"the model knows no word of the prompt {prompt!r}"
            for prompt, pieces in zip(prompts, trainer.pieces(prompts), strict=True)
            if trainer.vocabulary.is_unknown(pieces)
        ]
        by_prompt = self._generate(trainer, prompts)
        if self.resources.ranking is not None and not self.stop.is_set():
            embedder = Embedder(self.resources.ranking, self.resources.device)
            by_prompt = rank(by_prompt, prompts, embedder)
        return SampleSet(prompts, by_prompt, notes)

    def _generate(self, trainer: Trainer, prompts: list[str]) -> list[list[Sample]]:
        import torch

        from laion.dalle.sample import Sampler, as_samples

        assert trainer.transformer is not None
        assert trainer.vocabulary is not None
        options = self.options
        sampler = Sampler(
            trainer.coder, trainer.transformer, options.temperature, options.top_k, trainer.half
        )
        text = torch.from_numpy(trainer.vocabulary(trainer.pieces(prompts)))
        found: list[Sample] = []
        for images in sampler.images(text.repeat_interleave(options.samples, 0), options.seed):
            found += as_samples(images)
            if self.stop.is_set():
                break
        return [found[at : at + options.samples] for at in range(0, len(found), options.samples)]

    def _write(self, trainer: Trainer, samples: SampleSet) -> None:
        """Write samples, contact sheet and README.md, replacing earlier ones. Raises OSError."""
        from laion.dalle.figures import draw_sheet
        from laion.dalle.readme import render_readme

        assert trainer.transformer is not None
        options, folder = self.options, self.folder
        folder.remove(["README.md", "samples.png", "samples.json", "samples"])
        records: list[dict[str, Any]] = []
        for place, (prompt, some) in enumerate(
            zip(samples.prompts, samples.by_prompt, strict=True)
        ):
            for number, sample in enumerate(some):
                name = f"samples/{place:03d}_{number:02d}.png"
                folder.write_bytes(name, sample.png)
                records.append({"file": name, "prompt": prompt, "similarity": sample.similarity})
        if samples.by_prompt:
            folder.write_bytes("samples.json", json.dumps(records, indent=1).encode())
            shown = [some[: options.shown] for some in samples.by_prompt]
            folder.write_bytes("samples.png", draw_sheet(samples.prompts, shown))
        parameters = {
            "codebook": sum(p.numel() for p in trainer.coder.parameters())
            + trainer.coder.codebook.codes.numel(),
            "transformer": sum(p.numel() for p in trainer.transformer.parameters()),
        }
        readme = render_readme(
            options, trainer.progress, parameters, samples, self.resources.device
        )
        folder.write_bytes("README.md", readme.encode())


def _read_prompts(path: str) -> list[str]:
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            prompts = [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"--prompts '{path}' cannot be read: {reason}") from None
    if not prompts:
        raise UsageError(f"--prompts '{path}' has no prompts: write one on each line")
    return prompts


def _held_out_prompts(trainer: Trainer) -> list[str]:
    captions = dict.fromkeys(" ".join(caption.split()) for caption in trainer.captions)
    return list(captions)[:PROMPTS]
