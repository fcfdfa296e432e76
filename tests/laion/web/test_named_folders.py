"""Folders under names."""

from __future__ import annotations

import pytest

from img2ds.core.failure import UsageError
from laion.web.named_folders import named_folders


def test_names_are_given_or_those_of_the_folders() -> None:
    given = ("/data/first/", "b=/data/second", "/data/x=y/third")
    assert named_folders("index", given) == {
        "first": "/data/first/", "b": "/data/second", "third": "/data/x=y/third",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "words"),
    [(("=x",), "give a folder, or NAME=FOLDER"), (("a=",), "give a folder"),
     (("a/i", "b/i"), "two folders are called 'i'")],
)  # fmt: skip
def test_wrong_names(given: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        named_folders("index", given)
