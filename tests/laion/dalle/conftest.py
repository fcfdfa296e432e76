"""What tests of the text-to-image model share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Models of this size gain nothing from a second thread, which would wait for other tests."""
    pytest.importorskip("torch")
    from laion.dalle import trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "usable_cores", lambda: 1)
        yield
