"""`laion tag --purge` on a finished release: blocked pairs are gone from all of its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import UsageError
from img2ds.storage import OutputFolder
from laion import cli
from laion.data.embedding_folder import open_embedding_folder
from laion.release.purge import ReleasePurgeReport
from laion.release.purges import JOURNAL, ROWS
from laion.release.stage import ReleaseOptions, run
from laion.tag.options import TagOptions
from laion.tag.stage import run as tag
from tests.laion.embedding_folders import row, write_tree
from tests.laion.inline_distributor import Inline, Killed

SHARDS, ROWS_OF_SHARD = 3, 20
HASHES = [pa.field("sha256", pa.string())]
#: Numbers of the pairs to remove, by the list that names them; shard 1 has none.
BLOCKED = {"urls": [3, 41], "hosts": [5, 6], "hashes": [7, 41, 59]}
GONE = {3, 5, 6, 7, 41, 59}
REASONS = {"blocklisted_url": 2, "blocklisted_host": 2, "blocklisted_hash": 2}


def sha256(number: int) -> str:
    return hashlib.sha256(b"image %d" % number).hexdigest()


def pair(number: int) -> dict[str, Any]:
    host = "img.bad.example" if number in BLOCKED["hosts"] else "photos.example"
    return row(number, url=f"http://{host}/{number}.jpg", sha256=sha256(number))


def write_source(folder: Path) -> None:
    shards = {
        shard: [pair(shard * ROWS_OF_SHARD + n) for n in range(ROWS_OF_SHARD)]
        for shard in range(SHARDS)
    }
    count = SHARDS * ROWS_OF_SHARD
    values = np.arange(count * 4, dtype=np.float16).reshape(count, 4)
    arrays = {n: values[n * ROWS_OF_SHARD : (n + 1) * ROWS_OF_SHARD] for n in range(SHARDS)}
    write_tree(folder, shards, columns=HASHES, stage="tag", images=arrays, texts=arrays)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A finished release of 60 pairs in three parts."""
    write_source(tmp_path / "tagged")
    options = ReleaseOptions(
        input=str(tmp_path / "tagged"), output_folder=str(tmp_path / "release"),
        processes_count=1, rows_per_part=ROWS_OF_SHARD, figures=False,
    )  # fmt: skip
    assert run(options).exit_code == 0
    for name, numbers in BLOCKED.items():
        lines = {
            "urls": [f"https://photos.example/{n}.jpg" for n in numbers],
            "hosts": ["bad.example"],
            "hashes": [sha256(n) for n in numbers],
        }[name]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    return tmp_path / "release"


def purge(release: Path, *names: str, **more: Any) -> ReleasePurgeReport:
    lists = {f"block_{name}": (str(release.parent / f"{name}.txt"),) for name in names}
    values = {"processes_count": 1, **lists, **more}
    report = tag(TagOptions(input=str(release), purge=True, **values))
    assert isinstance(report, ReleasePurgeReport)
    return report


def numbers(release: Path) -> list[int]:
    """The pairs of a release, whose files must all be aligned."""
    found: list[int] = []
    for place, part in enumerate(sorted(release.glob("part-*.parquet"))):
        table = pq.read_table(part)
        metadata = pq.read_table(release / f"metadata/metadata_{place:05d}.parquet")
        own = [int(text.split()[1]) for text in table["TEXT"].to_pylist()]
        assert metadata["url"].to_pylist() == table["URL"].to_pylist()
        for kind in ("img_emb", "text_emb"):
            array = np.load(release / kind / f"{kind}_{place:05d}.npy")
            assert array[:, 0].tolist() == [4.0 * n for n in own]
        found += own
    return found


def markers(release: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(release.glob("*_stats.json"))]


def check_purged(release: Path) -> None:
    assert numbers(release) == [n for n in range(60) if n not in GONE]
    for name in (JOURNAL, ROWS, ".img2ds"):
        assert not (release / name).exists()
    reasons: dict[str, int] = {}
    for marker in markers(release):
        assert marker["count"] == marker["successes"] + sum(marker["reasons"].values())
        assert marker["dropped"] == sum(marker["reasons"].values())
        for reason, pairs in marker["reasons"].items():
            reasons[reason] = reasons.get(reason, 0) + pairs
        for record in marker["files"]:
            content = (release / record["name"]).read_bytes()
            assert record["size"] == len(content)
            assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert reasons == REASONS
    card = (release / "README.md").read_text()
    assert "54 pairs of image URL and alt text" in card
    assert "| 2 URLs, 1 host, 3 hashes | blocklisted_hash | 2 |" in card
    assert "| release | blocklisted_url | 2 |" in card
    assert json.loads((release / "table1.json").read_text())["rows"] == 54


ALL = ("urls", "hosts", "hashes")


def test_blocked_pairs_are_gone_from_every_file(release: Path) -> None:
    clean = {path: path.stat().st_mtime_ns for path in release.rglob("*00001*")}
    assert len(clean) == 5
    report = purge(release, *ALL)
    assert report.exit_code == 0
    assert "removed 6 pairs from 2 shards" in report.text
    check_purged(release)
    assert {path: path.stat().st_mtime_ns for path in clean} == clean, "it had nothing to remove"
    before = {path: path.read_bytes() for path in release.rglob("part-*")}
    assert "removed 0 pairs" in purge(release, *ALL).text
    assert {path: path.read_bytes() for path in release.rglob("part-*")} == before


def test_the_card_lists_each_removal_and_keeps_the_rest(release: Path) -> None:
    before = (release / "README.md").read_text()
    purge(release, "hosts")
    (release.parent / "tagged").rename(release.parent / "moved")
    purge(release, "urls")
    card = (release / "README.md").read_text()
    assert card.count("| blocklisted_host | 2 |") == 2  # in the removals, and of the stage
    assert "| 1 host | blocklisted_host | 2 |" in card
    assert "| 2 URLs | blocklisted_url | 2 |" in card
    tagged = next(line for line in before.splitlines() if line.startswith("| tag |"))
    assert tagged in card, "what is known of stages does not need their folders"


def test_all_pairs_of_a_shard(release: Path) -> None:
    urls = "\n".join(f"photos.example/{n}.jpg" for n in range(20, 40))
    (release.parent / "urls.txt").write_text(urls)
    assert purge(release, "urls").exit_code == 0
    assert numbers(release) == [*range(20), *range(40, 60)]
    assert purge(release, "hosts").exit_code == 0


#: Published: rows of two shards, the journal; two arrays, two tables and a marker for each of two
#: shards; the removals, Table 1, the card. The journal's end is no publication.
STEPS = 2 + 1 + 2 * 5 + 3


def dying(monkeypatch: pytest.MonkeyPatch, step: int) -> list[int]:
    monkeypatch.setattr("img2ds.engine.build.open_distributor", lambda *_, gpus: Inline())
    left = [step]
    publish = OutputFolder.publish

    def maybe(self: OutputFolder, name: str) -> int:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return publish(self, name)

    monkeypatch.setattr(OutputFolder, "publish", maybe)
    return left


@pytest.mark.parametrize("step", range(STEPS))
def test_a_killed_removal_is_completed_by_the_next(
    release: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies before its n-th publication, for every n; the lists may be others then."""
    with monkeypatch.context() as patch:
        left = dying(patch, step)
        with pytest.raises(Killed):
            purge(release, *ALL)
    assert left == [0]
    if step < 3:  # before the journal nothing is touched
        assert numbers(release) == [*range(60)]
        assert open_embedding_folder(str(release)).shards
        purge(release, *ALL)
    else:
        with pytest.raises(UsageError, match="was cut off: complete it with"):
            open_embedding_folder(str(release))
        assert purge(release).exit_code == 0  # without lists
    check_purged(release)


def test_a_removal_that_is_not_killed_takes_so_many_steps(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = dying(monkeypatch, STEPS)
    purge(release, *ALL)
    assert left == [0]


def test_other_lists_come_after_what_was_cut_off(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        dying(patch, 6)
        with pytest.raises(Killed):
            purge(release, "hosts", "hashes")
    report = purge(release, "urls")
    assert [purged.pairs for purged in report.purges] == [5, 1]
    assert numbers(release) == [n for n in range(60) if n not in GONE]


def test_a_file_that_is_not_as_it_was(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        dying(patch, 3)
        with pytest.raises(Killed):
            purge(release, *ALL)
    path = release / "img_emb/img_emb_00002.npy"
    content = path.read_bytes()
    np.save(path, np.load(path)[:11])
    report = purge(release)
    assert report.exit_code == 1
    assert "has 11 rows, and had 20" in report.text
    path.write_bytes(content)
    assert purge(release).exit_code == 0
    check_purged(release)


def test_on_clusters(release: Path, distributor_name: str) -> None:
    assert purge(release, *ALL, distributor=distributor_name, processes_count=2).exit_code == 0
    check_purged(release)


@pytest.mark.parametrize(
    ("names", "more", "words"),
    [
        ((), {}, "give --block_urls, --block_hosts or --block_hashes"),
        (("hosts",), {"output_folder": "x"}, "is purged in its place: leave --output_folder out"),
        (("missing",), {}, "unexpected keyword"),
    ],
)
def test_wrong_use(release: Path, names: tuple[str, ...], more: Any, words: str) -> None:
    with pytest.raises((UsageError, TypeError), match=words):
        purge(release, *names, **more)
    assert numbers(release) == [*range(60)]


def test_hashes_that_the_release_does_not_have(release: Path) -> None:
    (release.parent / "hashes.txt").write_text(hashlib.md5(b"x").hexdigest())
    with pytest.raises(UsageError, match=r"has md5 hashes, and .*release has no column md5"):
        purge(release, "hashes")


def test_a_folder_that_is_no_release_needs_an_output_folder(release: Path) -> None:
    with pytest.raises(UsageError, match="--output_folder is required"):
        tag(TagOptions(input=str(release.parent / "tagged"), purge=True))
    with pytest.raises(UsageError, match="--output_folder is required"):
        TagOptions(input=str(release))


def test_a_release_of_an_earlier_version(release: Path) -> None:
    (release / ".img2ds-release").unlink()
    assert purge(release, *ALL).exit_code == 0
    check_purged(release)
    assert "| tag |" in (release / "README.md").read_text(), "traced by its manifest"


def test_command(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = str(release.parent / "hosts.txt")
    command = ["tag", "--purge", "--input", str(release), "--block_hosts", hosts]
    assert cli.run([*command, "--processes_count", "1"]) == 0
    assert "removed 2 pairs from 1 shard" in capsys.readouterr().out
    assert cli.run([*command[:-1], "nowhere.txt"]) == 2
    assert "there is no file or folder" in capsys.readouterr().err
