"""`laion dedup` as people run it: against a set, across crawls, killed, on every distributor."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from img2ds.config.options import InputOptions
from img2ds.core.failure import UsageError
from img2ds.core.pair_digest import pair_digest
from img2ds.downloader.planner import open_input
from img2ds.storage import OutputFolder
from laion import cli
from laion.data.candidate import CANDIDATE_SCHEMA, Candidate
from laion.data.partition import PARTITION_COUNT, partition_of
from laion.dedup import inspection, stage
from laion.dedup.bloom import FilterSize
from laion.dedup.candidate_files import find_candidates
from laion.dedup.filter_files import fitting_size
from laion.dedup.stage import DedupOptions, run
from tests.laion.dedup.candidate_folders import read_rows, rows, write_folder
from tests.laion.killed_command import KILLS

ROOT = Path(__file__).parents[3]
WATS = [f"crawl-data/CC-MAIN-2024-10/segments/1/wat/{n:05d}.warc.wat.gz" for n in range(6)]
#: So small that no pair of these tests is dropped wrongly but by a chance of 1 in 10^5.
SURE = 1e-9


def crawl(first: int, count: int, pool: int = 3000) -> list[list[Candidate]]:
    return [rows(900, n, WATS[n], pool) for n in range(first, first + count)]


def options(folder: Path, *inputs: Path, **flags: object) -> DedupOptions:
    values = {"processes_count": 1, "false_positive_rate": SURE, **flags}
    return DedupOptions(
        output_folder=str(folder),
        input=tuple(map(str, inputs)),
        **values,  # type: ignore[arg-type]
    )


def oracle(parts: list[list[Candidate]]) -> set[Candidate]:
    """The first row of each pair, by a Python dict."""
    firsts: dict[tuple[str, str], Candidate] = {}
    for part in parts:
        for row in part:
            firsts.setdefault((row.url, row.text), row)
    return set(firsts.values())


def kept(folder: Path) -> set[Candidate]:
    found = [row for part in read_rows(folder) for row in part]
    assert len(found) == len(set(found))
    return set(found)


def content(folder: Path) -> dict[str, bytes]:
    paths = [*folder.glob("[0-9]*.parquet"), *folder.glob("filters/*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_the_first_of_each_pair_is_kept(tmp_path: Path) -> None:
    parts = crawl(0, 3)
    folder = write_folder(tmp_path / "in", parts)
    report = run(options(tmp_path / "out", folder))
    assert report.exit_code == 0
    assert kept(tmp_path / "out") == oracle(parts)
    total = report.stage.total
    assert total.count == sum(map(len, parts))
    assert total.successes == len(oracle(parts))
    assert total.reasons == {"duplicate": total.count - total.successes}
    for number, part in enumerate(read_rows(tmp_path / "out")):
        assert {partition_of(row.digest) for row in part} <= {number}
    assert "duplicate" in report.text
    assert f"{total.successes:,} pairs in" in report.text


def test_the_order_is_that_of_the_wats_not_of_folders(tmp_path: Path) -> None:
    parts = crawl(0, 4)
    first = write_folder(tmp_path / "z", parts[:2])
    second = write_folder(tmp_path / "a", parts[2:])
    run(options(tmp_path / "one", first, second))
    run(options(tmp_path / "two", second, first))
    assert kept(tmp_path / "one") == oracle(parts)
    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.fixture(scope="module")
def two_wats(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """The candidates of two WAT files, and what one worker makes of them."""
    place = tmp_path_factory.mktemp("two")
    folder = write_folder(place / "in", crawl(0, 2))
    run(options(place / "out", folder))
    return folder, content(place / "out")


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_gives_the_same_bytes(
    tmp_path: Path, two_wats: tuple[Path, dict[str, bytes]], workers: int
) -> None:
    folder, expected = two_wats
    run(options(tmp_path / "out", folder, processes_count=workers))
    assert content(tmp_path / "out") == expected
    assert len(expected) == 2 * PARTITION_COUNT


def test_any_distributor_gives_the_same_bytes(
    tmp_path: Path, two_wats: tuple[Path, dict[str, bytes]], distributor_name: str
) -> None:
    folder, expected = two_wats
    report = run(options(tmp_path / "out", folder, distributor=distributor_name, processes_count=2))
    assert report.exit_code == 0
    assert content(tmp_path / "out") == expected


def test_a_partition_with_most_rows_is_begun_first(tmp_path: Path) -> None:
    """A pair that is on every page of a host: its partition would hold up the end."""
    parts = crawl(0, 2)
    logo = parts[0][0]._replace(url="https://host.example/logo.png", text="the logo of a host")
    logo = logo._replace(digest=pair_digest(logo.url, logo.text))
    parts[1] += [logo] * 3000
    folder = write_folder(tmp_path / "in", parts)
    found = find_candidates([str(folder)], str(tmp_path / "out"))
    tasks = stage.largest_first([stage.Partition(n, n, ()) for n in range(PARTITION_COUNT)], found)
    assert tasks[0].number == partition_of(logo.digest)
    rows_there = [sum(file.rows[task.number] for file in found) for task in tasks]
    assert rows_there == sorted(rows_there, reverse=True)
    report = run(options(tmp_path / "out", folder, processes_count=2))
    assert report.stage.total.successes == len(oracle(parts))
    assert kept(tmp_path / "out") == oracle(parts)


def test_footers_of_many_files_are_read_by_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "in", crawl(0, 5))
    expected = find_candidates([str(folder)], str(tmp_path / "out"))
    monkeypatch.setattr(inspection, "MANY", 2)
    monkeypatch.setattr(inspection, "TASK_FILES", 2)
    monkeypatch.setattr(inspection, "usable_cores", lambda: 2)
    assert find_candidates([str(folder)], str(tmp_path / "out")) == expected
    (folder / "00003.parquet").write_bytes(b"no table")
    with pytest.raises(UsageError, match=r"cannot read .*00003\.parquet"):
        find_candidates([str(folder)], str(tmp_path / "out"))


def test_a_skewed_partition_does_not_enlarge_the_filters() -> None:
    even = [2000 + number for number in range(PARTITION_COUNT)]
    assert fitting_size(even, None, SURE).expected == even[-1]
    assert fitting_size([*even[1:], 10**6], None, SURE).expected < 2600, (
        "chance has put pairs there"
    )
    assert fitting_size([3] * 63 + [50], None, SURE).expected == 50, "too few to tell"


def test_a_run_that_was_begun_goes_on_with_the_size_of_its_filters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "in", crawl(0, 1))
    run(options(tmp_path / "out", folder))
    before = content(tmp_path / "out")
    (tmp_path / "out" / "00007_stats.json").unlink()
    larger = FilterSize.fit(5000, SURE)
    monkeypatch.setattr(stage, "fitting_size", lambda *_: larger)
    run(options(tmp_path / "out", folder))
    assert content(tmp_path / "out") == before


def test_exact_equals_a_set(tmp_path: Path) -> None:
    parts = crawl(0, 3)
    folder = write_folder(tmp_path / "in", parts)
    run(options(tmp_path / "bloom", folder, expected=10_000))
    exact = run(options(tmp_path / "exact", folder, expected=10_000, exact=True))
    assert kept(tmp_path / "exact") == oracle(parts)
    assert content(tmp_path / "exact") == content(tmp_path / "bloom"), "where the filter is right"
    assert "would have dropped 0 wrongly" in exact.text
    assert not list((tmp_path / "exact").rglob("*.digests"))


def test_across_crawls(tmp_path: Path) -> None:
    """One after the other with --bloom, by `extend` in one folder, and all at once: the same."""
    parts = crawl(0, 6)
    first = write_folder(tmp_path / "a", parts[:3])
    second = write_folder(tmp_path / "b", parts[3:])
    everything = oracle(parts)
    sized = {"expected": 20_000}
    run(options(tmp_path / "one", first, **sized))
    before = content(tmp_path / "one")
    run(options(tmp_path / "two", second, bloom=(str(tmp_path / "one"),)))
    assert kept(tmp_path / "one") == oracle(parts[:3])
    assert kept(tmp_path / "one") | kept(tmp_path / "two") == everything
    assert not kept(tmp_path / "one") & kept(tmp_path / "two")
    assert content(tmp_path / "one") == before, "an earlier run's filters are never written to"

    run(options(tmp_path / "extended", first, **sized))
    run(options(tmp_path / "extended", second, incremental_mode="extend", **sized))
    assert kept(tmp_path / "extended") == everything
    assert len(read_rows(tmp_path / "extended")) == 2 * PARTITION_COUNT

    run(options(tmp_path / "other", second, **sized))
    third = write_folder(tmp_path / "c", parts)
    both = (str(tmp_path / "one"), str(tmp_path / "other"))
    report = run(options(tmp_path / "three", third, bloom=both))
    assert report.stage.total.successes == 0, "the union of both filters has all pairs"


def test_filters_of_other_sizes_do_not_merge(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", crawl(0, 1))
    run(options(tmp_path / "one", folder, expected=10_000))
    run(options(tmp_path / "two", folder, expected=20_000))
    both = (str(tmp_path / "one"), str(tmp_path / "two"))
    with pytest.raises(UsageError, match="of several sizes"):
        run(options(tmp_path / "out", folder, bloom=both))


def test_pairs_that_a_filter_drops_wrongly_are_reported_if_there_are_any(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", crawl(0, 3))
    sure = run(options(tmp_path / "sure", folder, expected=10_000))
    assert "wrongly" not in sure.text
    sure.stage.total.metrics["expected_wrong_millionths"] = 12_000_000
    full = stage._about_filter(OutputFolder.open(str(tmp_path / "sure")), sure.stage)
    assert full[-1].startswith("the filter dropped about 12 new pairs wrongly (0.5")


def test_a_filter_that_is_too_full_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "in", crawl(0, 3))
    run(options(tmp_path / "out", folder, expected=300, false_positive_rate=1e-3))
    assert "a larger --expected" in capsys.readouterr().err


@pytest.fixture(scope="module")
def two_crawls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two crawls, `first` and `second`; `before` and `calm` are what dedup makes of them."""
    place = tmp_path_factory.mktemp("crawls")
    parts = crawl(0, 4)
    first = write_folder(place / "first", parts[:2])
    second = write_folder(place / "second", parts[2:])
    run(options(place / "before", first, expected=20_000))
    run(options(place / "calm", second, bloom=(str(place / "before"),)))
    return place


@pytest.mark.parametrize("name", ["00007.parquet", "filters/00007.bloom", "00007_stats.json"])
def test_killed_between_output_filter_and_marker(
    tmp_path: Path, two_crawls: Path, name: str
) -> None:
    """A shard without its marker is rebuilt from the previous filter, even if published in part."""
    before, second = two_crawls / "before", two_crawls / "second"
    out = tmp_path / "out"
    command = [
        sys.executable, "-c", KILLS, name, str(tmp_path / "killed"), "dedup",
        "--input", str(second), "--bloom", str(before), "--output_folder", str(out),
        "--false_positive_rate", str(SURE), "--processes_count", "1",
    ]  # fmt: skip
    killed = subprocess.run(command, cwd=ROOT, start_new_session=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    done = {path.name for path in out.glob("*_stats.json")}
    assert 0 < len(done) < PARTITION_COUNT
    assert "00007_stats.json" not in done
    assert (out / "00007.parquet").exists() == (name != "00007.parquet")
    assert (out / "filters" / "00007.bloom").exists() == (name == "00007_stats.json")
    report = run(options(out, second, bloom=(str(before),)))
    assert (report.exit_code, report.stage.shards_before) == (0, len(done))
    assert content(out) == content(two_crawls / "calm")
    assert kept(out) | kept(before) == oracle(crawl(0, 4))


def test_hosts_are_spread(tmp_path: Path) -> None:
    """Rows of one host, neighbours in the input, are apart; another seed, another order."""
    bursts = []
    for number in range(4000):
        url = f"http://host{number // 400}.example/{number}"
        bursts.append(
            Candidate(url, "text", "?", "en", "en", "", WATS[0], pair_digest(url, "text"))
        )
    folder = write_folder(tmp_path / "in", [bursts])
    run(options(tmp_path / "out", folder))
    run(options(tmp_path / "seeded", folder, seed=1))

    def neighbours(order: list[Candidate]) -> int:
        hosts = [row.url.split("/")[2] for row in order]
        return sum(map(str.__eq__, hosts, hosts[1:]))

    # Drawn by lot, one in ten would follow one of its own host.
    assert sum(map(neighbours, read_rows(tmp_path / "out"))) < len(bursts) / 50
    assert kept(tmp_path / "out") == kept(tmp_path / "seeded") == set(bursts)
    assert read_rows(tmp_path / "out") != read_rows(tmp_path / "seeded")


def test_img2ds_and_dedup_read_the_output(
    tmp_path: Path, two_wats: tuple[Path, dict[str, bytes]]
) -> None:
    parts = crawl(0, 2)
    run(options(tmp_path / "out", two_wats[0]))
    assert (
        pq.read_schema(tmp_path / "out" / "00000.parquet")
        .remove_metadata()
        .equals(CANDIDATE_SCHEMA)
    )
    source = open_input(
        InputOptions(
            url_list=str(tmp_path / "out"), url_col="url", caption_col="text",
            save_additional_columns=("license", "language"),
        )
    )  # fmt: skip
    assert source.row_count == len(oracle(parts))
    report = run(options(tmp_path / "again", tmp_path / "out"))
    assert report.stage.total.reasons == {}
    assert kept(tmp_path / "again") == oracle(parts)


def test_a_part_that_is_not_committed_does_not_count(tmp_path: Path) -> None:
    parts = crawl(0, 3)
    folder = write_folder(tmp_path / "in", parts)
    (folder / "00001_stats.json").unlink()
    run(options(tmp_path / "out", folder))
    assert kept(tmp_path / "out") == oracle([parts[0], parts[2]])


def refused(words: str, **flags: object) -> None:
    with pytest.raises(UsageError, match=words):
        run(DedupOptions(**flags))  # type: ignore[arg-type]


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", crawl(0, 1))
    here, out = (str(folder),), str(tmp_path / "out")
    refused("--input is required", output_folder=out)
    refused("--false_positive_rate must be", output_folder=out, input=here, false_positive_rate=2.0)
    refused("--expected must be", output_folder=out, input=here, expected=0)
    refused("give the folders", output_folder=out, input=here, exact=True, bloom=here)
    refused("is given twice", output_folder=out, input=here * 2)
    refused("there is no file or folder", output_folder=out, input=(str(tmp_path / "nowhere"),))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "00000.parquet").touch()
    refused("no committed shards", output_folder=out, input=(str(tmp_path / "empty"),))
    refused("not a finished output folder", output_folder=out, input=here, bloom=here)
    refused("is an input too", output_folder=here[0], input=here)
    table = pq.read_table(folder / "00000.parquet")
    pq.write_table(table.replace_schema_metadata(None), folder / "00000.parquet")
    refused("does not record the partitions", output_folder=out, input=here)
    pq.write_table(table.drop_columns(["digest"]), folder / "00000.parquet")
    refused("is not a candidate file", output_folder=out, input=here)
    assert not (tmp_path / "out").exists()


def test_several_folders_as_a_shell_gives_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = crawl(0, 2)
    for number, part in enumerate(parts):
        write_folder(tmp_path / f"in{number}", [part])
    code = cli.run(
        ["dedup", "--input", str(tmp_path / "in0"), str(tmp_path / "in1"),
         "--output_folder", str(tmp_path / "out"), "--processes_count", "1"]
    )  # fmt: skip
    assert code == 0
    assert "duplicate" in capsys.readouterr().out
    assert len(kept(tmp_path / "out")) == len(oracle(parts))
