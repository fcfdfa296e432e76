"""Reads the tensors of a head: safetensors, or a state dict of torch. Nothing in it is run."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError

Array = npt.NDArray[np.float32]

#: Bytes of the length that a safetensors file begins with; its header, JSON, follows.
_LENGTH = 8
#: Keys under which training programs keep the state dict of a model.
_NESTED = ("state_dict", "model_state_dict", "model")


class HeadFile(NamedTuple):
    """The float32 tensors of a file by name, and the SHA-256 of the file in hex."""

    tensors: dict[str, Array]
    digest: str


def read_head_file(path: str, name: str) -> HeadFile:
    """Read a file of weights.

    Args:
        name: what messages call it.

    Raises:
        UsageError: it cannot be read, or holds anything but tensors.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(
            f"{name} cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None
    state = _state(data, name)
    for key in _NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not all(hasattr(t, "numpy") for t in state.values()):
        raise UsageError(f"{name} holds no state dict: save the model's state_dict()")
    tensors = {str(key): _array(tensor) for key, tensor in state.items()}
    return HeadFile(tensors, hashlib.sha256(data).hexdigest())


def _state(data: bytes, name: str) -> Any:
    try:
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--heads needs the package {error.name}: pip install 'img2ds[clip]'"
        ) from None
    try:
        if data[_LENGTH : _LENGTH + 1] == b"{":
            return load(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that are refused anyway
            # Without weights_only a pickle may call any function of this machine.
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UsageError(
            f"{name} holds more than tensors, and may run code when it is read: save the model's "
            "state_dict(), or safetensors"
        ) from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, TypeError):
        raise UsageError(f"{name} is neither safetensors nor a state dict of torch") from None


def _array(tensor: Any) -> Array:
    found: Array = tensor.detach().float().numpy()
    return found
