"""Extensions that whole test modules need."""

from __future__ import annotations

from types import ModuleType

import pytest

from img2ds.image import native


def require(name: str) -> ModuleType:
    """Return the extension; skip the calling module where it is off or not built."""
    module = native.load(name)
    if module is None:
        pytest.skip(f"the extension {name} is off or not built", allow_module_level=True)
    return module
