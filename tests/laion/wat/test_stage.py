"""`laion extract` from WAT files to candidate files, by its parts and by its command."""

from __future__ import annotations

import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from xxhash import xxh3_128

from img2ds.core.pair_digest import pair_digest
from img2ds.report.counters import Counts
from img2ds.storage import retrying_file
from laion import cli
from laion.data.candidate import CANDIDATE_SCHEMA, Candidate
from laion.data.partition import PARTITION_COUNT, PARTITIONS_KEY, partition_of
from laion.wat.archive import read_records
from laion.wat.candidate_file import CandidateWriter
from laion.wat.options import ExtractOptions
from laion.wat.rules import Rules
from laion.wat.stage import Extractor
from tests.laion.wat.wat_records import image, member, metadata, response, wat
from tests.storage.busy_server import BusyServer

DATA = Path(__file__).parents[4] / "shared" / "data"
ENGLISH = "A red bicycle leaning against the old garden wall"
GERMAN = "Ein rotes Fahrrad lehnt an der alten Gartenmauer"
BY = "https://creativecommons.org/licenses/by/4.0/"
PAGE = "https://www.example.org/shop/page.html"


def extract(
    data: bytes, rules: Rules | None = None, attributes: tuple[str, ...] = ("src",)
) -> tuple[list[Candidate], Counts]:
    counts = Counts()
    extractor = Extractor("made.wat.gz", rules or Rules(), attributes, counts)
    pages = extractor.pages(read_records(io.BytesIO(data)))
    return [row for page in pages for row in page], counts


def test_every_image_has_one_outcome() -> None:
    links = [
        image("/kept.jpg", ENGLISH), image("/none.jpg"), image("/short.jpg", " ab\u200bcd "),
        image("http://[bad", ENGLISH), image(" ", ENGLISH), image("data:image/png,A", ENGLISH),
        image("/x.svg", ENGLISH), image("/" + 2100 * "x", ENGLISH), image("/de.jpg", GERMAN),
        # The first rule that is broken is the one that counts.
        image("/x.svg", "abc"), image("/x.gif", GERMAN), image("ftp://x/y.gif", GERMAN),
    ]  # fmt: skip
    rows, counts = extract(wat([response(links)]))
    assert [row.url for row in rows] == ["https://www.example.org/kept.jpg"]
    assert counts.reasons == {
        "no_alt": 1, "text_too_short": 2, "bad_url": 2, "not_http": 2, "file_type": 2,
        "url_too_long": 1, "language": 1,
    }  # fmt: skip
    assert counts.count == counts.metrics["images"] == len(links)
    assert counts.metrics["language_de"] == 1


def test_a_row() -> None:
    links = [image("a.jpg", f"  {ENGLISH} &amp;\n more"), {"path": "A@/href", "url": BY}]
    (row,), counts = extract(wat([response(links), metadata("cy")]))
    text = f"{ENGLISH} & more"
    url = "https://www.example.org/shop/a.jpg"
    digest = xxh3_128(f"{url}\n{text}".encode()).intdigest().to_bytes(16, "big")
    assert row == (url, text, BY, "en", "cy", PAGE, "made.wat.gz", digest)
    assert pair_digest(url, text) == digest
    assert partition_of(digest) == digest[0] >> 2
    assert counts.metrics["license_by"] == 1
    assert counts.metrics["records"] == 3


def test_a_page_waits_for_its_own_language_only() -> None:
    def page(number: int) -> dict[str, Any]:
        return response([image(f"{number}.jpg", ENGLISH)], f"https://a.org/{number}")

    rows, counts = extract(
        wat([page(1), page(2), metadata("fr", "https://a.org/2"), metadata("de", "https://a.org/2"),
             page(3), metadata("it", "https://a.org/1"), page(4)])
    )  # fmt: skip
    assert [(row.url[-5:], row.page_language) for row in rows] == [
        ("1.jpg", ""), ("2.jpg", "fr"), ("3.jpg", ""), ("4.jpg", ""),
    ]  # fmt: skip
    assert counts.metrics["pages"] == 4


def test_languages_and_length_can_be_set() -> None:
    data = wat([response([image("a.jpg", ENGLISH), image("b.jpg", GERMAN), image("c.jpg", "123")])])
    everything, _ = extract(data, Rules(0, None))
    assert [row.language for row in everything] == ["en", "de", "un"]
    german, counts = extract(data, Rules(5, frozenset({"de"})))
    assert [row.text for row in german] == [GERMAN]
    assert counts.reasons == {"language": 1, "text_too_short": 1}


def test_other_attributes_are_taken_when_asked_for() -> None:
    links = [
        image("big.jpg", None, "data-uri"), image("small.jpg", ENGLISH),
        image("s.jpg 300w, l.jpg 900w", ENGLISH, "srcset"), image("lone.jpg", None, "data-uri"),
    ]  # fmt: skip
    assert len(extract(wat([response(links)]))[0]) == 1
    rows, counts = extract(wat([response(links)]), attributes=("src", "data-uri", "srcset"))
    assert [row.url.rpartition("/")[2] for row in rows] == ["big.jpg", "small.jpg", "l.jpg"]
    assert counts.reasons == {"no_alt": 1}


#: Two links of each kind of documents, one of them without a text.
LINKED: dict[str, list[str]] = {
    "audio": ["/a.mp3", "/b.FLAC?dl=1"], "video": ["/a.mp4", "/b.webm"],
    "text": ["/a.pdf", "/b.md"],
}  # fmt: skip


@pytest.mark.parametrize("kind", LINKED)
def test_documents_of_other_kinds(kind: str) -> None:
    """The text is that of the link, in any language, or none."""
    links = [image("/a.jpg", ENGLISH), {"path": "A@/href", "url": "/page", "text": ENGLISH}]
    for urls in LINKED.values():
        links += [{"path": "A@/href", "url": urls[0], "text": f" {GERMAN} &amp; x"}]
        links += [{"path": "SOURCE@/src", "url": urls[1]}]
    links += [{"path": "A@/href", "url": "mailto:me@example.pdf"}]
    rows, counts = extract(wat([response(links)]), rules_of(kind))
    assert [(row.url, row.text, row.language) for row in rows] == [
        (f"https://www.example.org{LINKED[kind][0]}", f"{GERMAN} & x", "de"),
        (f"https://www.example.org{LINKED[kind][1]}", "", "un"),
    ]
    assert counts.reasons == ({"not_http": 1} if kind == "text" else {})
    assert counts.metrics["documents"] == counts.count
    assert "images" not in counts.metrics


def rules_of(kind: str) -> Rules:
    return ExtractOptions(wat=("a",), output_folder="b", document_type=kind).rules


def test_every_image_can_be_kept() -> None:
    links = [image("/a.jpg"), image("/b.jpg", ""), image("/c.jpg", "x"), image("/d.svg", ENGLISH)]
    rows, counts = extract(wat([response(links)]), rules_of("image_only"))
    assert [(row.url[-6:], row.text) for row in rows] == [
        ("/a.jpg", ""), ("/b.jpg", ""), ("/c.jpg", "x"),
    ]  # fmt: skip
    assert counts.reasons == {"file_type": 1}


def test_defaults_are_those_of_the_kind_unless_given() -> None:
    assert (rules_of("image").min_text_length, rules_of("image").languages) == (
        5,
        frozenset(["en"]),
    )
    assert (rules_of("audio").min_text_length, rules_of("audio").languages) == (0, None)
    given = ExtractOptions(
        wat=("a",), output_folder="b", document_type="audio", languages=("de",), min_text_length=3
    ).rules
    assert (given.min_text_length, given.languages) == (3, frozenset(["de"]))
    plain = ExtractOptions(wat=("a",), output_folder="b").identity()
    assert plain == {
        "attributes": ["src"], "languages": ["en"], "language_rule": "captions",
        "min_text_length": 5,
    }  # fmt: skip
    papers = ExtractOptions(wat=("a",), output_folder="b", language_rule="cld2").identity()
    assert papers == {"attributes": ["src"], "languages": ["en"], "min_text_length": 5}  # as before


def test_damage_is_counted() -> None:
    good = response([image("a.jpg", ENGLISH)])
    data = wat([good]) + member(good)[:-20] + member("x")[:-9] + b"12345678X" + member(good)
    rows, counts = extract(data + member(metadata("en")).replace(b"\x1f\x8b", b"\0\0", 1))
    assert len(rows) == 2
    assert counts.metrics["damaged_members"] == 3


def rows_of(count: int) -> list[Candidate]:
    dice = random.Random(2)
    found = []
    for number in range(count):
        url = f"https://a{dice.randrange(50)}.org/{number}.jpg"
        digest = pair_digest(url, "text")
        found.append(Candidate(url, "text", "?", "en", "en", "https://a.org", "w", digest))
    return found


@pytest.mark.parametrize("held", [10**6, 300, 1])
def test_a_file_has_a_row_group_a_partition(tmp_path: Path, held: int) -> None:
    rows = rows_of(1500)
    path = str(tmp_path / "a.parquet")
    with CandidateWriter(path, f"{path}.rows", held) as writer:
        for at in range(0, len(rows), 100):
            writer.add(rows[at : at + 100])
        writer.finish()
    file = pq.ParquetFile(path)
    assert file.schema_arrow.remove_metadata() == CANDIDATE_SCHEMA
    partitions = json.loads(file.schema_arrow.metadata[PARTITIONS_KEY])
    assert partitions == sorted(partitions)
    assert file.num_row_groups == len(partitions) == PARTITION_COUNT
    by_partition: dict[int, list[str]] = {}
    for row in rows:
        by_partition.setdefault(partition_of(row.digest), []).append(row.url)
    for group, partition in enumerate(partitions):
        table = file.read_row_group(group)
        # In the order in which they came.
        assert table["url"].to_pylist() == by_partition[partition]
        assert {partition_of(d) for d in table["digest"].to_pylist()} == {partition}
        column = file.metadata.row_group(group).column(7)
        assert partition_of(column.statistics.min) == partition_of(column.statistics.max)
    assert not Path(f"{path}.rows").exists()


def test_a_file_without_rows(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    with CandidateWriter(path, f"{path}.rows") as writer:
        writer.finish()
    table = pq.read_table(path)
    assert (table.num_rows, table.schema.names) == (0, CANDIDATE_SCHEMA.names)
    assert table.schema.metadata[PARTITIONS_KEY] == b"[]"


@pytest.fixture
def wats(tmp_path: Path) -> Path:
    folder = tmp_path / "wats"
    folder.mkdir()
    for number in range(3):
        links = [image(f"{number}-{n}.jpg", f"{ENGLISH} {n}") for n in range(20)]
        page = response([*links, image("x.jpg")])
        (folder / f"{number}.warc.wat.gz").write_bytes(wat([page, metadata("en")]))
    return folder


def table(folder: Path) -> pa.Table:
    return pq.read_table(sorted(folder.glob("*.parquet")))


def command(source: object, output: Path, *more: str) -> int:
    return cli.run(["extract", "--wat", str(source), "--output_folder", str(output), *more])


def test_the_command_and_going_on(wats: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(wats, out, "--processes_count", "2") == 0
    assert table(out).num_rows == 60
    assert set(table(out)["wat"].to_pylist()) == {f"{n}.warc.wat.gz" for n in range(3)}
    marker = json.loads((out / "00001_stats.json").read_text())
    metrics = ("count", "successes", "dropped", "records", "pages", "images", "damaged_members")
    assert [marker[name] for name in metrics] == [21, 20, 1, 3, 1, 21, 0]
    assert (marker["language_en"], marker["license_?"], marker["reasons"]) == (
        20,
        20,
        {"no_alt": 1},
    )
    before = {path.name: path.read_bytes() for path in out.glob("*.parquet")}
    (out / "00001_stats.json").unlink()
    (out / "00001.parquet").write_bytes(b"half a file")
    assert command(wats, out, "--processes_count", "1") == 0
    assert {path.name: path.read_bytes() for path in out.glob("*.parquet")} == before
    assert command(wats, out, "--languages", "all") == 2  # another dataset
    assert command(wats, out, "--first", "2") == 2


def test_texts_of_unknown_languages_can_be_kept(wats: Path, tmp_path: Path) -> None:
    more = ["--processes_count", "1", "--languages"]
    short = wat([response([image("a.jpg", "IMG 2019"), image("b.jpg", ENGLISH)])])
    (wats / "0.warc.wat.gz").write_bytes(short)
    for codes, kept in (("en", 1), ("en,un", 2), ("un", 1)):
        assert command(wats / "0.warc.wat.gz", tmp_path / codes, *more, codes) == 0
        assert table(tmp_path / codes).num_rows == kept


def test_short_texts_are_kept_unless_cld2_decides(wats: Path, tmp_path: Path) -> None:
    texts = ["Red car", "das rote Auto", "une chaise en bois", ENGLISH]
    links = [image(f"{n}.jpg", text) for n, text in enumerate(texts)]
    (wats / "0.warc.wat.gz").write_bytes(wat([response(links)]))
    for rule, kept in (("captions", ["Red car", ENGLISH]), ("cld2", [ENGLISH])):
        more = ["--processes_count", "1", "--language_rule", rule]
        assert command(wats / "0.warc.wat.gz", tmp_path / rule, *more) == 0
        assert sorted(table(tmp_path / rule)["text"].to_pylist()) == sorted(kept)
    # A folder keeps the rule that it was begun with.
    more = ["--processes_count", "1"]
    for rule, other in (("captions", "cld2"), ("cld2", "captions")):
        (tmp_path / rule / "00000_stats.json").unlink()
        before = (tmp_path / rule / "00000.parquet").read_bytes()
        assert command(wats / "0.warc.wat.gz", tmp_path / rule, *more) == 0
        assert (tmp_path / rule / "00000.parquet").read_bytes() == before
        another = [*more, "--language_rule", other]
        assert command(wats / "0.warc.wat.gz", tmp_path / rule, *another) == 2


@pytest.mark.parametrize(
    ("data", "words", "kept"),
    [
        ("cut", "its end is missing", 20),
        (b"<html>not found</html>", "is not a WAT file", None),
        (gzip.compress(b"<html>not found</html>"), "it has no WAT record", 0),
        (gzip.compress(b"WARC/1.0\r\nContent-Length: 2\r\n\r\n{}"), "it has no WAT record", 0),
    ],
    ids=["cut", "page", "packed page", "other record"],
)  # fmt: skip
def test_a_file_that_is_not_whole(
    wats: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], data: Any, words: str, kept: Any
) -> None:
    """Its shard is not committed, and the others are; a whole file mends it."""
    out, one = tmp_path / "out", ["--processes_count", "1"]
    whole = (wats / "1.warc.wat.gz").read_bytes()
    bad = whole + whole[: len(whole) // 2] if data == "cut" else data
    (wats / "1.warc.wat.gz").write_bytes(bad)
    assert command(wats, out, *one) == 1
    assert words in capfd.readouterr().err
    assert sorted(path.name[:5] for path in out.glob("*_stats.json")) == ["00000", "00002"]
    if kept is not None:
        assert command(wats, out, *one, "--allow_damaged") == 0
        marker = json.loads((out / "00001_stats.json").read_text())
        metric = "truncated_files" if data == "cut" else "files_without_records"
        assert (marker["successes"], marker[metric]) == (kept, 1)


def test_a_choice_of_files(wats: Path, tmp_path: Path) -> None:
    assert command(wats, tmp_path / "a", "--first", "2", "--processes_count", "1") == 0
    assert table(tmp_path / "a").num_rows == 40
    some = ["--sample", "2", "--seed", "5", "--processes_count", "1"]
    assert command(wats, tmp_path / "b", *some) == 0
    assert table(tmp_path / "b").num_rows == 40


def test_several_sources_in_their_order(wats: Path, tmp_path: Path) -> None:
    files = [str(wats / f"{n}.warc.wat.gz") for n in (2, 0)]
    assert command(",".join(files), tmp_path / "a", "--processes_count", "1") == 0
    first = pq.read_table(tmp_path / "a" / "00000.parquet")
    assert set(first["wat"].to_pylist()) == {"2.warc.wat.gz"}
    assert table(tmp_path / "a").num_rows == 40
    assert command(files[0], tmp_path / "b", "--processes_count", "1", "--wat=x") == 2
    out = ["--output_folder", str(tmp_path / "b"), "--processes_count", "1"]
    assert cli.run(["extract", "--wat", *files, *out]) == 0
    assert table(tmp_path / "b").equals(table(tmp_path / "a"))
    assert command(files[0], tmp_path / "a", "--processes_count", "1") == 2  # another input


def test_documents_by_the_command(
    wats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links = [{"path": "A@/href", "url": "/a.mp3", "text": "Song"}, image("x.jpg", ENGLISH)]
    (wats / "3.warc.wat.gz").write_bytes(wat([response(links)]))
    out = tmp_path / "out"
    more = ["--document_type", "audio", "--processes_count", "1"]
    assert command(wats, out, *more) == 0
    (row,) = table(out).to_pylist()
    assert (row["url"], row["text"]) == ("https://www.example.org/a.mp3", "Song")
    capsys.readouterr()
    assert command(wats, out, "--processes_count", "1") == 2
    assert "--document_type" in capsys.readouterr().err
    assert cli.run(["dedup", "--input", str(out), "--output_folder", str(tmp_path / "u")]) == 0
    for folder in (out, tmp_path / "u"):
        capsys.readouterr()
        words = ["--input", str(folder), "--output_folder", str(tmp_path / "images")]
        assert cli.run(["download", *words]) == 2
        error = capsys.readouterr().err
        assert "holds links to audio: img2ds downloads images" in error
        assert error.count("\n") == 1


def test_a_crawl_from_a_busy_bucket(
    wats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The workers are processes of their own: they wait a second in truth if they are refused.
    monkeypatch.setattr(retrying_file, "sleep", lambda seconds: None)
    files = {f"/crawl-data/w/{path.name}": path.read_bytes() for path in wats.iterdir()}
    names = "\n".join(sorted(files)).replace("/crawl", "crawl")
    files["/crawl-data/CC-MAIN-2024-10/wat.paths.gz"] = gzip.compress(names.encode())
    with BusyServer(files) as server:
        server.refuse(503, 403)
        flags = ["--bucket", server.url, "--processes_count", "1"]
        assert command("CC-MAIN-2024-10", tmp_path / "out", *flags) == 0
    assert table(tmp_path / "out").num_rows == 60


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--languages", "english"], "knows no language 'english'"),
        (["--first", "9"], "--first 9 is too large: there are 3 WAT files"),
        (["--first", "1", "--sample", "1"], "exclude each other"),
        (["--attributes", "IMG@/src"], "is not an attribute of img"),
        (["--min_text_length", "-1"], "--min_text_length must be at least 0"),
        (["--langauges", "en"], "--languages"),
        (["--document_type", "vidoe"], "did you mean video"),
        (["--document_type", "audio", "--attributes", "src,srcset"], "they do not go with"),
    ],
)
def test_wrong_use(
    wats: Path, tmp_path: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(wats, tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_invalid_wat_file_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.wat.gz").write_bytes(b"<html>not found</html>")
    flags = ["--processes_count", "1", "--max_shard_retry", "0"]
    assert command(tmp_path / "a.wat.gz", tmp_path / "out", *flags) == 1
    captured = capsys.readouterr()
    assert "is not a WAT file" in captured.out + captured.err


@pytest.mark.skipif(not DATA.exists(), reason="there is no shared/data next to the repository")
@pytest.mark.parametrize(
    ("rule", "texts", "reasons"),
    [
        # "496" and "Next" are too short; CLD2 cannot tell a single word such as "Previous".
        ("cld2", ["Creative Commons License"], {"text_too_short": 2, "language": 1}),
        ("captions", ["Creative Commons License", "Previous"], {"text_too_short": 2}),
    ],
)
def test_the_real_file(
    tmp_path: Path, rule: str, texts: list[str], reasons: dict[str, int]
) -> None:
    source = DATA / "CC-MAIN-20140820021334-00006.warc.wat"
    assert command(source, tmp_path, "--processes_count", "1", "--language_rule", rule) == 0
    rows = table(tmp_path).to_pylist()
    assert [row["text"] for row in rows] == texts
    assert rows[0]["license"] == "http://creativecommons.org/licenses/by-sa/3.0/"
    assert rows[0]["url"] == "http://creativecommons.org/images/public/somerights20.png"
    marker = json.loads((tmp_path / "00000_stats.json").read_text())
    assert marker["images"] == 4
    assert marker["reasons"] == reasons
