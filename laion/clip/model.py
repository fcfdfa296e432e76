"""CLIP models by name, hub name or local file: found, fetched, loaded. The only user of open_clip.

What is wrong with a name, a file or the network is said in one line, before any work.
"""

from __future__ import annotations

import difflib
import io
import json
import logging
import os
import pickle
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from img2ds.core.failure import Failure, Reason, UsageError, failure
from laion.clip.network import reach_weights
from laion.clip.prepare import MAX_PIXELS, Axis, Cut, Pixels, Settings, plan_axes

Tokens = npt.NDArray[np.int64]

HUB = "hf-hub:"
FOLDER = "local-dir:"

#: A model's file has these parts.
_CONFIG_PARTS = ("embed_dim", "vision_cfg", "text_cfg")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as users name it.

    `model` is a name of open_clip's registry, `hf-hub:ORG/NAME`, `local-dir:FOLDER` or a JSON
    file; `pretrained` a tag of the registry or a checkpoint file. It is not needed for hub names
    and folders, which bring their weights; None otherwise means random weights.
    """

    model: str
    pretrained: str | None = None

    @property
    def brings_weights(self) -> bool:
        return self.model.startswith((HUB, FOLDER))


@dataclass(slots=True)
class ClipModel:
    """A loaded model, in evaluation mode, its weights in float32 and not to be trained."""

    module: Any
    tokenize: Callable[[list[str]], Any]
    settings: Settings

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """int64 [n, context length]."""
        found: Tokens = self.tokenize(list(texts)).numpy()
        return found


def exact_cutter(settings: Settings) -> Callable[..., Cut | Failure]:
    """A decoder that leaves decoding, resizing and cropping to open_clip's own transform.

    Its pictures come out as they are wanted; scaling and normalising them is all that is left.
    """
    require_open_clip()
    from open_clip.transform import image_transform

    whole = image_transform(
        settings.size,
        is_train=False,
        mean=settings.mean,
        std=settings.std,
        resize_mode=settings.resize,
        interpolation=settings.interpolation,
        fill_color=settings.fill,
    )
    kinds = [type(step).__name__ for step in whole.transforms]
    steps = whole.transforms[: kinds.index("MaybeToTensor")]
    rows, columns = (
        Axis(settings.size[0], settings.size[0], 0),
        Axis(settings.size[1], settings.size[1], 0),
    )

    def cut(body: bytes, buffer: Pixels | None = None) -> Cut | Failure:
        try:
            with Image.open(io.BytesIO(body)) as image:
                size = image.size
                planned = plan_axes(size[0], size[1], settings)
                # The transform makes a line one pixel high as high as the model wants it.
                if max(planned[0].resized * planned[1].resized, size[0] * size[1]) > MAX_PIXELS:
                    return failure(Reason.IMAGE_BOMB, f"more than {MAX_PIXELS} pixels")
                step_image: Any = image
                for step in steps:
                    step_image = step(step_image)
                return Cut(np.asarray(step_image), rows, columns, size)
        except UnidentifiedImageError:
            return failure(Reason.NOT_AN_IMAGE)
        except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
            words = str(error).lower()
            cut_short = "truncated" in words
            return failure(Reason.TRUNCATED_IMAGE if cut_short else Reason.DECODE_ERROR, words)

    return cut


def require_open_clip() -> Any:
    """The library. Raises UsageError where it is not installed."""
    try:
        import open_clip as library
    except ModuleNotFoundError as error:
        raise UsageError(
            f"CLIP models need {error.name}, which is not installed: pip install 'img2ds[clip]'"
        ) from None
    return library


def fetch(spec: ModelSpec) -> ModelSpec:
    """Check that the model can be had, and download its weights where they are not here yet.

    Returns:
        The same with local paths made absolute.

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
        _read_config(model)
    elif model.endswith(".json"):
        raise UsageError(f"--model {model}: there is no such file")
    elif _registered(model) not in library.list_models():
        near = difflib.get_close_matches(model, library.list_models(), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(
            f"--model {model} is no model of open_clip's, no hf-hub: name and no file{hint}"
        )
    pretrained = spec.pretrained
    if not pretrained:
        raise UsageError("--pretrained is required: a checkpoint file, or a tag such as openai")
    tags = library.list_pretrained_tags_by_model(_registered(model))
    if library.pretrained.is_pretrained_cfg(_registered(model), pretrained):
        config = library.get_pretrained_cfg(_registered(model), pretrained)
        with _download(f"--pretrained {pretrained}", config):
            library.download_pretrained(config)
    elif os.path.isfile(pretrained):
        pretrained = os.path.abspath(pretrained)
    else:
        known = f" and no tag of {model} (there are: {', '.join(tags)})" if tags else ""
        raise UsageError(f"--pretrained {pretrained} is no file{known}")
    return ModelSpec(model, pretrained)


def check_files(spec: ModelSpec) -> None:
    """Load weights that a user's own files hold, once, before workers do. Raises UsageError."""
    if spec.model.startswith(FOLDER) or os.path.isfile(spec.pretrained or ""):
        load(spec)


def load(spec: ModelSpec) -> ClipModel:
    """Load a model onto the CPU.

    Raises:
        UsageError: as `fetch`, or the weights are not this model's.
    """
    library = require_open_clip()
    name = _name(library, spec)
    tag = {} if spec.brings_weights else library.get_pretrained_cfg(name, spec.pretrained or "")
    words = f"--model {spec.model}"
    if spec.pretrained and not spec.brings_weights:
        words += f" --pretrained {spec.pretrained}"
    with _download(words, _source(spec, tag)):
        module = library.create_model(
            name,
            None if spec.brings_weights else spec.pretrained,
            # Weights of OpenAI's kind need their activation, whichever name they are asked by.
            force_quick_gelu=bool(tag.get("quick_gelu", False)),
            pretrained_text=False,
        )
        tokenize = library.get_tokenizer(name)
    module.eval().requires_grad_(False)
    return ClipModel(module, tokenize, _settings(module.visual.preprocess_cfg))


def random_model(name: str) -> ClipModel:
    """A model of the registry with random weights: good for measuring how fast it is."""
    library = require_open_clip()
    with _quiet():
        module = library.create_model(_registered(name), None, pretrained_text=False)
        tokenize = library.get_tokenizer(_registered(name))
    module.eval().requires_grad_(False)
    return ClipModel(module, tokenize, _settings(module.visual.preprocess_cfg))


def load_tokenizer(spec: ModelSpec) -> Callable[[list[str]], Any]:
    """The tokenizer alone, for processes that need no weights."""
    library = require_open_clip()
    with _download(f"--model {spec.model}", _source(spec, {})):
        tokenize: Callable[[list[str]], Any] = library.get_tokenizer(_name(library, spec))
    return tokenize


def new_model(config: dict[str, Any]) -> Any:
    """An untrained model of open_clip's class for a configuration as its JSON files have it."""
    require_open_clip()
    from open_clip.model import CLIP

    return CLIP(**config)


def new_tokenizer(context_length: int) -> Callable[[list[str]], Any]:
    """open_clip's own tokenizer, whose words come with the package."""
    tokenizer: Callable[[list[str]], Any] = require_open_clip().SimpleTokenizer(
        context_length=context_length
    )
    return tokenizer


def _name(library: Any, spec: ModelSpec) -> str:
    """What open_clip knows the model by; a file is made known to it."""
    if spec.brings_weights:
        return spec.model
    if os.path.isfile(spec.model):
        _read_config(spec.model)
        library.add_model_config(spec.model)
        return os.path.basename(spec.model).removesuffix(".json")
    return _registered(spec.model)


def _registered(model: str) -> str:
    return model.replace("/", "-")  # OpenAI's own spelling is ViT-B/32


def _settings(config: dict[str, Any]) -> Settings:
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return Settings(
        (int(height), int(width)),
        tuple(map(float, config["mean"])),
        tuple(map(float, config["std"])),
        "bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        config["resize_mode"],
        int(config["fill_color"]),
    )


def _read_config(path: str) -> None:
    """Raises UsageError unless the file describes a model."""
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"--model {path} cannot be read as JSON: {error}") from None
    if not path.endswith(".json"):
        raise UsageError(f"--model {path}: the file of a model ends in .json")
    missing = [part for part in _CONFIG_PARTS if part not in config]
    if missing:
        raise UsageError(
            f"--model {path} describes no model of open_clip's: it has no {', '.join(missing)}"
        )


def _check_folder(folder: str) -> None:
    if not os.path.isfile(os.path.join(folder, "open_clip_config.json")):
        raise UsageError(f"--model {FOLDER}{folder}: there is no open_clip_config.json in it")


def _fetch_hub(library: Any, name: str) -> None:
    from open_clip.pretrained import download_pretrained_from_hf

    with _download(f"--model {HUB}{name}", _source(ModelSpec(HUB + name), {})):
        download_pretrained_from_hf(name, filename="open_clip_config.json")
        download_pretrained_from_hf(name)


def _source(spec: ModelSpec, tag: dict[str, Any]) -> dict[str, Any]:
    """Where weights come from, as open_clip's entries of tags have it; empty for files."""
    if spec.model.startswith(HUB):
        return {"hf_hub": spec.model.removeprefix(HUB) + "/"}
    return tag


@contextmanager
def _download(words: str, config: dict[str, Any]) -> Iterator[None]:
    """What a download raises, in one line; where there is no network, before it is tried."""
    with _quiet(), reach_weights(words, config), _said_plainly(words):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip logs as errors and warnings what is raised as well, or is no news to users."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextmanager
def _said_plainly(words: str) -> Iterator[None]:
    """open_clip and torch raise these for files that are no weights, or another model's."""
    try:
        yield
    except UsageError:
        raise
    except (RuntimeError, OSError, ValueError, KeyError, EOFError, AssertionError,
            ImportError, pickle.UnpicklingError) as error:  # fmt: skip
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        first = lines[0] if lines else type(error).__name__
        if "Error(s) in loading state_dict" in first and len(lines) > 1:
            first = f"the weights are another model's: {lines[1]}"
        elif isinstance(error, AssertionError):
            first = f"the weights are another model's: {first}"
        elif isinstance(error, (pickle.UnpicklingError, KeyError, EOFError)):
            first = "the file holds no weights"
        raise UsageError(f"{words}: {first[:300]}") from None
