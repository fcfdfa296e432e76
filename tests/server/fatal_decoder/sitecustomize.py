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

_MODULE = "img2ds.image.transform"
WORDS = (b"fatal: abort", b"fatal: exhaust", b"fatal: spin")


def _spin() -> None:
    while True:
        pass


class _Loader:
    """Loads the module, and has its `Transformer.render` look for the words."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        whole: Any = module.Transformer._data

        def data(self: Any, image: Any) -> Any:
            ends: list[Any] = [os.abort, lambda: os.kill(os.getpid(), signal.SIGKILL), _spin]
            for word, end in zip(WORDS, ends, strict=True):
                if word in image.body:
                    end()
            return whole(self, image)

        module.Transformer._data = data


class _Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name != _MODULE:
            return None
        found = PathFinder.find_spec(name, path, target)
        assert found is not None
        loader: Any = _Loader(found.loader)
        return spec_from_loader(name, loader, origin=found.origin)


sys.meta_path.insert(0, _Finder)
