"""The flags of `laion score`, and those that every command with a CLIP model has."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import Any

from img2ds.config.flags import at_least, flag
from img2ds.core.failure import UsageError
from laion.annotate.flags import AnnotationFlags
from laion.provenance import file_name
from laion.stage import StageOptions

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
PREPROCESS = ("fast", "open_clip")
PRETRAINED_TAG = (
    "for a checkpoint file: the tag whose way of preparing images it needs (default: what lies "
    "beside the file, or all tags of the model)"
)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Flags of a model and of how it runs. Only the first three change the result."""

    model: str = flag(
        "ViT-B-32", "str",
        "a name of open_clip's registry, hf-hub:ORG/NAME, local-dir:FOLDER or a JSON file",
    )  # fmt: skip
    pretrained: str | None = flag(
        "laion400m_e32", "str?", "a tag of open_clip's registry, or a checkpoint file"
    )
    pretrained_tag: str | None = flag(None, "str?", PRETRAINED_TAG, identity=False)
    precision: str = flag(
        "auto", "choice", "precision of the model: auto is fp32 on a CPU, bf16 or fp16 on CUDA",
        *PRECISIONS,
    )  # fmt: skip
    batch_size: int | None = flag(
        None, "int?", "pairs of a batch (default: 256 on CUDA, 32 on a CPU)", identity=False
    )
    compile: bool = flag(
        False, "bool", "use torch.compile; the first batches take a minute", identity=False
    )

    def check_model(self) -> None:
        if not self.model:
            raise UsageError("--model is required: a name such as ViT-B-32, or a JSON file")
        at_least("batch_size", self.batch_size, 1)


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(AnnotationFlags, ModelOptions, StageOptions):
    """The flags of `laion score`."""

    input: str = flag(
        MISSING, "str",
        "webdataset tars, img2dataset's files or parquet, or a folder of images; local or fsspec",
        identity=False,
    )  # fmt: skip
    enable_image: bool | None = flag(
        None, "bool?", "embed images (default: if there are any)", identity=False
    )
    enable_text: bool | None = flag(
        None, "bool?", "embed captions (default: if there are any)", identity=False
    )
    min_similarity: float | None = flag(
        None, "float?", "keep only pairs with at least this cosine similarity (the paper: 0.3)"
    )
    preprocess: str = flag(
        "fast", "choice",
        "fast: decode JPEGs at a fraction of their size, resize on the device; open_clip: its "
        "own transform, image by image",
        *PREPROCESS,
    )  # fmt: skip
    devices: tuple[str, ...] = flag(
        (),
        "list",
        "cpu, cuda, or cuda:0,cuda:1 and so on, one process each (default: all CUDA)",
        identity=False,
    )
    decoders: int | None = flag(
        None, "int?",
        "shards decoded at once for each device (default: 1 on a CPU, else its share of the cores)",
        identity=False,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_model()
        if not self.input:
            raise UsageError("--input is required: a folder of webdataset shards or images")
        if self.enable_image is False and self.enable_text is False:
            raise UsageError("--enable_image and --enable_text are both false: leave one out")
        if self.head_specs and self.enable_image is False:
            raise UsageError("--heads score images: leave --enable_image out")
        at_least("decoders", self.decoders, 1)
        if self.min_similarity is not None and not -1 <= self.min_similarity <= 1:
            raise UsageError(
                f"--min_similarity must be a cosine from -1 to 1, got {self.min_similarity}"
            )

    @property
    def makes_pairs(self) -> bool:
        """Whether samples are embedded as pairs, so that they have a similarity."""
        return self.enable_image is not False and self.enable_text is not False

    def identity(self) -> dict[str, Any]:
        """Return the options that decide the result; model files by name, so that they can move.

        Pairs are the default: folders of earlier versions name neither images nor texts.
        """
        identity = super().identity()
        for name in ("enable_image", "enable_text"):
            if getattr(self, name) is False:
                identity[name] = False
        if self.pretrained_tag is not None:
            identity["pretrained_tag"] = self.pretrained_tag
        identity |= self.annotation_identity()
        return identity | {name: file_name(identity[name]) for name in ("model", "pretrained")}
