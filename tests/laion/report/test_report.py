"""`laion report`: the page of a release."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from laion import cli
from tests.laion.embedding_folders import row, unit_rows, write_tree

NSFW = [pa.field("nsfw", pa.string())]


def write_tar(path: Path, keys: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, key in enumerate(keys):
            image = io.BytesIO()
            Image.new("RGB", (40, 30), (number * 9 % 256, 80, 120)).save(image, "JPEG")
            members = {"jpg": image.getvalue(), "txt": f"image {int(key)}".encode()}
            for ending, data in {**members, "json": json.dumps({"key": key}).encode()}.items():
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """40 pairs: similarities from 0.2 on in steps of 0.01, every fifth tagged NSFW."""
    pairs = [
        row(
            n,
            similarity=0.2 + n / 100,
            nsfw="NSFW" if n % 5 == 0 else "UNLIKELY",
            url=f"http://{'a' if n % 2 else 'b'}.example/<{n}>.jpg",
        )
        for n in range(40)
    ]
    write_tree(tmp_path / "scored", {0: pairs[:20], 1: pairs[20:]}, columns=NSFW)
    write_tar(tmp_path / "tars" / "00000.tar", [pair["key"] for pair in pairs])
    arguments = ["--input", str(tmp_path / "scored"), "--threshold", "0.3"]
    assert cli.run(["release", *arguments, "--output_folder", str(tmp_path / "release")]) == 0
    return tmp_path / "release"


def page_of(release: Path, *arguments: str) -> str:
    page = release.parent / "page.html"
    assert cli.run(["report", str(release), "--html", str(page), *arguments]) == 0
    return page.read_text()


def rows_of(page: str, title: str) -> dict[str, list[str]]:
    """The cells of a table by the first one of each line."""
    found = re.search(rf"<h[23]>{re.escape(title)}</h[23]><table>(.*?)</table>", page, re.DOTALL)
    assert found, title
    lines = re.findall(r"<tr>(.*?)\n", found[1])
    cells = [[re.sub("<[^>]*>", "", cell) for cell in line.split("<td")[1:]] for line in lines]
    return {line[0].lstrip(">"): [cell.partition(">")[2] for cell in line[1:]] for line in cells}


def test_the_funnel_and_the_distributions(release: Path) -> None:
    page = page_of(release)
    assert "30 pairs in 1 parquet file" in page
    assert "never tagged" in page  # tags are there, but not by `laion tag`
    assert rows_of(page, "Dropped by release") == {"low_similarity": ["10", "25.0 %"]}
    assert rows_of(page, "Dropped by score") == {"decode_error": ["4", "9.1 %"]}
    hosts = rows_of(page, "Host")
    assert {name: cells[0] for name, cells in hosts.items()} == {
        "a.example": "15",
        "b.example": "15",
    }
    assert rows_of(page, "Shorter side")["512 to 1023 px"][:2] == ["30", "100.0 %"]
    assert "similarity, mean <b>0.445</b>" in page
    assert "<script" not in page


def test_images_by_decile_and_of_what_was_dropped(release: Path) -> None:
    page = page_of(release, "--images", str(release.parent / "tars"), "--examples", "4")
    groups = re.findall(r"<h3>((?:Similarity|Dropped by release:).*?)</h3>(.*?)</div>", page, re.S)
    titles = [title for title, _ in groups]
    assert len(titles) == 11
    assert titles[-1] == "Dropped by release: low_similarity"
    shown = [int(n) for _, group in groups for n in re.findall(r'alt="image (\d+)"', group)]
    assert len(shown) == len(set(shown)) == page.count("data:image/jpeg;base64,")
    assert not [n for n in shown if n % 5 == 0]  # tagged NSFW
    assert Counter(n < 10 for n in shown) == {False: 24, True: 4}


def test_another_release_beside_it(release: Path, tmp_path: Path) -> None:
    other = pa.table(
        {
            "URL": ["http://a.example/1.jpg", "http://c.example/2.jpg"],
            "TEXT": ["one", None],
            "WIDTH": pa.array([10, 20], pa.int32()),
            "HEIGHT": pa.array([10, 20], pa.int32()),
            "similarity": [0.31, np.nan],
        }
    )
    pq.write_table(other, tmp_path / "other.parquet")
    page = page_of(release, "--compare", str(tmp_path / "other.parquet"))
    assert "2 pairs" in page
    assert rows_of(page, "Host")["a.example"][:3] == ["15", "50.0 %", "50.0 %"]
    assert rows_of(page, "Host")["b.example"][:3] == ["15", "50.0 %", "0.0 %"]
    alone = page_of(tmp_path / "other.parquet")
    assert "From the input" not in alone
    assert "1 missing" in alone


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "nowhere"], "nowhere"),
        (["--html", "no/such/folder/x.html"], "there is no folder"),
        (["--examples", "-1"], "--examples -1: use 0 or more"),
        (["--compare", "table.parquet"], "has no column URL; it has: a"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    release: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(release.parent)
    pq.write_table(pa.table({"a": [1]}), "table.parquet")
    given = {"--input": str(release), **dict([arguments])}
    assert cli.run(["report", *(word for pair in given.items() for word in pair)]) == 2
    assert message in capsys.readouterr().err


def test_near_duplicates_beside_what_was_kept(tmp_path: Path) -> None:
    pairs = [row(n, similarity=0.4 + n / 100) for n in range(12)]
    images = unit_rows(12, 8, 1)
    images[3] = images[7]
    write_tree(tmp_path / "scored", {0: pairs}, images={0: images}, texts={0: unit_rows(12, 8, 2)})
    write_tar(tmp_path / "tars" / "00000.tar", [pair["key"] for pair in pairs])
    for command, source, *flags in (
        ("dedup_images", "scored", "--threshold", "0.99"),
        ("release", "dedup_images", "--threshold", "0.3"),
    ):
        places = ["--input", str(tmp_path / source), "--output_folder", str(tmp_path / command)]
        assert cli.run([command, *places, *flags]) == 0
    page = page_of(tmp_path / "release", "--images", str(tmp_path / "tars"))
    (group,) = re.findall(r"<h3>Near-duplicates.*?</h3>(.*?)</div>", page, re.S)
    assert re.findall(r'alt="image (\d+)"', group) == ["7", "3"]
    (dropped,) = re.findall(r"<h3>Dropped by dedup_images:.*?</h3>(.*?)</div>", page, re.S)
    assert re.findall(r'alt="image (\d+)"', dropped) == ["3"]
