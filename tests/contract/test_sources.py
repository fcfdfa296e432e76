"""One suite over every input format: what was written is read, whole, in order, cut anyhow."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from img2ds.config.options import InputOptions
from img2ds.core.failure import UsageError
from img2ds.core.sample import RowRange, ShardTask
from img2ds.net.error import FetchError
from img2ds.net.url import parse_url
from img2ds.source.ranges import RangeReader, read_rows
from img2ds.source.source import Source
from img2ds.source.table import file_extensions, guess_format, open_source

Rows = list[tuple[str, str]]
Write = Callable[[Path, Rows], None]


def write_txt(path: Path, rows: Rows) -> None:
    path.write_text("".join(f"{url}\n" for url, _ in rows))


def write_csv(path: Path, rows: Rows, delimiter: str = ",") -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(("other", "url", "caption"))
        writer.writerows(("x", url, caption) for url, caption in rows)


def write_tsv(path: Path, rows: Rows) -> None:
    write_csv(path, rows, "\t")


def write_parquet(path: Path, rows: Rows) -> None:
    table = pa.table(
        {
            "caption": pa.array([caption for _, caption in rows], pa.string()),
            "url": pa.array([url for url, _ in rows], pa.string()),
        }
    )
    pq.write_table(table, path, row_group_size=7)


def objects(rows: Rows) -> list[dict[str, object]]:
    return [{"other": [1], "url": url, "caption": caption} for url, caption in rows]


def write_jsonl(path: Path, rows: Rows) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in objects(rows)))


def write_json(path: Path, rows: Rows) -> None:
    path.write_text(json.dumps(objects(rows), ensure_ascii=False, indent=1))


def write_columns(path: Path, rows: Rows) -> None:
    """As pandas' to_json writes them."""
    columns = {
        name: {str(number): row[name] for number, row in enumerate(objects(rows))}
        for name in ("caption", "other", "url")
    }
    path.write_text(json.dumps(columns))


def zstd(data: bytes) -> bytes:
    stream = pa.BufferOutputStream()
    with pa.CompressedOutputStream(stream, "zstd") as packed:
        packed.write(data)
    return bytes(stream.getvalue())


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstd,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def packed(write: Write, compression: str) -> Write:
    """In two pieces, as programs write that append to a file."""

    def write_packed(path: Path, rows: Rows) -> None:
        plain = path.with_suffix(".plain")
        write(plain, rows)
        data, pack = plain.read_bytes(), COMPRESSIONS[compression]
        path.write_bytes(pack(data[:100]) + pack(data[100:]))

    return write_packed


FORMATS: dict[str, Write] = {
    "txt": write_txt,
    "csv": write_csv,
    "tsv": write_tsv,
    "json": write_json,
    "columns.json": write_columns,
    "jsonl": write_jsonl,
    "ndjson": write_jsonl,
    "parquet": write_parquet,
}
for _name, _write in tuple(FORMATS.items())[:-1]:
    FORMATS[f"{_name}.gz"] = packed(_write, "gz")
for _name, _compression in (("txt", "xz"), ("csv", "zst"), ("json", "bz2"), ("ndjson", "zst")):
    FORMATS[f"{_name}.{_compression}"] = packed(FORMATS[_name], _compression)

every_format = pytest.mark.parametrize("ending", FORMATS)


def opened(path: Path, ending: str, **flags: object) -> tuple[Source, list[str]]:
    if not ending.startswith("txt"):
        flags = {"caption_col": "caption", **flags}
    options = InputOptions(url_list=str(path), **flags)  # type: ignore[arg-type]
    return open_source(str(path), guess_format([f"list.{ending}"]), options), options.columns


def read(source: Source, columns: list[str], rows: int) -> list[pa.Table]:
    reader = RangeReader()
    tables = []
    for number, (count, piece) in enumerate(source.shards(rows)):
        task = pickle.loads(pickle.dumps(ShardTask(number, count, piece)))
        table = read_rows(task, columns, reader)
        assert table.num_rows == count
        assert table.column_names == columns
        tables.append(table)
    return tables


def example(count: int) -> Rows:
    return [(f"http://h{n % 7}.example/{n}.jpg", f"image {n}, of ü") for n in range(count)]


@every_format
@pytest.mark.parametrize("rows", [1, 10, 23, 1000])
def test_rows_come_back_in_order(tmp_path: Path, ending: str, rows: int) -> None:
    path = tmp_path / f"list.{ending}"
    wanted = example(46)
    FORMATS[ending](path, wanted)
    source, columns = opened(path, ending)
    tables = read(source, columns, rows)
    assert [table.num_rows for table in tables] == [rows] * (46 // rows) + [46 % rows] * (
        46 % rows > 0
    )
    table = pa.concat_tables(tables)
    assert table["url"].to_pylist() == [url for url, _ in wanted]
    if not ending.startswith("txt"):
        assert table["caption"].to_pylist() == [caption for _, caption in wanted]
    assert source.row_count in (None, 46)


@every_format
def test_it_can_be_read_twice(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"list.{ending}"
    FORMATS[ending](path, example(30))
    source, columns = opened(path, ending)
    first = pa.concat_tables(read(source, columns, 8))
    assert pa.concat_tables(read(source, columns, 8)).equals(first)


@every_format
def test_an_empty_list_has_no_shards(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"list.{ending}"
    FORMATS[ending](path, [])
    source, columns = opened(path, ending)
    assert read(source, columns, 10) == []


@pytest.mark.parametrize("ending", [e for e in FORMATS if not e.startswith("txt")])
def test_a_missing_column_is_named_with_the_nearest(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"list.{ending}"
    FORMATS[ending](path, example(3))
    with pytest.raises(UsageError, match=r"no column 'URL': did you mean 'url'\?"):
        opened(path, ending, url_col="URL")


@every_format
def test_another_kind_of_file_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(UsageError, match=r"parquet|not a text file"):
        opened(path, ending)


@pytest.mark.parametrize("ending", [e for e in FORMATS if e.endswith(tuple(COMPRESSIONS))])
def test_a_cut_file_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"list.{ending}"
    FORMATS[ending](path, example(20_000))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UsageError, match=r"is a truncated (gzip|zstd|bzip2|xz) file"):
        read(*opened(path, ending), 1000)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_file_shows_its_compression(tmp_path: Path, compression: str) -> None:
    """Whatever it is called, and what only its name promises is refused."""
    path = tmp_path / "list.txt"
    packed(write_txt, compression)(path, example(30))
    (table,) = read(*opened(path, "txt"), 30)
    assert table["url"].to_pylist() == [url for url, _ in example(30)]
    with path.open("ab") as file:
        file.write(b"no further stream")
    with pytest.raises(UsageError, match="cannot be decompressed as"):
        read(*opened(path, "txt"), 30)
    path = tmp_path / f"list.txt.{compression}"
    write_txt(path, example(3))
    with pytest.raises(UsageError, match="cannot be decompressed: it is no"):
        opened(path, "txt")


@every_format
def test_names_tell_the_format(ending: str) -> None:
    kind = guess_format([f"list.{ending}"])
    assert kind == ending.removeprefix("columns.").split(".")[0].replace("ndjson", "jsonl")
    assert f"x.{ending}".endswith(tuple(file_extensions(kind)))
    if ending.endswith(".gz"):  # as img2dataset has them
        written = ending.removeprefix("columns.").replace("ndjson", "jsonl")
        options = InputOptions(url_list="x", input_format=written)
        assert options.plain_format == kind
        assert f".{written}" in file_extensions(written)
        assert not any(end.endswith("n") for end in file_extensions(written))


def test_txt_with_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    write_txt(path, example(3))
    with pytest.raises(UsageError, match=r"columns \(a\) need csv, tsv, json, jsonl or parquet"):
        open_source(
            str(path),
            "txt",
            InputOptions(url_list="x", caption_col="caption", save_additional_columns=("a",)),
        )


def test_captions_of_txt_are_null(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    write_txt(path, example(3))
    options = InputOptions(url_list="x", caption_col="caption")
    (rows,) = (rows for _, rows in open_source(str(path), "txt", options).shards(10))
    assert isinstance(rows, pa.Table)
    assert rows.column("caption").to_pylist() == [None] * 3
    assert rows.column("url").null_count == 0


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"PAR1", "--input_format parquet"),
        ("http://a".encode("utf-16"), "UTF-8"),
        ("http://a".encode("utf-16-le"), "not a text file"),
    ],
)
def test_invalid_text_is_reported(tmp_path: Path, start: bytes, words: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(start)
    with pytest.raises(UsageError, match=words):
        opened(path, "txt")


def test_txt_lines(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfhttp://a/1\r\n\n  http://a/2 \n\xff\nhttp://a/3")
    source, columns = opened(path, "txt")
    assert read(source, columns, 10)[0]["url"].to_pylist() == [
        "http://a/1", "http://a/2", "�", "http://a/3",
    ]  # fmt: skip


def test_txt_lines_that_are_quoted_cells(tmp_path: Path) -> None:
    """As pandas' Series.to_csv writes URLs with commas."""
    path = tmp_path / "list.txt"
    path.write_bytes(
        b'"http://a/1,2"\r\n"http://a/?q=""b"","\nhttp://a/"3"\n"http://a/4\n"http://"a"\n"\n""\n'
    )
    source, columns = opened(path, "txt")
    assert read(source, columns, 10)[0]["url"].to_pylist() == [
        "http://a/1,2", 'http://a/?q="b",', 'http://a/"3"', '"http://a/4', '"http://"a"', '"', "",
    ]  # fmt: skip


def test_txt_lines_longer_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"a" * 3_000_000 + b"\nhttp://a/2\n")
    source, columns = opened(path, "txt")
    urls = read(source, columns, 10)[0]["url"].to_pylist()
    assert len(urls) == 2
    assert urls[1] == "http://a/2"


def csv_table(path: Path, text: str, **flags: object) -> pa.Table:
    path.write_text(text)
    source, columns = opened(path, "csv", **flags)
    return pa.concat_tables(read(source, columns, 2), promote_options="default")


def test_csv_broken_rows_stay_rows(tmp_path: Path) -> None:
    table = csv_table(
        tmp_path / "a.csv", "caption,url\na,http://1\nb\nc,http://3,x,y\n\nd,http://4\n"
    )
    assert table["caption"].to_pylist() == ["a", "b", "c", "d"]
    assert table["url"].to_pylist() == ["http://1", None, "http://3", "http://4"]


def test_csv_quotes_hold_commas_and_line_ends(tmp_path: Path) -> None:
    table = csv_table(tmp_path / "a.csv", 'caption,url\n"a, ""b""\nc",http://1\n')
    assert table.to_pylist() == [{"url": "http://1", "caption": 'a, "b"\nc'}]


def test_csv_types_of_additional_columns(tmp_path: Path) -> None:
    table = csv_table(
        tmp_path / "a.csv",
        "caption,url,whole,real,name,code,gone\n"
        "a,http://1,1,0.5,x,007,\n"
        "12,http://2,,1,NA,012,NA\n"
        "13,http://3,3,nan,z,100,\n",
        save_additional_columns=("whole", "real", "name", "code", "gone"),
    )
    assert table["caption"].to_pylist() == ["a", "12", "13"]
    assert table["whole"].to_pylist() == [1, None, 3]
    assert table["real"].to_pylist() == [0.5, 1.0, None]
    assert table["name"].to_pylist() == ["x", "NA", "z"]
    assert table["code"].to_pylist() == ["007", "012", "100"]
    assert table["gone"].to_pylist() == ["", "NA", ""]


def test_csv_numbers_that_turn_to_text_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("img2ds.source.delimited.INFERENCE_ROWS", 2)
    path = tmp_path / "a.csv"
    path.write_text("caption,url,n\na,http://1,1\nb,http://2,2\nc,http://3,three\n")
    source, columns = opened(path, "csv", save_additional_columns=("n",))
    first, second = read(source, columns, 2)
    assert first["n"].to_pylist() == [1, 2]
    assert second["n"].to_pylist() == ["three"]


def test_csv_integers_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As text where no type holds all of them, as in json; floats are floats all the same."""
    monkeypatch.setattr("img2ds.source.delimited.INFERENCE_ROWS", 2)
    ids = ["9007199254740993", "18446744073709551615", "9007199254740992", "-9007199254740993"]
    rows = zip(ids, ["0.5", "9007199254740992", "9007199254740993", "1.5"], strict=True)
    lines = [f"a,http://{n},{a},{b},{'9' * 5000}" for n, (a, b) in enumerate(rows)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["caption,url,id,real,long", *lines]))
    source, columns = opened(path, "csv", save_additional_columns=("id", "real", "long"))
    first, second = read(source, columns, 2)
    assert [*first["id"].to_pylist(), *second["id"].to_pylist()] == ids
    assert first["real"].to_pylist() == [0.5, 9007199254740992.0]
    assert second["real"].to_pylist() == ["9007199254740993", "1.5"]
    assert first["long"].to_pylist() == ["9" * 5000] * 2


@pytest.mark.parametrize("ending", ["txt", "csv", "tsv", "json", "jsonl"])
def test_a_nul_costs_no_other_row(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"list.{ending}"
    FORMATS[ending](path, example(30))
    path.write_bytes(path.read_bytes().replace(b"h4.example/4.jpg", b"h4.\0xample/4.jpg"))
    source, columns = opened(path, ending)
    urls = [url for table in read(source, columns, 10) for url in table["url"].to_pylist()]
    assert len(urls) == 30
    assert urls[:4] + urls[5:] == [url for n, (url, _) in enumerate(example(30)) if n != 4]
    with pytest.raises(FetchError):
        parse_url(urls[4])


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"list.{ending}"
    if ending == "parquet":
        arrays = [pa.array(["http://a/1"])] * 2
        pq.write_table(pa.Table.from_arrays([*arrays, arrays[0]], ["url", "caption", "url"]), path)
    else:
        text = "url,caption,url\nhttp://a/1,b,c\n"
        path.write_text(text if ending == "csv" else text.replace(",", "\t"))
    with pytest.raises(UsageError, match=r"has 2 columns called 'url': rename all but one$"):
        opened(path, ending)


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    rows=st.lists(st.tuples(cells, cells), max_size=30),
    size=st.integers(1, 12),
    ending=st.sampled_from(["csv", "tsv", "csv.gz", "parquet", "json", "columns.json", "jsonl"]),
)
def test_any_text_comes_back(tmp_path: Path, rows: Rows, size: int, ending: str) -> None:
    path = tmp_path / f"list.{ending}"
    FORMATS[ending](path, rows)
    source, columns = opened(path, ending)
    tables = read(source, columns, size)
    found = [(row["url"], row["caption"]) for table in tables for row in table.to_pylist()]
    assert found == rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    ranges=st.lists(st.tuples(st.integers(0, 49), st.integers(1, 20)), min_size=1, max_size=6),
    batch=st.integers(1, 30),
)
def test_ranges_in_any_order(tmp_path: Path, ranges: list[tuple[int, int]], batch: int) -> None:
    path = tmp_path / "list.parquet"
    if not path.exists():
        write_parquet(path, example(50))
    urls = [url for url, _ in example(50)]
    reader = RangeReader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("img2ds.source.ranges.BATCH_ROWS", batch)
        for start, count in ranges:
            stop = min(start + count, 50)
            rows = reader.read(RowRange(str(path), start, stop), ["url"])
            assert rows["url"].to_pylist() == urls[start:stop]


def test_rising_ranges_decode_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "list.parquet"
    table = pa.table({"url": [f"http://a/{n}" for n in range(1000)]})
    pq.write_table(table, path, row_group_size=500)
    opened_at: list[list[int]] = []
    plain = pq.ParquetFile.iter_batches

    def counted(self: pq.ParquetFile, *args: object, **kwargs: object) -> object:
        opened_at.append(list(kwargs["row_groups"]))  # type: ignore[call-overload]
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    reader = RangeReader()
    for start in range(0, 1000, 100):
        reader.read(RowRange(str(path), start, start + 100), ["url"])
    assert opened_at == [[0, 1], [1]]


def test_a_file_that_shrank_is_an_error_not_fewer_rows(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    write_parquet(path, example(20))
    with pytest.raises(OSError, match="it changed during the run"):
        RangeReader().read(RowRange(str(path), 10, 30), ["url"])
