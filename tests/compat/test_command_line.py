"""Arguments mean what they mean to img2dataset, whose command line is python-fire."""

from __future__ import annotations

import inspect
import string
from typing import Any

import fire
import fire.core
import pytest

from img2ds import cli
from img2ds.config.options import COMMAND
from img2ds.core.failure import UsageError
from tests.compat.signature import recorded


def by_fire(arguments: list[str]) -> dict[str, Any]:
    """What img2dataset's `download` is called with. Raises FireExit."""
    called: dict[str, Any] = {}

    def download(**values: Any) -> None:
        called.update(values)

    def place(*values: Any, **named: Any) -> None:
        bound = signature.bind(*values, **named)
        bound.apply_defaults()
        download(**bound.arguments)

    _, parameters, _ = recorded()
    signature = inspect.Signature(
        [
            inspect.Parameter(
                p.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=inspect.Parameter.empty if p.required else p.default,
            )
            for p in parameters
        ]
    )
    place.__signature__ = signature  # type: ignore[attr-defined]
    fire.Fire(place, command=arguments)
    return called


#: A value of each parameter as it is typed, in order.
TYPED = [
    "u.txt", "64", "out", "2", "no", "True", "cubic", "linear", "90", "webp", "True", "webdataset",
    "csv", "URL", "TEXT", "faces", "32", "100", "False", "[a,b]", "5", "False", "mine", "6", "md5",
    '["m","md5"]', "ray", "10", "3", "False", "8", "1e6", "2.5", "extend", "4", "me", "[]",
]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["u.txt"],
        ["u.txt", "64", "out"],
        ["--image_size", "64", "u.txt", "out"],
        ["u.txt", "--image_size=64", "out"],
        ["--output_folder", "out", "u.txt", "64", "2"],
        ["-url_list=u.txt"],
        ["-url_list", "u.txt", "-resize-mode", "no"],
        ["u.txt", "-n", "10", "-p", "2"],
        ["u.txt", "-n=10", "--p=2"],
        ["u.txt", "-w", "project", "-v", '["a","md5"]', "-b", "boxes"],
        ["u.txt", "--skip_reencode", "-p", "3"],
        ["u.txt", "--noextract_exif", "-skip-reencode"],
        ["u.txt", "-noextract_exif"],
        ["'u.txt'", "--caption_col", '"TEXT"'],
        ["u.txt", "--url_col=it's"],
        ["--save_additional_columns", '["a","b"]', "u.txt", "64"],
        ["--save_additional_columns=[a,b]", "u.txt"],
        ["u.txt", "--compute_hash", "None"],
        ["u.txt", "--max_image_area", "1e6", "--timeout", "2"],
        TYPED,
        [f"--{name.name}={value}" for name, value in zip(recorded()[1], TYPED, strict=True)],
    ],
    ids=" ".join,
)
def test_arguments_mean_the_same(arguments: list[str]) -> None:
    ours = cli.read_flags(arguments)
    theirs = by_fire(arguments)
    for parameter in recorded()[1]:
        name = parameter.name
        if name in ours:
            read = COMMAND.read({"url_list": "", name: ours[name]})[name]
            assert read == COMMAND.read({"url_list": "", name: theirs[name]})[name], name
        else:
            assert theirs[name] == parameter.default, name


@pytest.mark.parametrize("letter", string.ascii_letters)
def test_one_letter_is_short_for_the_same_flag_or_for_none(letter: str) -> None:
    arguments = ["u.txt", f"-{letter}=1"]
    try:
        theirs: dict[str, Any] | None = by_fire(arguments)
    except fire.core.FireExit:
        theirs = None
    try:
        ours = cli.read_flags(arguments)
    except UsageError:
        assert theirs is None
        return
    assert theirs is not None
    (name,) = ours.keys() - {"url_list"}
    assert theirs[name] == 1
