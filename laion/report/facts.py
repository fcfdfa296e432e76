"""What the report says of a release: read from its parquet, and from the stages it came through."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.storage import InputFile, OutputFolder, find_inputs, open_seekable
from laion.data.release_schema import LAYOUTS
from laion.provenance import StageCounts, trace_stages
from laion.release.contents import Contents
from laion.report.distribution import Names, Score, count_shapes, hosts_of

#: Rows read at once.
_BATCH = 65_536

#: Columns of scores: names that mean the same, and the range of their values; None: as in the data.
SCORES: dict[str, tuple[tuple[str, ...], tuple[float, float] | None]] = {
    "similarity": (("similarity",), (-1.0, 1.0)),
    "aesthetic": (("aesthetic", "AESTHETIC_SCORE"), (0.0, 10.0)),
    "pwatermark": (("pwatermark",), (0.0, 1.0)),
    "punsafe": (("punsafe",), (0.0, 1.0)),
    "image_tokens": (("image_tokens",), None),
    "text_tokens": (("text_tokens",), None),
}
#: The length of the text in characters: longer ones count as that long.
TEXT_LENGTH, _LONGEST = "characters of the text", 200.0


@dataclass(slots=True)
class Facts:
    """A release in figures.

    Attributes:
        stages: those it came through, the first one first; none for parquet of unknown origin.
        aspects, sides: rows by aspect ratio and by shorter side.
        scores: columns of numbers by name.
    """

    path: str
    files: int
    stages: list[StageCounts]
    contents: Contents = field(default_factory=Contents)
    hosts: Names = field(default_factory=Names)
    languages: Names = field(default_factory=Names)
    aspects: Counter[str] = field(default_factory=Counter)
    sides: Counter[str] = field(default_factory=Counter)
    scores: dict[str, Score] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return self.contents.rows


def read_facts(place: str) -> Facts:
    """Read all rows of a release, in bounded memory.

    Raises:
        UsageError: it cannot be read, or has no URLs.
    """
    files = _metadata_of(place) or find_inputs(place, (".parquet",))
    facts = Facts(place, len(files), trace_stages(place) if _is_folder(place) else [])
    try:
        names = _names(files[0])
        facts.scores = _scores(files, names)
        for file in files:
            with pq.ParquetFile(open_seekable(file.path)) as reader:
                there = [source for source in names.values() if source in reader.schema_arrow.names]
                for batch in reader.iter_batches(_BATCH, columns=there):
                    _add(facts, pa.Table.from_batches([batch]), names)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read {place}: {error}") from None
    return facts


def _metadata_of(place: str) -> list[InputFile]:
    """Return the files with all metadata of a release of this project; none for another one."""
    if not _is_folder(place) or not OutputFolder.open(place).names("metadata"):
        return []
    return find_inputs(f"{place.rstrip('/')}/metadata", (".parquet",))


def _is_folder(place: str) -> bool:
    return not place.endswith(".parquet") and "*" not in place


def _names(file: InputFile) -> dict[str, str]:
    """Return the columns to read: what they are called here, and in the files."""
    with pq.ParquetFile(open_seekable(file.path)) as reader:
        there = reader.schema_arrow.names
    sources: dict[str, tuple[str, ...]] = {
        column.name: (*column.sources, column.name)
        for layout in ("laion5b", "laion400m")
        for column in LAYOUTS[layout]
        if column.sources
    }
    sources |= {name: spellings for name, (spellings, _) in SCORES.items()}
    found = {name: next((s for s in sources[name] if s in there), None) for name in sources}
    names = {name: source for name, source in found.items() if source is not None}
    if "URL" not in names:
        raise UsageError(f"{file.path} has no column URL; it has: {', '.join(there)}")
    return names


def _scores(files: list[InputFile], names: dict[str, str]) -> dict[str, Score]:
    scores = {}
    for name, (_, limits) in SCORES.items():
        if name in names:
            low, high = limits or _limits(files, names[name])
            scores[name] = Score(low, high)
    if "TEXT" in names:
        scores[TEXT_LENGTH] = Score(0.0, _LONGEST)
    return scores


def _limits(files: list[InputFile], column: str) -> tuple[float, float]:
    """Return the lowest and highest value of a column, by the statistics of the files."""
    found: list[float] = []
    for file in files:
        with pq.ParquetFile(open_seekable(file.path)) as reader:
            for group in range(reader.metadata.num_row_groups):
                row_group = reader.metadata.row_group(group)
                for place in range(row_group.num_columns):
                    chunk = row_group.column(place)
                    if chunk.path_in_schema == column and chunk.statistics is not None:
                        found += [chunk.statistics.min, chunk.statistics.max]
    known = [float(value) for value in found if value is not None]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _add(facts: Facts, table: pa.Table, names: dict[str, str]) -> None:
    """Add the rows of a table."""
    columns = {n: table[s] for n, s in names.items() if s in table.column_names}
    facts.contents.add(pa.table({n: c for n, c in columns.items() if n not in ("URL", "TEXT")}))
    facts.hosts.add(hosts_of(columns["URL"]))
    if "LANGUAGE" in columns:
        facts.languages.add(columns["LANGUAGE"])
    if {"WIDTH", "HEIGHT"} <= columns.keys():
        aspects, sides = count_shapes(columns["WIDTH"], columns["HEIGHT"])
        facts.aspects += aspects
        facts.sides += sides
    for name, score in facts.scores.items():
        if name == TEXT_LENGTH:
            score.add(pc.utf8_length(columns["TEXT"].cast(pa.string())))
        elif name in columns:
            score.add(columns[name])
