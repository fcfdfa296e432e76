"""Quotes that are never closed cost no row but their own; cells over several lines are one row."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2ds.core.failure import UsageError
from img2ds.source import delimited_rows
from img2ds.source.delimited_rows import MAX_CELL, Row, RowReader

#: Delimiters by format.
BOTH = pytest.mark.parametrize("delimiter", [",", "\t"], ids=["csv", "tsv"])


def read(text: str, delimiter: str = ",", url: str = "url") -> list[Row]:
    lines = io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8", newline="")
    return list(RowReader("list", lines, delimiter, url))


def joined(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    """As a program writes it that knows nothing of quotes."""
    return "".join(delimiter.join(row) + "\n" for row in rows)


def url(number: int) -> str:
    return f"http://h.example/{number}.jpg"


@BOTH
@pytest.mark.parametrize("place", [0, 1, 17, 28, 29])
@pytest.mark.parametrize("other", ["a cat", 'a "big" cat', 'a 5" nail', '"a" cat', '"a cat"'])
def test_an_open_quote_swallows_no_row(delimiter: str, place: int, other: str) -> None:
    captions = [other] * 30
    captions[place] = '"The big dog'
    rows = [("url", "caption"), *[(url(n), text) for n, text in enumerate(captions)]]
    found = read(joined(rows, delimiter), delimiter)
    assert [row[0] for row in found] == [url(n) for n in range(30)]
    assert found[place][1] == '"The big dog'
    # The URL may be the last column, too.
    found = read(joined([(b, a) for a, b in rows], delimiter), delimiter)
    assert [row[-1] for row in found] == [url(n) for n in range(30)]
    assert found[place] == ['"The big dog', url(place)]


captions = st.text(st.sampled_from("ab \"'\\/."), max_size=6)
TEXTS = st.lists(captions, min_size=1, max_size=12)


@BOTH
@settings(max_examples=300, derandomize=True)
@given(texts=TEXTS, last=st.booleans(), batch=st.integers(1, 5))
def test_each_line_is_a_row(delimiter: str, texts: list[str], last: bool, batch: int) -> None:
    """Whatever quotes there are, in files of programs that do not know of them."""
    rows = [("url", "caption"), *[(url(n), text) for n, text in enumerate(texts)]]
    if last:
        rows = [(caption, place) for place, caption in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited_rows, "_BATCH", batch)
        found = read(joined(rows, delimiter), delimiter)
    assert len(found) == len(texts)
    if delimiter == "\t":
        assert [row[-1 if last else 0] for row in found] == [url(n) for n in range(len(texts))]


cells = st.text(st.sampled_from('ab,"\t\n\r'), max_size=8)


@BOTH
@settings(max_examples=300, derandomize=True)
@given(
    rows=st.lists(st.tuples(cells, cells), max_size=12),
    batch=st.integers(1, 5),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_spreadsheets_write_comes_back(
    delimiter: str, rows: list[tuple[str, str]], batch: int, end: str, quoting: Any
) -> None:
    if quoting == csv.QUOTE_MINIMAL:  # Python's csv leaves a lone carriage return without quotes
        rows = [(one.replace("\r", ""), two.replace("\r", "")) for one, two in rows]
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(["one", "url", "two"])
    writer.writerows((one, url(n), two) for n, (one, two) in enumerate(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited_rows, "_BATCH", batch)
        found = read(written.getvalue(), delimiter)
    assert found == [[one, url(n), two] for n, (one, two) in enumerate(rows)]


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ('u\t"a cat"\t1', ["u", "a cat", "1"]),
        ('u\t"a ""big"" cat"\t1', ["u", 'a "big" cat', "1"]),
        ('u\t"a big\tcat"\t1', ["u", "a big\tcat", "1"]),  # what spreadsheets write
        ('u\t"a" cat\t1', ["u", '"a" cat', "1"]),
        ('u\t"a cat\t1', ["u", '"a cat', "1"]),
        ('"12\t14"\tu', ['"12', '14"', "u"]),  # tabs come first where only they fit
        ('u\t5" by 6"\t1', ["u", '5" by 6"', "1"]),
        ('u\t"', ["u", '"']),
        ('u\t""\t""', ["u", "", ""]),
        ("u", ["u"]),
        ("u\ta\tb\tc", ["u", "a", "b", "c"]),
    ],
)
def test_quotes_in_tsv(line: str, cells: Row) -> None:
    assert read(f"url\tcaption\tn\n{line}\n", "\t") == [cells]
    assert read(f'url\tcaption\tn\n{line}\n"x" y\t1\t2\n', "\t") == [cells, ['"x" y', "1", "2"]]


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        (f'{url(1)},"a, b', [url(1), '"a, b']),
        (f'"a, b",{url(1)},"c', [""]),  # with three cells of two, nothing is sure
        (f'{url(1)},"', [url(1), '"']),
        (f'{url(1)},"a" b', [url(1), "a b"]),
    ],
)
def test_open_quotes_in_csv(line: str, cells: Row) -> None:
    below = [url(2), "c"]
    assert read(f"url,caption\n{line}\n{url(2)},c\n") == [cells, below]


@BOTH
def test_cells_over_several_lines(delimiter: str) -> None:
    """Lines of text may read as anything but a row."""
    texts = ["one\ntwo", "see:\nhttp://h.example/a", "\n\n", 'with "quotes"\n"', "24/7, all day\nx"]
    rows = [[url(n), text, "en"] for n, text in enumerate(texts)]
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter).writerows([["url", "caption", "language"], *rows])
    assert read(written.getvalue(), delimiter) == rows


def test_a_joined_cell_has_an_end() -> None:
    """A cell beyond the limit, and one that ends with the file, are no cells."""
    long = "x" * (MAX_CELL // 2) + "\n"
    text = f'url,caption\n{url(1)},"{long * 3}"\n{url(2)},b\n{url(3)},"c\n'
    lines = ["x" * (MAX_CELL // 2)] * 2
    assert [row[0] for row in read(text)] == [url(1), *lines, "", url(2), url(3)]


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_cell_that_is_too_long_costs_its_row(delimiter: str) -> None:
    long = "x" * (MAX_CELL + 1)
    text = f"url{delimiter}caption\na{delimiter}{long}\nb{delimiter}c\n"
    assert read(text, delimiter) == [[""], ["b", "c"]]


@BOTH
def test_headers(delimiter: str) -> None:
    assert read("") == []
    assert read("\n\nurl\n\n", delimiter) == []
    header = f'"u""r\nl"{delimiter}b\n1{delimiter}2\n'
    assert read(header, delimiter, 'u"r\nl') == [["1", "2"]]
    with pytest.raises(UsageError, match="a quote in the header is never closed"):
        read(f'url{delimiter}"caption\n1{delimiter}2\n', delimiter)
