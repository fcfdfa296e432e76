"""README.md of a trained model: what it was trained on, for how long, and how well it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from img2ds.report.units import duration
from laion.dalle.checkpoint import CODEBOOK, TRANSFORMER, Progress
from laion.dalle.options import DalleOptions
from laion.dalle.sample import Sample


def summary(samples: Sequence[Sequence[Sample]]) -> list[str]:
    """How well ranked samples fit their prompts; nothing where they are not ranked."""
    every = [sample for some in samples for sample in some]
    cosines = [sample.similarity for sample in every if sample.similarity is not None]
    if not cosines:
        return []
    best = [some[0].similarity or 0.0 for some in samples]
    mean, of_best = sum(cosines) / len(cosines), sum(best) / len(best)
    lines = [f"similarity to the prompt: mean {mean:.3f}, of the first of each {of_best:.3f}"]
    if len(samples) > 1:
        nearest = sum(bool(sample.nearest) for sample in every) / len(every)
        lines.append(
            f"nearest to their own prompt among {len(samples)}: {nearest:.0%} of the samples "
            f"(by chance {1 / len(samples):.0%})"
        )
    return lines


def trained(progress: Progress) -> list[str]:
    """Pairs, epochs and time of both phases, a line each."""
    words = {CODEBOOK: "picture coder", TRANSFORMER: "transformer"}
    steps = {point["phase"]: point["step"] for point in progress.points}
    return [
        f"{words[phase]}: {steps.get(phase, 0):,} steps, {progress.pairs[phase]:,} pairs "
        f"({progress.epochs.get(phase, 0):.2f} epochs), "
        f"{duration(progress.seconds.get(phase, 0))}".replace(",", " ").replace("  ", ", ")
        for phase in words
    ]


def page(
    options: DalleOptions,
    progress: Progress,
    parameters: dict[str, int],
    prompts: Sequence[str],
    samples: Sequence[Sequence[Sample]],
    device: str,
    notes: Sequence[str],
) -> str:
    """The page, in Markdown."""
    last = {point["phase"]: point for point in progress.points}
    what = (
        f"Trained by `laion dalle` on `{options.input}`. A discrete autoencoder turns a picture of "
        f"{options.image_size} pixels a side into {options.grid} x {options.grid} codes of "
        f"{options.codes}; a transformer of {options.layers} layers, {options.width} wide, tells "
        "each code from the caption and the codes before it."
    )
    sizes = " and ".join(_number(parameters[phase]) for phase in (CODEBOOK, TRANSFORMER))
    lines = [
        "# A text-to-image model",
        "",
        what,
        "",
        *(f"* {line}" for line in trained(progress)),
        f"* parameters: {sizes}; device: {device}; seed {options.seed}",
        *([f"* left out on the way: {_reasons(progress.dropped)}"] if progress.dropped else []),
        "",
        "| | trained pairs | held-out pairs |",
        "|---|---|---|",
    ]
    for phase, name, words in (
        (CODEBOOK, "error", "error of a picture made again, share of 255 levels"),
        (TRANSFORMER, "image", "nats an image token"),
        (TRANSFORMER, "text", "nats a text token"),
    ):
        if phase in last:
            point = last[phase]
            lines.append(
                f"| {words} | {point[f'train_{name}']:.4g} | {point[f'held_out_{name}']:.4g} |"
            )
    if CODEBOOK in last:
        used = last[CODEBOOK]["held_out_codes_used"]
        lines += ["", f"Codes that held-out pictures use: {used:.0f} of {options.codes}."]
    lines += ["", "![curves](curves.png)", ""]
    if prompts and samples:
        ranked = samples[0][0].similarity is not None
        order = f"ranked by {options.model}" if ranked else "in the order they were drawn"
        shown = min(options.shown, len(samples[0]))
        lines += [
            "## Samples",
            "",
            f"{len(samples[0])} for each prompt, {order}; the first {shown} are on the sheet.",
            "",
            *(f"* {line}" for line in [*summary(samples), *notes]),
            "",
            "![samples](samples.png)",
            "",
        ]
        for place, (prompt, some) in enumerate(zip(prompts, samples, strict=True)):
            best = some[0].similarity
            figure = f" ({best:.3f})" if best is not None else ""
            lines.append(f"{place + 1}. {_plain(prompt)}: `samples/{place:03d}_00.png`{figure}")
    return "\n".join(lines).rstrip() + "\n"


def _number(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count:,}".replace(",", " ")


def _reasons(dropped: Any) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))


def _plain(text: str) -> str:
    """A prompt on one line, none of it Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in " ".join(text.split()))
