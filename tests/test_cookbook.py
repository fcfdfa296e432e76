"""The commands of docs/cookbook.md, on lists of two rows with the columns of the datasets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds import cli

COOKBOOK = Path(__file__).parents[1] / "docs" / "cookbook.md"
URLS = ["http://one.example/a.jpg", "http://two.example/b.jpg"]
TEXTS = ["a red circle", "a blue square, at night"]


def text(path: str, content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / path).write_text(content)

    return write


def parquet(path: str, columns: dict[str, list[Any]]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), folder / path)

    return write


def pair(url: str, caption: str, **more: list[Any]) -> dict[str, list[Any]]:
    return {url: URLS, caption: TEXTS, **more}


BOX = [[0.1, 0.1, 0.2, 0.2]]
#: From a list's name to what writes it as it is published, with the header that the page adds.
LISTS = {
    "sbu-captions-all.json": text(
        "sbu-captions-all.json",
        '{"captions": ["a", "b"], "image_urls": ["http://o.example/1", "http://o.example/2"],'
        ' "user_ids": ["1", "2"]}',
    ),
    "mscoco.parquet": parquet("mscoco.parquet", pair("URL", "TEXT")),
    "Train_GCC-training.tsv": text(
        "Train_GCC-training.tsv",
        "caption\turl\n" + "".join(f"{t}\t{u}\n" for t, u in zip(TEXTS, URLS, strict=True)),
    ),
    "cc12m.tsv": text(
        "cc12m.tsv",
        "url\tcaption\n" + "".join(f"{u}\t{t}\n" for t, u in zip(TEXTS, URLS, strict=True)),
    ),
    "laion400m-meta": parquet(
        "laion400m-meta/part-00000.parquet",
        {
            "SAMPLE_ID": [1, 2], **pair("URL", "TEXT"), "HEIGHT": [3, 4], "WIDTH": [3, 4],
            "LICENSE": ["?", "?"], "NSFW": ["UNLIKELY", None], "similarity": [0.31, 0.32],
        },
    ),
    "laion2B-en": parquet(
        "laion2B-en/part-00000.parquet",
        {
            **pair("URL", "TEXT"), "WIDTH": [3, 4], "HEIGHT": [3, 4], "similarity": [0.31, 0.32],
            "hash": [5, -6], "punsafe": [0.1, None], "pwatermark": [0.1, None],
        },
    ),
    "coyo-700m": parquet(
        "coyo-700m/part-00000.parquet",
        {
            "id": [1, 2], **pair("url", "text"), "clip_similarity_vitb32": [0.3, 0.3],
            "nsfw_score_opennsfw2": [0.1, 0.1], "watermark_score": [0.1, 0.1],
        },
    ),
    "datacomp_small/metadata": parquet(
        "datacomp_small/metadata/0.parquet",
        {
            "uid": ["0" * 32, "1" * 32], **pair("url", "text"), "face_bboxes": [BOX, None],
            "sha256": ["a" * 64, "b" * 64],
        },
    ),
}  # fmt: skip


def commands() -> list[list[str]]:
    """The words of each img2ds command of the page."""
    blocks = re.findall(r"^```sh\n(img2ds .*?)```", COOKBOOK.read_text(), re.MULTILINE | re.DOTALL)
    return [shlex.split(block.replace("\\\n", " "))[1:] for block in blocks]


def list_of(words: list[str]) -> str:
    return words[words.index("--url_list") + 1]


def test_every_list_has_a_command() -> None:
    assert sorted(map(list_of, commands())) == sorted(LISTS)


@pytest.mark.parametrize("words", commands(), ids=list_of)
def test_the_command_takes_the_list(
    tmp_path: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    LISTS[list_of(words)](tmp_path)
    monkeypatch.chdir(tmp_path)
    assert cli.run([*words, "--dry_run"]) == 0
    printed = capsys.readouterr().err
    assert "nothing was done" in printed
    if "parquet" in words:
        assert "2 rows, 1 shard" in printed
    column = words[words.index("--url_col") + 1]
    wrong = ["no_such_column" if word == column else word for word in words]
    assert cli.run([*wrong, "--dry_run"]) == 2, "the list is not read"
