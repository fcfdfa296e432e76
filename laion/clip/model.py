"""CLIP models of open_clip by name, hub name or local file: fetches and loads them.

A wrong name, a bad file or a missing network raises UsageError with one line before any work.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from laion.clip.geometry import PreprocessConfig
from laion.clip.network import reach_weights
from laion.clip.open_clip_library import (
    check_tokenizer,
    one_line_errors,
    quiet,
    require_open_clip,
)
from laion.clip.weights_file import WeightsFile, describe_weights

Tokens = npt.NDArray[np.int64]

HUB = "hf-hub:"
FOLDER = "local-dir:"

#: Required keys of a model's file.
_CONFIG_KEYS = ("embed_dim", "vision_cfg", "text_cfg")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as users name it.

    Attributes:
        model: a name of open_clip's registry, `hf-hub:ORG/NAME`, `local-dir:FOLDER` or a JSON
            file.
        pretrained: a tag of the registry or a checkpoint file; not needed for hub names and
            folders, which bring their weights.
        tag: the tag that a checkpoint file is like, if the user says so; see `weights_file`.
        prepared: what is known of a checkpoint file, `WeightsFile.text`; None: found when loaded.
    """

    model: str
    pretrained: str | None = None
    tag: str | None = None
    prepared: str | None = None

    @property
    def brings_weights(self) -> bool:
        return self.model.startswith((HUB, FOLDER))


@dataclass(slots=True)
class ClipModel:
    """A loaded model in evaluation mode, with frozen float32 weights."""

    module: Any
    tokenize: Callable[[list[str]], Any]
    config: PreprocessConfig

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Return int64 [n, context length]."""
        found: Tokens = self.tokenize(list(texts)).numpy()
        return found


def fetch(spec: ModelSpec) -> ModelSpec:
    """Check that the model exists, and download its weights if they are not on this machine.

    Returns:
        The spec with absolute local paths.

    Raises:
        UsageError: there is no such model, tag or file, or it cannot be downloaded.
    """
    library = require_open_clip()
    if spec.brings_weights:
        if spec.model.startswith(FOLDER):
            folder = spec.model.removeprefix(FOLDER)
            _check_folder(folder)
            return ModelSpec(FOLDER + os.path.abspath(folder))
        _fetch_hub(library, spec.model.removeprefix(HUB))
        return ModelSpec(spec.model)
    model = spec.model
    if os.path.isfile(model):
        model = os.path.abspath(model)
    elif model.endswith(".json"):
        raise UsageError(f"--model {model}: there is no such file")
    elif _registered(model) not in library.list_models():
        near = difflib.get_close_matches(model, library.list_models(), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(
            f"--model {model} is not a model of open_clip, a hf-hub: name or a file{hint}"
        )
    config = _read_config(model) if os.path.isfile(model) else None
    check_tokenizer(spec.model, config or library.get_model_config(_registered(model)) or {})
    pretrained = spec.pretrained
    if not pretrained:
        raise UsageError("--pretrained is required: a checkpoint file, or a tag such as openai")
    tags = library.list_pretrained_tags_by_model(_registered(model))
    prepared = None
    if library.pretrained.is_pretrained_cfg(_registered(model), pretrained):
        weights = library.get_pretrained_cfg(_registered(model), pretrained)
        with _download(f"--pretrained {pretrained}", weights):
            library.download_pretrained(weights)
    elif os.path.isfile(pretrained):
        pretrained = os.path.abspath(pretrained)
        prepared = _describe(library, replace(spec, model=model, pretrained=pretrained)).text
    else:
        known = f" or a tag of {model} (tags: {', '.join(tags)})" if tags else ""
        raise UsageError(f"--pretrained {pretrained} is not a file{known}")
    return ModelSpec(model, pretrained, prepared=prepared)


def check_files(spec: ModelSpec) -> None:
    """Load weights from the user's own files once, before workers do. Raises UsageError."""
    if spec.model.startswith(FOLDER) or os.path.isfile(spec.pretrained or ""):
        load(spec)


def load(spec: ModelSpec) -> ClipModel:
    """Load a model onto the CPU.

    Raises:
        UsageError: as `fetch`, or the weights belong to another model.
    """
    library = require_open_clip()
    name = _name(library, spec)
    tag = {} if spec.brings_weights else library.get_pretrained_cfg(name, spec.pretrained or "")
    weights = WeightsFile(quick_gelu=bool(tag.get("quick_gelu", False)))
    if os.path.isfile(spec.pretrained or "") and not tag:
        weights = _describe(library, spec)
    flags = f"--model {spec.model}"
    if spec.pretrained and not spec.brings_weights:
        flags += f" --pretrained {spec.pretrained}"
    with _download(flags, _source(spec, tag)):
        module = library.create_model(
            name,
            None if spec.brings_weights else spec.pretrained,
            # Weights trained with QuickGELU need it, whatever name the model is given by.
            force_quick_gelu=weights.quick_gelu,
            force_preprocess_cfg=weights.preprocess or None,
            pretrained_text=False,
        )
        return _frozen(module, library.get_tokenizer(name))


def _describe(library: Any, spec: ModelSpec) -> WeightsFile:
    """Return what is known of weights in a file. Raises UsageError, see `describe_weights`."""
    if spec.prepared is not None:
        return WeightsFile(**json.loads(spec.prepared))
    name = _own_name(spec.model)
    tags = {
        tag: library.get_pretrained_cfg(name, tag)
        for tag in library.list_pretrained_tags_by_model(name)
    }
    return describe_weights(name, str(spec.pretrained), spec.tag, tags)


def random_model(name: str) -> ClipModel:
    """Return a model of the registry with random weights, for measuring its speed."""
    library = require_open_clip()
    with quiet():
        module = library.create_model(_registered(name), None, pretrained_text=False)
        return _frozen(module, library.get_tokenizer(_registered(name)))


def _frozen(module: Any, tokenize: Callable[[list[str]], Any]) -> ClipModel:
    module.eval().requires_grad_(False)
    return ClipModel(module, tokenize, _preprocess_config(module.visual.preprocess_cfg))


def load_tokenizer(spec: ModelSpec) -> Callable[[list[str]], Any]:
    """Return the tokenizer alone, for processes that need no weights."""
    library = require_open_clip()
    with _download(f"--model {spec.model}", _source(spec, {})):
        tokenize: Callable[[list[str]], Any] = library.get_tokenizer(_name(library, spec))
    return tokenize


def image_tokens(module: Any) -> int | None:
    """Return the patches that a model cuts an image into; None where it has none."""
    visual = module.visual
    grid = getattr(visual, "grid_size", None)
    if grid is not None:
        return int(grid[0]) * int(grid[1])
    patches = getattr(getattr(visual, "trunk", None), "patch_embed", None)
    if patches is not None:  # of timm
        return int(patches.num_patches)
    pool = getattr(visual, "attnpool", None)  # of OpenAI's ResNets; one position is the mean's
    return None if pool is None else len(pool.positional_embedding) - 1


def embedding_width(spec: ModelSpec) -> int:
    """Return the length of a model's embeddings. Raises UsageError, as `load`."""
    library = require_open_clip()
    if not spec.brings_weights:
        return int(library.get_model_config(_name(library, spec))["embed_dim"])
    import torch

    model = load(spec)
    with torch.inference_mode():
        return int(model.module.encode_text(model.tokenize(["a"])).shape[1])


def _name(library: Any, spec: ModelSpec) -> str:
    """Return open_clip's name of the model; a file is registered under its own name."""
    if spec.brings_weights:
        return spec.model
    if os.path.isfile(spec.model):
        _read_config(spec.model)
        library.add_model_config(spec.model)
    return _own_name(spec.model)


def _own_name(model: str) -> str:
    """Return the name of a model of the registry, or of the one in a file."""
    if os.path.isfile(model):
        return os.path.basename(model).removesuffix(".json")
    return _registered(model)


def _registered(model: str) -> str:
    return model.replace("/", "-")  # OpenAI's own spelling is ViT-B/32


def _preprocess_config(config: dict[str, Any]) -> PreprocessConfig:
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return PreprocessConfig(
        (int(height), int(width)),
        tuple(map(float, config["mean"])),
        tuple(map(float, config["std"])),
        "bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        config["resize_mode"],
        int(config["fill_color"]),
    )


def _read_config(path: str) -> dict[str, Any]:
    """Return the content of a model's file. Raises UsageError unless it describes a model."""
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"--model {path} cannot be read as JSON: {error}") from None
    if not path.endswith(".json"):
        raise UsageError(f"--model {path}: the name of a model's file must end in .json")
    missing = [key for key in _CONFIG_KEYS if key not in config]
    if missing:
        raise UsageError(
            f"--model {path} does not describe a model of open_clip: it has no {', '.join(missing)}"
        )
    found: dict[str, Any] = config
    return found


def _check_folder(folder: str) -> None:
    if not os.path.isfile(os.path.join(folder, "open_clip_config.json")):
        raise UsageError(f"--model {FOLDER}{folder}: there is no open_clip_config.json in it")


def _fetch_hub(library: Any, name: str) -> None:
    from open_clip.pretrained import download_pretrained_from_hf

    with _download(f"--model {HUB}{name}", _source(ModelSpec(HUB + name), {})):
        download_pretrained_from_hf(name, filename="open_clip_config.json")
        download_pretrained_from_hf(name)


def _source(spec: ModelSpec, tag: dict[str, Any]) -> dict[str, Any]:
    """Return where weights come from, in the form of open_clip's entries; empty for files."""
    if spec.model.startswith(HUB):
        return {"hf_hub": spec.model.removeprefix(HUB) + "/"}
    return tag


@contextmanager
def _download(flags: str, config: dict[str, Any]) -> Iterator[None]:
    """Raise UsageError for a failing download, and before it starts where there is no network."""
    with quiet(), reach_weights(flags, config), one_line_errors(flags):
        yield
