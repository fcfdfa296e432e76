"""`laion dalle`: train on shards, draw pictures for prompts, rank them, and write it all down."""

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
from img2ds.storage import InputFile, OutputFolder, find_inputs
from laion.clip.device import check_devices, pick_devices
from laion.clip.model import ModelSpec, check_files, fetch
from laion.clip.open_clip_library import require_open_clip
from laion.dalle.options import DalleOptions

if TYPE_CHECKING:
    from laion.clip.embed import Embedder
    from laion.dalle.sample import Sample
    from laion.dalle.trainer import Trainer

#: Prompts that held-out captions stand in for.
PROMPTS = 8

#: What a training leaves in its folder, in the order that it comes; `overwrite` removes it.
FILES = ("dalle.pt", "curves.jsonl", "curves.png", "samples", "samples.json", "samples.png",
         "README.md")  # fmt: skip


@dataclass(slots=True)
class DalleReport:
    """What a run came to."""

    folder: str
    lines: list[str] = field(default_factory=list)
    exit_code: int = 0

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def check(options: DalleOptions) -> tuple[str, ModelSpec | None, list[str]]:
    """The device, the model that ranks, its weights fetched, and the prompts that are given.

    Raises:
        UsageError: one of them cannot be had, or a library is missing.
    """
    require_open_clip()
    from laion.dalle.figures import check_figures

    check_figures()
    check_devices(options.devices)
    device = pick_devices(options.devices)[0]
    prompts = _read_prompts(options.prompts) if options.prompts is not None else []
    spec = None
    if options.model and options.samples:
        spec = fetch(ModelSpec(options.model, options.pretrained))
        check_files(spec)
    return device, spec, prompts


def run(options: DalleOptions) -> DalleReport:
    """Train, or go on with it, then draw. Blocks until that is done or stopped.

    Raises:
        UsageError: the shards, the device, the model or the folder cannot be had; nothing was
            done.
    """
    files = find_inputs(options.input, [".tar"])
    device, spec, prompts = check(options)
    folder = OutputFolder.open(options.output_folder, options.tmp_dir)
    report = DalleReport(folder.path)
    with hold_folder(folder, options.force), StopSwitch() as stop:
        try:
            _work(options, files, folder, device, spec, prompts, stop, report)
        except StopNow:
            report.exit_code = 130
            report.lines.append(
                "stopped at once: rerun the same command to resume from the last save"
            )
        except OSError as error:
            report.exit_code = 1
            report.lines.append(
                f"{cannot_write(error)}: rerun the same command to resume from the last save"
            )
    return report


def _work(
    options: DalleOptions, files: Sequence[InputFile], folder: OutputFolder, device: str,
    spec: ModelSpec | None, prompts: list[str], stop: StopSwitch, report: DalleReport,
) -> None:  # fmt: skip
    from laion.dalle.figures import draw_curves
    from laion.dalle.readme import trained
    from laion.dalle.trainer import Trainer

    if options.incremental_mode == "overwrite":
        folder.remove(FILES)
    trainer = Trainer(options, files, folder, device)
    done = trainer.run(stop)
    folder.write_bytes("curves.png", draw_curves(trainer.progress.points))
    report.lines += trained(trainer.progress)
    samples: list[list[Sample]] = []
    notes: list[str] = []
    if done and options.samples:
        prompts = prompts or _held_out_prompts(trainer)
        notes = [
            f"of the prompt {prompt!r} no word is known to the model"
            for prompt, pieces in zip(prompts, trainer.pieces(prompts), strict=True)
            if trainer.vocabulary is not None and trainer.vocabulary.unknown(pieces)
        ]
        samples = _draw(options, trainer, prompts, stop)
        if spec is not None and not stop.is_set():
            samples = _ranked(spec, device, samples, prompts)
    if not done or stop.is_set():
        progress = trainer.progress
        report.exit_code = 130
        report.lines.append(
            f"{stop.reason} in the {progress.phase}'s training after step {progress.step}, which "
            "is saved: rerun the same command to resume"
            if not done
            else f"{stop.reason} while drawing: the model is saved, rerun the same command to draw"
        )
        return
    _publish(options, folder, trainer, prompts, samples, notes, device)
    from laion.dalle.readme import summary

    report.lines += [*summary(samples), *notes]
    report.lines.append(
        f"wrote {folder.path}: "
        + ("samples.png, samples/, " if samples else "")
        + "curves.png, curves.jsonl, README.md, dalle.pt"
    )


def _read_prompts(path: str) -> list[str]:
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            prompts = [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"--prompts {path} cannot be read: {words}") from None
    if not prompts:
        raise UsageError(f"--prompts {path} has no prompt: write one a line")
    return prompts


def _held_out_prompts(trainer: Trainer) -> list[str]:
    captions = dict.fromkeys(" ".join(caption.split()) for caption in trainer.captions)
    return list(captions)[:PROMPTS]


def _draw(
    options: DalleOptions, trainer: Trainer, prompts: list[str], stop: StopSwitch
) -> list[list[Sample]]:
    import torch

    from laion.dalle.sample import Sampler, as_samples

    assert trainer.transformer is not None
    assert trainer.vocabulary is not None
    drawing = Sampler(
        trainer.coder, trainer.transformer, options.temperature, options.top_k, trainer.half
    )
    text = torch.from_numpy(trainer.vocabulary(trainer.pieces(prompts)))
    found: list[Sample] = []
    for some in drawing.pictures(text.repeat_interleave(options.samples, 0), options.seed):
        found += as_samples(some)
        if stop.is_set():
            break
    each = options.samples
    return [found[at : at + each] for at in range(0, len(found), each)]


def _ranked(
    spec: ModelSpec, device: str, samples: list[list[Sample]], prompts: list[str]
) -> list[list[Sample]]:
    from laion.clip.embed import Embedder
    from laion.dalle.sample import rank

    embedder: Embedder = Embedder(spec, device)
    return rank(samples, prompts, embedder)


def _publish(
    options: DalleOptions, folder: OutputFolder, trainer: Trainer, prompts: list[str],
    samples: list[list[Sample]], notes: list[str], device: str,
) -> None:  # fmt: skip
    """Samples, sheet and page. Those of an earlier run go first. Raises OSError."""
    from laion.dalle.figures import draw_sheet
    from laion.dalle.readme import page

    assert trainer.transformer is not None
    folder.remove(["README.md", "samples.png", "samples.json", "samples"])
    told: list[dict[str, Any]] = []
    for place, (prompt, some) in enumerate(zip(prompts, samples, strict=False)):
        for number, sample in enumerate(some):
            name = f"samples/{place:03d}_{number:02d}.png"
            folder.write_bytes(name, sample.png)
            told.append({"file": name, "prompt": prompt, "similarity": sample.similarity})
    if samples:
        folder.write_bytes("samples.json", json.dumps(told, indent=1).encode())
        shown = [some[: options.shown] for some in samples]
        folder.write_bytes("samples.png", draw_sheet(prompts, shown))
    parameters = {
        "codebook": sum(p.numel() for p in trainer.coder.parameters())
        + trainer.coder.codebook.codes.numel(),
        "transformer": sum(p.numel() for p in trainer.transformer.parameters()),
    }
    words = page(options, trainer.progress, parameters, prompts, samples, device, notes)
    folder.write_bytes("README.md", words.encode())
