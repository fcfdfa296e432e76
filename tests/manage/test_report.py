"""`img2ds report`: one page that loads nothing, whatever lists and servers have put into rows."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds import cli
from img2ds.core.failure import UsageError
from img2ds.manage.options import ReportOptions
from img2ds.manage.report.run import run
from img2ds.manage.report.timeline import Span, timeline
from tests.manage.dataset_rows import rows
from tests.manage.img2dataset_folder import write_shard
from tests.state import data_names

EVIL = "<script>alert(1)</script>"


def written(folder: str, path: Path) -> str:
    run(ReportOptions(output_folder=folder, html=str(path)))
    return path.read_text()


def test_the_page(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = data_names(made)
    target = tmp_path / "report.html"
    assert cli.run(["report", "--output_folder", str(made), "--html", str(target)]) == 0
    assert re.fullmatch(rf"{target} written \(.* kB\)\n", capsys.readouterr().out)
    assert data_names(made) == before
    page = target.read_text()
    good = sum(row.reason is None for row in rows())
    assert f"<b>{len(rows())}</b>rows" in page
    assert f"<b>{good}</b>images" in page
    assert page.count("data:image/jpeg;base64,") == 6 + 6 + 6 + 4, "the last shard has four"
    for row in rows():
        assert row.reason is None or f"{row.reason} (" in page
    assert "number_sample_per_shard" in page
    assert "Over time" in page
    attempts = page.split("<h2>Time of an attempt at a URL</h2>")[1].split("</table>")[0]
    assert sum(map(int, re.findall(r"<td class=n>([0-9]+)</td>", attempts))) >= good
    assert "<h2>Time of a name lookup</h2>" in page


def test_it_loads_nothing(made: Path, tmp_path: Path) -> None:
    page = written(str(made), tmp_path / "r.html")
    assert not re.search(r"<(script|link|iframe|object|form)\b", page)
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', page))
    assert "url(" not in page
    assert "@import" not in page


def test_rows_are_text(made: Path, tmp_path: Path) -> None:
    path = made / "00000.parquet"
    table = pq.read_table(path)
    count = table.num_rows
    changed = {
        "url": [f'javascript:"{EVIL}', f"http://[{EVIL}", f'http://a/"{EVIL}', *[""] * count],
        "error_message": [EVIL] * count,
        "caption": [f'"{EVIL}'] * count,
    }
    for name, values in changed.items():
        column = pa.array(values[:count], table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, path)
    page = written(str(made), tmp_path / "r.html")
    assert EVIL not in page
    assert EVIL in unescape(page)
    assert all(link.startswith("http") for link in re.findall(r'href="([^"]*)"', page))


def test_a_dataset_of_img2dataset(tmp_path: Path) -> None:
    for number in range(2):
        write_shard(tmp_path / "set", number)
    page = written(str(tmp_path / "set"), tmp_path / "r.html")
    assert "http_404 (" in page
    assert "data:image/jpeg" in page


def test_damage_costs_its_part_of_the_page(made: Path, tmp_path: Path) -> None:
    (made / "00000.tar").write_bytes(b"no tar")
    (made / "00001.parquet").write_bytes(b"no table")
    (made / "00002_stats.json").write_bytes(b"")
    assert "data:image/jpeg" in written(str(made), tmp_path / "r.html")


def test_on_a_service(remote: str, tmp_path: Path) -> None:
    assert "data:image/jpeg" in written(remote, tmp_path / "r.html")


def test_places_that_cannot_be(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is in the dataset's folder"):
        written(str(made), made / "report.html")
    with pytest.raises(UsageError, match="cannot write"):
        written(str(made), tmp_path / "nowhere" / "report.html")
    with pytest.raises(UsageError, match="there is no folder"):
        written(str(tmp_path / "nothing"), tmp_path / "report.html")


def span(start: float, end: float, rows: int = 100) -> Span:
    return Span(start, end, rows, rows // 2, 1000 * rows)


def test_the_timeline_adds_up() -> None:
    points = timeline([span(0, 10), span(5, 25), span(25, 25.0)], points=7)
    assert len(points) == 7
    assert sum(point.rows for point in points) == pytest.approx(300)
    assert sum(point.successes for point in points) == pytest.approx(150)
    assert sum(point.seconds for point in points) == pytest.approx(25)


def test_pauses_are_left_out() -> None:
    week = 7 * 86400.0
    points = timeline([span(0, 50), span(week, week + 50)], points=10)
    assert sum(point.seconds for point in points) == pytest.approx(100)
    assert all(point.rows == pytest.approx(20) for point in points)


def test_no_shard_has_no_timeline() -> None:
    assert timeline([]) == []
