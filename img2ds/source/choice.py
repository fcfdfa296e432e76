"""Which format a file has, and the source that reads it."""

from __future__ import annotations

from collections.abc import Sequence

from img2ds.config.options import INPUT_FORMATS, InputOptions
from img2ds.core.failure import UsageError
from img2ds.source.json_document import open_json
from img2ds.source.jsonl import open_jsonl
from img2ds.source.parquet import ParquetSource
from img2ds.source.source import Source
from img2ds.source.text import TextSource

#: How the names of Arrow's types begin that boxes can be in, as lists or as text.
_OF_BOXES = ("list", "fixed_size_list", "string", "binary", "dictionary", "null")
_DELIMITERS = {"csv": ",", "tsv": "\t"}


def file_extensions(input_format: str | None) -> list[str]:
    """The endings that files of a format have in a folder; of any format for None."""
    extensions = []
    for name in INPUT_FORMATS if input_format is None else (input_format,):
        extensions.append(f".{name}")
        if name != "parquet":
            extensions.append(f".{name}.gz")
    return extensions


def guess_format(names: Sequence[str]) -> str:
    """The format that the names of the files of one input tell; txt where they tell none.

    Raises:
        UsageError: they differ.
    """
    found = {
        next(
            (kind for kind in INPUT_FORMATS if name.removesuffix(".gz").endswith(f".{kind}")), "txt"
        )
        for name in names
    }
    if len(found) > 1:
        raise UsageError(
            f"the input has files of several formats ({', '.join(sorted(found))}): "
            "say which with --input_format"
        )
    return found.pop()


def open_source(path: str, input_format: str, options: InputOptions) -> Source:
    """The source of one file.

    Raises:
        UsageError: it is not of this format, or has not the columns that `options` name.
    """
    if input_format == "txt":
        if len(options.columns) > 1:
            raise UsageError(
                f"{path} is read as txt, which has URLs and nothing else: columns "
                f"({', '.join(options.columns[1:])}) need csv, tsv, json, jsonl or parquet"
                " (--input_format)"
            )
        return TextSource(path, options.url_col)
    if input_format == "parquet":
        source = ParquetSource(path, options.columns)
        kind = source.schema.get(options.bbox_col or "", "list")
        if not kind.removeprefix("large_").startswith(_OF_BOXES):
            raise UsageError(
                f"{path} has {kind} in the column {options.bbox_col!r}, not lists of boxes "
                "(see --bbox_col)"
            )
        return source
    texts = [options.url_col, *options.verify_hash[:1]]
    if options.caption_col is not None:
        texts.append(options.caption_col)
    if input_format == "jsonl":
        return open_jsonl(path, options.columns, texts)
    if input_format == "json":
        return open_json(path, options.columns, texts, options.url_col)
    # pyarrow.compute takes an eighth of a worker's start, and parquet does not need it.
    from img2ds.source.delimited import DelimitedSource

    return DelimitedSource(
        path, options.columns, texts, _DELIMITERS[input_format], options.bbox_col
    )
