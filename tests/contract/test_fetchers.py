"""Every fetcher against every behaviour of the server: the declared reason, or the image."""

from __future__ import annotations

import pytest

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Status, status_of
from img2ds.core.sample import Body, Fetched
from img2ds.image.transform import InspectedImage, Transformer
from tests.contract.fetcher_setups import FETCHERS, HOST, world
from tests.run_on_virtual_clock import run
from tests.server import greetings
from tests.server.good_image import good_image
from tests.server.registry import BEHAVIOURS

pytestmark = pytest.mark.parametrize("kind", FETCHERS)


def test_the_registry_is_full(kind: str) -> None:
    assert len(BEHAVIOURS) > 60


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("path", sorted(BEHAVIOURS))
def test_behaviour(kind: str, scheme: str, path: str) -> None:
    async def main() -> Fetched | Failure:
        async with world(kind) as there:
            fetched = await there.get(f"{scheme}://{HOST}{path}")
            assert there.budget.held == 0
            return fetched

    fetched = run(main)
    declared = BEHAVIOURS[path].reason
    if declared is None:
        assert isinstance(fetched, Fetched), fetched
        assert bytes(fetched.body) == good_image()
    elif _is_the_images_fault(declared):
        assert isinstance(fetched, Fetched), fetched
        assert _transform(fetched.body) == declared
    else:
        assert isinstance(fetched, Failure), "it was fetched"
        assert fetched.reason == declared
        assert fetched.message


def _is_the_images_fault(reason: str) -> bool:
    """Return whether a reason is found by the transformer, not by the fetcher."""
    return status_of(reason) is Status.FAILED_TO_RESIZE


def _transform(body: Body) -> str | None:
    transformer = Transformer(ImageOptions())
    outcome = transformer.inspect(body)
    if isinstance(outcome, InspectedImage):
        rendered = transformer.render(outcome)
        return rendered.reason if isinstance(rendered, Failure) else None
    return outcome.reason


@pytest.mark.parametrize(
    "case", greetings.CASES, ids=lambda case: f"{case.scheme}-{case.greeting.__name__}"
)
def test_greeting(kind: str, case: greetings.Case) -> None:
    async def main() -> str | None:
        async with world(kind, greeting=case.greeting) as there:
            return await there.reason(f"{case.scheme}://{HOST}/good.jpg")

    assert run(main) == case.reason
