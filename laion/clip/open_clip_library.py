"""The open_clip library: imported on demand, quiet, and with its errors in one line."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from img2ds.core.failure import UsageError

NEEDS_TRANSFORMERS = "its texts need the package transformers: pip install 'img2ds[transformers]'"


def require_open_clip() -> Any:
    """Return the library. Raises UsageError where it is not installed."""
    try:
        import open_clip as library
    except ModuleNotFoundError as error:
        raise UsageError(
            f"CLIP models need the package {error.name}: pip install 'img2ds[clip]'"
        ) from None
    return library


def new_model(config: dict[str, Any]) -> Any:
    """Return an untrained model of open_clip's class for the content of a model's JSON file."""
    require_open_clip()
    from open_clip.model import CLIP

    return CLIP(**config)


def new_tokenizer(context_length: int) -> Callable[[list[str]], Any]:
    """Return open_clip's own tokenizer, whose vocabulary comes with the package."""
    tokenizer: Callable[[list[str]], Any] = require_open_clip().SimpleTokenizer(
        context_length=context_length
    )
    return tokenizer


def check_tokenizer(model: str, config: dict[str, Any]) -> None:
    """Raise UsageError for a model whose texts need a package that is not installed.

    Args:
        config: the content of a model's JSON file.
    """
    text = config.get("text_cfg") or {}
    needs = any(text.get(key) for key in ("hf_model_name", "hf_tokenizer_name"))
    if needs and find_spec("transformers") is None:
        raise UsageError(f"--model {model}: {NEEDS_TRANSFORMERS}")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence open_clip, which logs what it raises as well, and warns of nothing new to users."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextmanager
def one_line_errors(prefix: str) -> Iterator[None]:
    """Turn what open_clip and torch raise for bad files into UsageError, after `prefix`."""
    try:
        yield
    except UsageError:
        raise
    except (RuntimeError, OSError, ValueError, KeyError, EOFError, AssertionError,
            ImportError, pickle.UnpicklingError) as error:  # fmt: skip
        if "transformers" in str(error) and find_spec("transformers") is None:
            raise UsageError(f"{prefix}: {NEEDS_TRANSFORMERS}") from None
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        first = lines[0] if lines else type(error).__name__
        if "Error(s) in loading state_dict" in first and len(lines) > 1:
            first = f"the weights are another model's: {lines[1]}"
        elif isinstance(error, AssertionError):
            first = f"the weights are another model's: {first}"
        elif isinstance(error, (pickle.UnpicklingError, KeyError, EOFError)):
            first = "the file holds no weights"
        raise UsageError(f"{prefix}: {first[:300]}") from None
