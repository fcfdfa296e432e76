"""Makes decoders fatal: put this folder into PYTHONPATH of a run, and add a word to a JPEG.

`abort` ends the process by SIGABRT, `exhaust` by SIGKILL, as the kernel does where memory runs out,
and `spin` keeps the CPU busy for ever.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib.machinery import PathFinder
from importlib.util import spec_from_loader
from typing import Any

MARK = "IMG2DS_TEST_SPINNING"
WORDS = (b"fatal: abort", b"fatal: exhaust", b"fatal: spin")


def _spin() -> None:
    if MARK in os.environ:  # a FIFO that the test reads
        with open(os.environ[MARK], "w"):
            pass
    while True:
        pass


def _obey(body: Any) -> None:
    """Do what an image says."""
    ends: list[Any] = [os.abort, lambda: os.kill(os.getpid(), signal.SIGKILL), _spin]
    for word, end in zip(WORDS, ends, strict=True):
        if word in body:
            end()


def _change_transform(module: Any) -> None:
    whole: Any = module.Transformer._data

    def data(self: Any, image: Any) -> Any:
        _obey(image.body)
        return whole(self, image)

    module.Transformer._data = data


def _change_crop(module: Any) -> None:
    whole: Any = module.decode_crop

    def decode_crop(body: Any, *arguments: Any) -> Any:
        _obey(body)
        return whole(body, *arguments)

    module.decode_crop = decode_crop


_MODULES: dict[str, Any] = {
    "img2ds.image.transform": _change_transform,
    "laion.clip.crop": _change_crop,
}


class _Loader:
    """Loads a module, and has its decoding look for the words."""

    def __init__(self, loader: Any, change: Any) -> None:
        self._loader = loader
        self._change = change

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        self._change(module)


class _Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _MODULES:
            return None
        found = PathFinder.find_spec(name, path, target)
        assert found is not None
        loader: Any = _Loader(found.loader, _MODULES[name])
        return spec_from_loader(name, loader, origin=found.origin)


sys.meta_path.insert(0, _Finder)
