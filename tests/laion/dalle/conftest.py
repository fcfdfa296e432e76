"""Fixtures of the text-to-image tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Use one thread: small models gain nothing from a second one."""
    pytest.importorskip("torch")
    from laion.dalle import trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "usable_cores", lambda: 1)
        yield
