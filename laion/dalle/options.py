"""The flags of `laion dalle`. A preset provides the sizes that are not given."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from img2ds.config.flags import at_least, flag, positive
from img2ds.core.failure import UsageError
from laion.clip.options import PRETRAINED_TAG

#: Sizes for a real dataset on one GPU, and for drawn shapes on two CPU cores in two minutes.
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

#: Steps of the tiny preset; one epoch of a small dataset would be too few.
TINY_STEPS = 600

PRECISIONS = ("auto", "fp32", "bf16")
MODES = ("incremental", "overwrite")


@dataclass(frozen=True, kw_only=True)
class DalleOptions:
    """The flags of `laion dalle`."""

    input: str = flag(
        MISSING, "str", "webdataset shards, or what else laion score reads: a path or fsspec URL"
    )
    output_folder: str = flag(MISSING, "str", "folder for model, curves and samples")
    preset: str = flag(
        "base", "choice",
        "sizes that are not given: base for a real dataset on a GPU, tiny for shapes on a CPU",
        *PRESETS,
    )  # fmt: skip
    image_size: int | None = flag(
        None, "int?", "pixels of a side; images are cropped to squares (base: 128, tiny: 32)"
    )
    downsampling: int | None = flag(
        None, "int?", "pixels of a side covered by one image token (base: 8, tiny: 4)"
    )
    codes: int | None = flag(None, "int?", "entries of the codebook (base: 4096, tiny: 256)")
    coder_width: int | None = flag(
        None, "int?", "channels of the image coder (base: 128, tiny: 32)"
    )
    codebook_steps: int | None = flag(
        None, "int?", "batches to train the image coder on (base: 20000, tiny: 500)"
    )
    codebook_rate: float | None = flag(
        None, "float?", "highest learning rate of the image coder (base: 4e-4, tiny: 3e-3)"
    )
    text_length: int | None = flag(
        None, "int?", "tokens of a caption; longer captions are cut (base: 64, tiny: 16)"
    )
    vocabulary: int | None = flag(
        None, "int?", "different text tokens, the most frequent (base: 16384, tiny: 512)"
    )
    width: int | None = flag(None, "int?", "width of the transformer (base: 512, tiny: 128)")
    layers: int | None = flag(None, "int?", "layers of the transformer (base: 12, tiny: 3)")
    heads: int | None = flag(None, "int?", "attention heads of the transformer (base: 8, tiny: 4)")
    rate: float | None = flag(
        None, "float?", "highest learning rate of the transformer (base: 3e-4, tiny: 2e-3)"
    )
    batch_size: int | None = flag(None, "int?", "pairs of a batch (base: 64, tiny: 32)")
    steps: int | None = flag(
        None, "int?", f"batches to train the transformer on (tiny: {TINY_STEPS})"
    )
    epochs: int | None = flag(
        None,
        "int?",
        "epochs to train the transformer on, instead of --steps (base: 1)",
    )
    held_out: float | None = flag(
        None, "float?", "share of the pairs that are not trained on (base: 0.02, tiny: 0.05)"
    )
    held_out_pairs: int | None = flag(
        None, "int?", "number of held-out pairs to evaluate on (base: 512, tiny: 128)"
    )
    log_every: int | None = flag(
        None, "int?", "steps between points of curves (base: 250, tiny: 25)"
    )
    save_every: int | None = flag(None, "int?", "steps between checkpoints (base: 1000, tiny: 100)")
    seed: int = flag(0, "int", "random seed; a training on a CPU is reproducible")
    prompts: str | None = flag(
        None, "str?", "a text file, one prompt a line (default: 8 held-out captions)"
    )
    samples: int = flag(16, "int", "images to generate for each prompt; 0 for none")
    shown: int = flag(8, "int", "samples of each prompt on the contact sheet")
    temperature: float = flag(1.0, "float", "sampling temperature; lower values give less variety")
    top_k: int | None = flag(None, "int?", "sample among this many likeliest codes (default: all)")
    model: str | None = flag(
        None, "str?", "CLIP model to rank the samples by, named as in laion score"
    )
    pretrained: str | None = flag(None, "str?", "weights of the model: a tag or a checkpoint file")
    pretrained_tag: str | None = flag(None, "str?", PRETRAINED_TAG, identity=False)
    devices: tuple[str, ...] = flag(
        (), "list", "cpu, cuda or cuda:N (default: a CUDA device if there is one)"
    )
    precision: str = flag(
        "auto", "choice", "number format: auto is fp32 on a CPU, bf16 on CUDA", *PRECISIONS
    )
    decoders: int | None = flag(None, "int?", "threads that decode images (default: one a core)")
    incremental_mode: str = flag(
        "incremental", "choice",
        "incremental resumes the training in the folder, overwrite starts over", *MODES,
    )  # fmt: skip
    tmp_dir: str | None = flag(
        None, "str?", "local folder for unfinished files (default: inside a local output folder)"
    )
    force: bool = flag(False, "bool", "take over the output folder from a run that still holds it")

    #: Flags that may change when a training is resumed.
    RESUMABLE: ClassVar[tuple[str, ...]] = (
        "input", "output_folder", "preset", "save_every", "prompts", "samples", "shown",
        "temperature", "top_k", "model", "pretrained", "pretrained_tag", "devices", "decoders",
        "incremental_mode", "tmp_dir", "force",
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
            raise UsageError("--output_folder is required: a folder for model and samples")
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
            raise UsageError(f"--held_out must be between 0 and 1, got {self.held_out}")
        size = self.sizes
        if size["downsampling"] not in (2, 4, 8, 16):
            raise UsageError(f"--downsampling must be 2, 4, 8 or 16, got {self.downsampling}")
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
            raise UsageError("--pretrained without --model: give both, or neither")
        if len(self.devices) > 1:
            raise UsageError("--devices: give one device; the training uses only one")

    @property
    def sizes(self) -> dict[str, Any]:
        """Values of all flags that a preset has; none is None."""
        return {name: getattr(self, name) for name in PRESETS[self.preset]}

    @property
    def grid(self) -> int:
        """Image tokens of a side."""
        return int(self.sizes["image_size"] // self.sizes["downsampling"])

    def identity(self) -> dict[str, Any]:
        """Return the flags that a resumed training must share."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.RESUMABLE}
