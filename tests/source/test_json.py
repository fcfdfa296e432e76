"""json and jsonl as the world writes them: lines, arrays, columns, and what is broken in each."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from img2ds.config.options import InputOptions
from img2ds.core.failure import UsageError
from img2ds.source import json_values, records
from img2ds.source.json_document import _items
from img2ds.source.json_values import Values
from img2ds.source.source import Source
from img2ds.source.table import open_source
from img2ds.storage import open_stream

URLS = [{"url": f"http://a/{n}"} for n in range(10)]


def source(path: Path | str, kind: str, **flags: Any) -> Source:
    return open_source(str(path), kind, InputOptions(url_list=str(path), **flags))


def written(path: Path, data: bytes | str, kind: str | None = None, **flags: Any) -> Source:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return source(path, kind or path.suffix[1:], **flags)


def tables(of: Source, rows: int = 1000) -> list[pa.Table]:
    found = []
    for count, table in of.shards(rows):
        assert isinstance(table, pa.Table)
        assert table.num_rows == count
        found.append(table)
    return found


def column(of: Source, name: str = "url", rows: int = 1000) -> list[Any]:
    return [value for table in tables(of, rows) for value in table[name].to_pylist()]


def test_lines_as_they_come(tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"url": "http://a/1", "caption": "plain"}\r\n',
        b"\n", b"  \t\r\n",
        b'{"caption": "\\u00fc \\ud83d\\ude00", "url": "http://a/2"}\n',
        b'{"url": "http://a/3"}\n',
        b'{"url": "http://a/4", "caption": null}\n',
        b'{"url": "http://a/5", "caption": NaN}\n',
        b'{"url": "http://a/6", "caption": "cut \\ud83d"}\n',
        b'{"url": "http://a/7", "caption": "latin \xfc"}\n',
        b'{"url": "http://a/8", "caption": "tab\there"}\n',
        b'{"url": "http://a/9", "caption": 12}\n',
        b'{"url": "http://a/10", "caption": ["a", 1]}',
    ]  # fmt: skip
    of = written(tmp_path / "a.jsonl", b"".join(lines), caption_col="caption")
    assert column(of) == [f"http://a/{n}" for n in range(1, 11)]
    assert column(of, "caption") == [
        "plain", "ü \U0001f600", None, None, None, "cut \ufffd", "latin \ufffd", "tab\there", "12",
        '["a", 1]',
    ]  # fmt: skip


@pytest.mark.parametrize(
    "broken", ['{"url": "http://a/2"', '{"url": http://a/2}', "http://a/2", "[1]", "7", "null",
               '{"url": "http://a/2"}{"url": "http://a/3"}', "[" * 100_000],
)  # fmt: skip
def test_a_broken_line_is_a_row_without_its_url(tmp_path: Path, broken: str) -> None:
    text = f'{{"url": "http://a/1"}}\n{broken}\n{{"url": "http://a/3"}}\n'
    assert column(written(tmp_path / "a.jsonl", text)) == ["http://a/1", None, "http://a/3"]


texts = st.text() | st.text('a/\\"\n,:', max_size=4)


@given(
    st.dictionaries(texts, texts | st.none() | st.integers() | st.lists(texts)),
    st.booleans(), st.booleans(), st.integers(1, 30),
)  # fmt: skip
@example({"0": "http://a/1", "1": "http://a/2", "2": None}, False, True, 30)
def test_members_are_those_of_the_standard_library(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, Any], spaced: bool,
    as_pandas: bool, block: int,
) -> None:  # fmt: skip
    """As `json` writes them, or pandas, which escapes slashes; read in blocks of any size."""
    text = json.dumps(members, indent=1 if spaced else None, ensure_ascii=as_pandas)
    path = tmp_path_factory.getbasetemp() / "members.json"
    path.write_text(text.replace("/", "\\/") if as_pandas else text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values, "BLOCK", block)
        found = list(_items(Values(open_stream(str(path)))))
    assert found == list(members.items())


@pytest.mark.parametrize("rows", [1, 3])
def test_lines_longer_than_a_block(tmp_path: Path, rows: int) -> None:
    long = {"url": "http://a/1", "data": "x" * 5_000_000}
    text = "\n".join(json.dumps(row) for row in (URLS[0], long, URLS[2]))
    of = written(tmp_path / "a.jsonl", text)
    assert column(of, rows=rows) == ["http://a/0", "http://a/1", "http://a/2"]


def test_a_line_that_never_ends_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("img2ds.source.jsonl.MAX_VALUE", 1000)
    monkeypatch.setattr("img2ds.source.jsonl.BLOCK", 300)
    long = json.dumps({"url": "http://a/1", "data": "x" * 5000})
    for end, left in (("\n" + json.dumps(URLS[2]), ["http://a/2"]), ("", [])):
        of = written(tmp_path / "a.jsonl", json.dumps(URLS[0]) + "\n" + long + end)
        assert column(of) == ["http://a/0", None, *left]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(URLS), json.dumps(URLS, indent=2), json.dumps(URLS, separators=(",", ":")),
        "\ufeff \n" + json.dumps(URLS) + "\n\n",
        "\n".join(map(json.dumps, URLS)), "".join(map(json.dumps, URLS)),
        "\r\n".join(json.dumps(row, indent=1) for row in URLS),
        json.dumps({"url": {str(n): row["url"] for n, row in enumerate(URLS)}}),
        json.dumps({"n": list(range(10)), "url": [row["url"] for row in URLS], "m": {"a": [{}]}}),
        json.dumps({"pages": 1, "url": [row["url"] for row in URLS]}, indent=3),
    ],
)  # fmt: skip
@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_documents_of_every_form(
    tmp_path: Path, text: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("img2ds.source.json_values.BLOCK", block)
    of = written(tmp_path / "a.json", text)
    assert column(of, rows=3) == [row["url"] for row in URLS]
    assert column(of, rows=100) == [row["url"] for row in URLS]
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert column(source(path, "json")) == [row["url"] for row in URLS]


def test_columns_longer_than_a_block_are_read_in_step(tmp_path: Path) -> None:
    count = 60_000
    document: dict[str, dict[str, object]] = {
        "n": {str(row): row for row in range(count)},
        "more": {str(row): [row] * 5 for row in range(count)},
        "url": {str(row): f"http://ä/{row}" for row in range(count)},
    }
    of = written(
        tmp_path / "a.json", json.dumps(document, ensure_ascii=False),
        save_additional_columns=("n",),
    )  # fmt: skip
    found = pa.concat_tables(tables(of, 7000))
    assert found["n"].to_pylist() == list(range(count))
    assert found["url"].to_pylist() == list(document["url"].values())
    assert of.bytes_read == (tmp_path / "a.json").stat().st_size


@pytest.mark.parametrize("number", ["12", "-1.5", "1e3", "-0", "1.25e-7"])
@pytest.mark.parametrize("block", range(1, 12))
def test_numbers_across_blocks(
    tmp_path: Path, number: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text(f"[{number} ,{number}]")
    monkeypatch.setattr("img2ds.source.json_values.BLOCK", block)
    values = json_values.Values(open_stream(str(path)))
    values.expect("[")
    assert values.value() == json.loads(number)
    values.expect(",")
    assert values.value() == json.loads(number)
    values.expect("]")
    assert values.peek() == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"url": "a"}, {"url": b}]', "broken as JSON at character 23: a value is missing"),
        ('[{"url": "a"}, {"url": "b', "at character 23: unterminated string"),
        ('[{"url": "a"}, ', "at character 15: a value is missing"),
        ('[{"url": "a"} {"url": "b"}]', "at character 14: ] is missing"),
        ('[{"url": "a"}', "at character 13: ] is missing"),
        ('[{"url": "a"}] [{"url": "b"}]', "data after the end of the array"),
        ('[{"url": "a"}, ' + "[" * 100_000, "nested too deeply"),
        ('{"url": "a"}\n{"url": ', "at character 21: a value"),
        ('{"url": {"0": "a"}, "b": ', "at character 25"),
        ('{"url": {"0": "a"}} 5', "data after the end of the object"),
        ('{"url": ["a"], "n": ["b", "c"]}', "different lengths: 1 rows of 'url', 2 of 'n'"),
        ('{"url": {"0": "a"}, "n": 3}', "'n' is neither a list nor an object"),
        ('{"url": {"0": "a", "1": "b"}, "n": {"1": "b", "0": "a"}}', "another order"),
        ('["http://a/1", "http://a/2"]', "no JSON object among its first rows"),
    ],
)
def test_a_broken_document_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    flags: dict[str, Any] = {"save_additional_columns": ("n",)} if '"n"' in text else {}
    with pytest.raises(UsageError, match=words) as caught:
        tables(written(tmp_path / "a.json", text, **flags))
    assert "\n" not in str(caught.value)
    assert "a.json" in str(caught.value)


def test_names_of_the_wrong_format_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a JSON array.* --input_format json$"):
        written(tmp_path / "a.jsonl", json.dumps(URLS))
    with pytest.raises(UsageError, match="no JSON object among its first rows"):
        written(tmp_path / "b.jsonl", "http://a/1\nhttp://a/2\n")


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_columns_may_be_missing_at_first(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*URLS, {"url": "http://b/", "TEXT": "x"}]
    text = json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))
    of = written(tmp_path / f"a.{kind}", text, caption_col="TEXT")
    assert column(of, "TEXT") == [None] * 10 + ["x"]
    with pytest.raises(UsageError, match=r"no column 'Text': did you mean 'TEXT'\? .* url, TEXT"):
        source(tmp_path / f"a.{kind}", kind, caption_col="Text")
    monkeypatch.setattr(records, "FIRST_ROWS", 5)
    with pytest.raises(UsageError, match="no column 'TEXT': its columns are url"):
        source(tmp_path / f"a.{kind}", kind, caption_col="TEXT")


def numbered(*values: Any) -> str:
    return "".join(json.dumps({"url": "http://a/", "n": value}) + "\n" for value in values)


def test_types_are_the_same_in_all_shards(tmp_path: Path) -> None:
    of = written(
        tmp_path / "a.jsonl", numbered(None, 1, 2, 0.5, None, None), save_additional_columns=("n",)
    )
    for _ in range(2):
        found = tables(of, 2)
        assert [table.schema.field("n").type for table in found] == [pa.float64()] * 3
        assert pa.concat_tables(found)["n"].to_pylist() == [None, 1.0, 2.0, 0.5, None, None]


def test_types_widen_beyond_the_sampled_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_BATCH", 2)
    monkeypatch.setattr(records, "TYPE_BYTES", 1)
    of = written(
        tmp_path / "a.jsonl", numbered(1, 2, "three", 4, 5, 6), save_additional_columns=("n",)
    )
    for _ in range(2):  # a resume finds the same
        found = tables(of, 2)
        assert [table["n"].to_pylist() for table in found] == [[1, 2], ["three", "4"], ["5", "6"]]


class Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BufferedReader(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    rows = [{**row, "n": n if n < 8 else "x"} for n, row in enumerate(URLS)]
    text = json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))
    monkeypatch.setattr("sys.stdin", Stdin(text.encode()))
    of = source("-", kind, save_additional_columns=("n",))
    assert column(of, rows=4, name="n") == [*map(str, range(8)), "x", "x"]
    monkeypatch.setattr("sys.stdin", Stdin(b'{"url": {"0": "http://a/"}}'))
    if kind == "json":
        with pytest.raises(UsageError, match=r'standard input .* to_json\(orient="records"\)'):
            source("-", kind)


def test_progress_is_measured_in_bytes(tmp_path: Path) -> None:
    for kind, text in (("json", json.dumps(URLS)), ("jsonl", numbered(*range(10)))):
        of = written(tmp_path / f"a.{kind}", text)
        read = [of.bytes_read / len(text) for _ in of.shards(1)]
        assert read == pytest.approx([(n + 1) / 10 for n in range(10)], abs=0.05)
