"""The flags of `laion dalle`. Sizes that are not given are those of a preset."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from img2ds.config.flags import at_least, flag, positive
from img2ds.core.failure import UsageError

#: Sizes for a real data set on one GPU, and for drawn shapes on two CPU cores in two minutes.
PRESETS: dict[str, dict[str, Any]] = {
    "base": {
        "image_size": 128, "downsampling": 8, "codes": 4096, "coder_width": 128,
        "codebook_steps": 20_000, "codebook_rate": 4e-4, "text_length": 64, "vocabulary": 16_384,
        "width": 512, "layers": 12, "heads": 8, "rate": 3e-4, "batch_size": 64,
        "held_out": 0.02, "held_out_pairs": 512, "log_every": 250, "save_every": 1000,
    },
    "tiny": {
        "image_size": 32, "downsampling": 4, "codes": 256, "coder_width": 32,
        "codebook_steps": 500, "codebook_rate": 3e-3, "text_length": 16, "vocabulary": 512,
        "width": 128, "layers": 3, "heads": 4, "rate": 2e-3, "batch_size": 32,
        "held_out": 0.05, "held_out_pairs": 128, "log_every": 25, "save_every": 100,
    },
}  # fmt: skip

#: Steps of the tiny preset: an epoch of a small set would be too few.
TINY_STEPS = 600

PRECISIONS = ("auto", "fp32", "bf16")
MODES = ("incremental", "overwrite")


@dataclass(frozen=True, kw_only=True)
class DalleOptions:
    """The flags of `laion dalle`."""

    input: str = flag(MISSING, "str", "webdataset shards: a folder, a glob, a tar, here or fsspec")
    output_folder: str = flag(MISSING, "str", "where model, curves and samples go")
    preset: str = flag(
        "base", "choice",
        "sizes that are not given: base is for a real data set on a GPU, tiny for shapes on a CPU",
        *PRESETS,
    )  # fmt: skip
    image_size: int | None = flag(
        None, "int?", "pixels of a side; pictures are cropped to squares (base: 128, tiny: 32)"
    )
    downsampling: int | None = flag(
        None, "int?", "pixels of a side that one image token stands for (base: 8, tiny: 4)"
    )
    codes: int | None = flag(None, "int?", "entries of the codebook (base: 4096, tiny: 256)")
    coder_width: int | None = flag(
        None, "int?", "channels of the picture coder (base: 128, tiny: 32)"
    )
    codebook_steps: int | None = flag(
        None, "int?", "batches that the picture coder is trained on (base: 20000, tiny: 500)"
    )
    codebook_rate: float | None = flag(
        None, "float?", "its highest learning rate (base: 4e-4, tiny: 3e-3)"
    )
    text_length: int | None = flag(
        None, "int?", "tokens of a caption; longer ones are cut off (base: 64, tiny: 16)"
    )
    vocabulary: int | None = flag(
        None, "int?", "text tokens that are told apart, the most frequent (base: 16384, tiny: 512)"
    )
    width: int | None = flag(None, "int?", "of the transformer (base: 512, tiny: 128)")
    layers: int | None = flag(None, "int?", "of the transformer (base: 12, tiny: 3)")
    heads: int | None = flag(None, "int?", "of its attention (base: 8, tiny: 4)")
    rate: float | None = flag(
        None, "float?", "the transformer's highest learning rate (base: 3e-4, tiny: 2e-3)"
    )
    batch_size: int | None = flag(None, "int?", "pairs of a batch (base: 64, tiny: 32)")
    steps: int | None = flag(
        None, "int?", f"batches that the transformer is trained on (tiny: {TINY_STEPS})"
    )
    epochs: int | None = flag(
        None, "int?", "times it sees the data set, in place of --steps (base: 1, as in the paper)"
    )
    held_out: float | None = flag(
        None, "float?", "share of the pairs that is never trained on (base: 0.02, tiny: 0.05)"
    )
    held_out_pairs: int | None = flag(
        None, "int?", "how many of them the curves are measured on (base: 512, tiny: 128)"
    )
    log_every: int | None = flag(None, "int?", "steps between points (base: 250, tiny: 25)")
    save_every: int | None = flag(None, "int?", "steps between saves (base: 1000, tiny: 100)")
    seed: int = flag(0, "int", "of weights, order and samples; on a CPU it decides them all")
    prompts: str | None = flag(
        None, "str?", "a text file, one prompt a line (default: 8 held-out captions)"
    )
    samples: int = flag(16, "int", "pictures drawn for each prompt; 0 draws none")
    shown: int = flag(8, "int", "of these, the first so many are on the contact sheet")
    temperature: float = flag(1.0, "float", "of drawing tokens; less is more ordinary")
    top_k: int | None = flag(None, "int?", "draw among so many likeliest codes (default: all)")
    model: str | None = flag(
        None, "str?", "rank the samples by this CLIP model, named as in laion score"
    )
    pretrained: str | None = flag(None, "str?", "its weights: a tag, or a checkpoint file")
    devices: tuple[str, ...] = flag(
        (), "list", "cpu, cuda or cuda:N, one of them (default: a CUDA device where there is one)"
    )
    precision: str = flag(
        "auto", "choice", "of the arithmetic: auto is fp32 on a CPU, bf16 on CUDA", *PRECISIONS
    )
    decoders: int | None = flag(None, "int?", "threads that decode pictures (default: one a core)")
    incremental_mode: str = flag(
        "incremental", "choice",
        "incremental goes on with a training that is there, overwrite starts anew", *MODES,
    )  # fmt: skip
    tmp_dir: str | None = flag(
        None, "str?", "local folder for unfinished files (default: inside a local output folder)"
    )
    force: bool = flag(False, "bool", "take the output folder over from a run that still holds it")

    #: Flags that do not decide what is learned.
    LATER: ClassVar[tuple[str, ...]] = (
        "input", "output_folder", "preset", "save_every", "prompts", "samples", "shown",
        "temperature", "top_k", "model", "pretrained", "devices", "decoders", "incremental_mode",
        "tmp_dir", "force",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.steps is not None and self.epochs is not None:
            raise UsageError("--steps and --epochs: give one of them")
        if self.steps is None and self.epochs is None:
            name, value = ("steps", TINY_STEPS) if self.preset == "tiny" else ("epochs", 1)
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        if not self.input:
            raise UsageError("--input is required: a folder of webdataset shards")
        if not self.output_folder:
            raise UsageError("--output_folder is required: where model and samples go")
        for name in (
            "image_size", "coder_width", "codebook_steps", "width", "layers", "heads",
            "batch_size", "steps", "epochs", "held_out_pairs", "log_every", "save_every",
            "shown", "top_k", "decoders",
        ):  # fmt: skip
            at_least(name, getattr(self, name), 1)
        at_least("codes", self.codes, 2)
        at_least("text_length", self.text_length, 3)
        at_least("vocabulary", self.vocabulary, 8)
        at_least("samples", self.samples, 0)
        at_least("seed", self.seed, 0)
        for name in ("codebook_rate", "rate", "temperature"):
            positive(name, getattr(self, name))
        if not 0 < self.held_out < 1:  # type: ignore[operator]
            raise UsageError(f"--held_out is a share between 0 and 1, got {self.held_out}")
        size = self.sizes
        if size["downsampling"] not in (2, 4, 8, 16):
            raise UsageError(f"--downsampling is 2, 4, 8 or 16, got {self.downsampling}")
        if size["image_size"] % size["downsampling"]:
            raise UsageError(
                f"--image_size must be a multiple of --downsampling {self.downsampling}, "
                f"got {self.image_size}"
            )
        if size["width"] % size["heads"]:
            raise UsageError(
                f"--width must be a multiple of --heads {self.heads}, got {self.width}"
            )
        if self.pretrained and not self.model:
            raise UsageError("--pretrained without --model: name both, or neither")
        if len(self.devices) > 1:
            raise UsageError("--devices: name one device; the training runs on one")

    @property
    def sizes(self) -> dict[str, Any]:
        """Values of all flags that a preset has; none of them is None."""
        return {name: getattr(self, name) for name in PRESETS[self.preset]}

    @property
    def grid(self) -> int:
        """Image tokens of a side."""
        return int(self.sizes["image_size"] // self.sizes["downsampling"])

    def identity(self) -> dict[str, Any]:
        """The flags that decide what is learned: a training cannot go on with others."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.LATER}
