"""README.md of a trained model: its data, training and quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from img2ds.report.units import duration, percent
from laion.dalle.checkpoint import CODEBOOK, TRANSFORMER, Progress
from laion.dalle.options import DalleOptions
from laion.dalle.sample import Sample, SampleSet


def similarity_lines(samples: Sequence[Sequence[Sample]]) -> list[str]:
    """Summarize how well ranked samples fit their prompts; no lines if they are not ranked."""
    every = [sample for some in samples for sample in some]
    cosines = [sample.similarity for sample in every if sample.similarity is not None]
    if not cosines:
        return []
    best = [some[0].similarity or 0.0 for some in samples]
    mean, of_best = sum(cosines) / len(cosines), sum(best) / len(best)
    lines = [f"similarity to the prompt: mean {mean:.3f}, of the best of each prompt {of_best:.3f}"]
    if len(samples) > 1:
        nearest = sum(bool(sample.nearest) for sample in every) / len(every)
        lines.append(
            f"nearest to their own prompt among {len(samples)}: {percent(nearest)} of the samples "
            f"(by chance {percent(1 / len(samples))})"
        )
    return lines


def training_lines(progress: Progress) -> list[str]:
    """Summarize each phase: pairs, epochs, time, and which weights are kept."""
    names = {CODEBOOK: "image coder", TRANSFORMER: "transformer"}
    steps = {point["phase"]: point["step"] for point in progress.points}
    return [
        f"{names[phase]}: {steps.get(phase, 0):,} steps, {progress.pairs[phase]:,} pairs "
        f"({progress.epochs.get(phase, 0):.2f} epochs), "
        f"{duration(progress.seconds.get(phase, 0))}"
        + _kept(progress.kept_steps.get(phase, 0), steps.get(phase, 0))
        for phase in names
    ]


def _kept(kept: int, last: int) -> str:
    if not 0 < kept < last:
        return ""
    return (
        f"; the held-out loss was lowest after step {kept:,} and rose later: the weights of that "
        "step are kept"
    )


def render_readme(
    options: DalleOptions,
    progress: Progress,
    parameters: dict[str, int],
    samples: SampleSet,
    device: str,
) -> str:
    """Render the file, in Markdown."""
    kept = {phase: progress.kept_point(phase) for phase in (CODEBOOK, TRANSFORMER)}
    intro = (
        f"Trained by `laion dalle` on `{options.input}`. A discrete autoencoder encodes an image "
        f"of {options.image_size} pixels a side as {options.grid} x {options.grid} codes of "
        f"{options.codes}. A transformer of {options.layers} layers of width {options.width} "
        "predicts each code from the caption and the codes before it."
    )
    sizes = " and ".join(_number(parameters[phase]) for phase in (CODEBOOK, TRANSFORMER))
    lines = [
        "# A text-to-image model",
        "",
        intro,
        "",
        *(f"* {line}" for line in training_lines(progress)),
        f"* parameters: {sizes}; device: {device}; seed {options.seed}",
        *([f"* dropped pairs: {_reasons(progress.dropped)}"] if progress.dropped else []),
        "",
        "| | trained pairs | held-out pairs |",
        "|---|---|---|",
    ]
    for phase, name, label in (
        (CODEBOOK, "error", "reconstruction error, share of 255 levels"),
        (TRANSFORMER, "image", "nats for each image token"),
        (TRANSFORMER, "text", "nats for each text token"),
    ):
        point = kept[phase]
        if point is not None:
            lines.append(
                f"| {label} | {point[f'train_{name}']:.4g} | {point[f'held_out_{name}']:.4g} |"
            )
    if (point := kept[CODEBOOK]) is not None:
        used = point["held_out_codes_used"]
        lines += ["", f"Codes used by held-out images: {used:.0f} of {options.codes}."]
    lines += ["", "![curves](curves.png)", ""]
    return "\n".join([*lines, *_sample_lines(options, samples)]).rstrip() + "\n"


def _sample_lines(options: DalleOptions, samples: SampleSet) -> list[str]:
    if not samples.by_prompt:
        return []
    first = samples.by_prompt[0]
    order = "in the order of generation"
    if first[0].similarity is not None:
        order = f"ranked by {options.model}"
    shown = min(options.shown, len(first))
    lines = [
        "## Samples",
        "",
        f"{len(first)} for each prompt, {order}; the first {shown} are on the contact sheet.",
        "",
        *(f"* {line}" for line in [*similarity_lines(samples.by_prompt), *samples.notes]),
        "",
        "![samples](samples.png)",
        "",
    ]
    for place, (prompt, some) in enumerate(zip(samples.prompts, samples.by_prompt, strict=True)):
        best = some[0].similarity
        shown_best = f" ({best:.3f})" if best is not None else ""
        lines.append(f"{place + 1}. {_escaped(prompt)}: `samples/{place:03d}_00.png`{shown_best}")
    return lines


def _number(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count:,}"


def _reasons(dropped: Any) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(dropped.items()))


def _escaped(text: str) -> str:
    """Escape a prompt for Markdown, on one line."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in " ".join(text.split()))
