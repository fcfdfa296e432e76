"""The flags of `laion score`, and those that every command with a CLIP model has."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import Any

from img2ds.config.flags import at_least, flag
from img2ds.core.failure import UsageError
from laion.provenance import file_name
from laion.stage import StageOptions

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
PREPROCESS = ("fast", "open_clip")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and where and how it runs. Only the first three decide what comes out."""

    model: str = flag(
        "ViT-B-32", "str",
        "a name of open_clip's registry, hf-hub:ORG/NAME, local-dir:FOLDER or a JSON file",
    )  # fmt: skip
    pretrained: str | None = flag(
        "laion400m_e32", "str?", "a tag of open_clip's registry, or a checkpoint file"
    )
    precision: str = flag(
        "auto", "choice", "of the model's arithmetic: auto is fp32 on a CPU, bf16 or fp16 on CUDA",
        *PRECISIONS,
    )  # fmt: skip
    batch_size: int | None = flag(
        None,
        "int?",
        "pairs that go through the model at once (default: 256 on CUDA, 32 on a CPU)",
        identity=False,
    )
    compile: bool = flag(
        False, "bool", "use torch.compile, whose first batches take a minute", identity=False
    )

    def check_model(self) -> None:
        if not self.model:
            raise UsageError("--model is required: a name such as ViT-B-32, or a JSON file")
        at_least("batch_size", self.batch_size, 1)


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(ModelOptions, StageOptions):
    """The flags of `laion score`."""

    input: str = flag(
        MISSING, "str", "webdataset shards: a folder, a glob, a tar, here or fsspec", identity=False
    )
    min_similarity: float | None = flag(
        None, "float?", "keep only the pairs whose cosine is at least this; the paper's is 0.3"
    )
    preprocess: str = flag(
        "fast", "choice",
        "fast: JPEGs decoded at a fraction of their size, resized on the device; open_clip: its "
        "own transform, picture by picture",
        *PREPROCESS,
    )  # fmt: skip
    devices: tuple[str, ...] = flag(
        (),
        "list",
        "cpu, cuda, or cuda:0,cuda:1 and so on, a process each (default: all CUDA)",
        identity=False,
    )
    decoders: int | None = flag(
        None, "int?",
        "shards decoded at once for each device (default: on CUDA its share of the cores, else 1)",
        identity=False,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_model()
        if not self.input:
            raise UsageError("--input is required: a folder of webdataset shards")
        at_least("decoders", self.decoders, 1)
        if self.min_similarity is not None and not -1 <= self.min_similarity <= 1:
            raise UsageError(
                f"--min_similarity is a cosine, from -1 to 1, got {self.min_similarity}"
            )

    def identity(self) -> dict[str, Any]:
        """Return its options; files of a model by their names, wherever they are."""
        identity = super().identity()
        return identity | {name: file_name(identity[name]) for name in ("model", "pretrained")}
