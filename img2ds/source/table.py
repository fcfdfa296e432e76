"""The input formats, a record each: a new one is a module, a line here, and a name in `config`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from img2ds.config.options import INPUT_FORMATS, InputOptions
from img2ds.core.failure import UsageError
from img2ds.core.plugins import load
from img2ds.source.json_document import open_json
from img2ds.source.jsonl import open_jsonl
from img2ds.source.parquet import ParquetSource
from img2ds.source.plugin_source import PluginSource
from img2ds.source.source import InputFormat, Source
from img2ds.source.text import TextSource
from img2ds.storage.compression import COMPRESSIONS

#: How the names of Arrow types begin that can hold boxes, as lists or as text.
_BOX_TYPES = ("list", "fixed_size_list", "string", "binary", "dictionary", "null")


def _open_txt(path: str, options: InputOptions) -> Source:
    # As with img2dataset, captions may be asked for; there are none.
    others = [c for c in options.columns if c not in (options.url_col, options.caption_col)]
    if others:
        raise UsageError(
            f"{path} is read as txt, which has URLs and nothing else: columns "
            f"({', '.join(others)}) need csv, tsv, json, jsonl or parquet (--input_format)"
        )
    return TextSource(
        path, options.url_col, options.caption_col, guessed=options.input_format is None
    )


def _open_delimited(delimiter: str, path: str, options: InputOptions) -> Source:
    # pyarrow.compute takes an eighth of a worker's start, and other formats do not need it.
    from img2ds.source.delimited import DelimitedSource

    return DelimitedSource(
        path, options.columns, _text_columns(options), delimiter, options.bbox_col
    )


def _open_json(path: str, options: InputOptions) -> Source:
    return open_json(path, options.columns, _text_columns(options), options.url_col)


def _open_jsonl(path: str, options: InputOptions) -> Source:
    return open_jsonl(path, options.columns, _text_columns(options))


def _open_parquet(path: str, options: InputOptions) -> Source:
    source = ParquetSource(path, options.columns)
    column_type = source.schema.get(options.bbox_col or "", "list")
    if not column_type.removeprefix("large_").startswith(_BOX_TYPES):
        raise UsageError(
            f"{path} has {column_type} in the column {options.bbox_col!r}, not lists of boxes "
            "(see --bbox_col)"
        )
    return source


def _text_columns(options: InputOptions) -> list[str]:
    """Return the columns that are text whatever they look like: URL, hash, caption."""
    columns = [options.url_col, *options.verify_hash[:1]]
    if options.caption_col is not None:
        columns.append(options.caption_col)
    return columns


#: Types of columns that hold no URLs.
_NO_TEXT = ("int", "uint", "float", "double", "halffloat", "bool", "timestamp", "date", "decimal")


#: By the names in `config.INPUT_FORMATS`, which are the extensions of their files as well.
_FORMATS = {
    "txt": InputFormat(_open_txt),
    "csv": InputFormat(partial(_open_delimited, ",")),
    "tsv": InputFormat(partial(_open_delimited, "\t")),
    "json": InputFormat(_open_json),
    "jsonl": InputFormat(_open_jsonl, extensions=("ndjson",)),
    "parquet": InputFormat(_open_parquet, compressed=False),
}


def _plugin(name: str) -> InputFormat:
    """Return the format that a plug-in is. Raises UsageError: it is none."""
    found = load("input_format", name)
    if not isinstance(found, InputFormat):
        raise UsageError(f"--input_format: {name} is no img2ds.plugin.InputFormat")
    return found


def file_extensions(input_format: str | None) -> list[str]:
    """Return the extensions of a format's files in a folder; those of every format for None.

    Raises:
        UsageError: it is a plug-in's name, and no input format.
    """
    kind, dot, compression = (input_format or "").partition(".")
    if dot and kind in _FORMATS and ":" not in compression:
        return [f".{name}.{compression}" for name in (kind, *_FORMATS[kind].extensions)]
    if input_format is not None and input_format not in _FORMATS:
        return [f".{name}" for name in _plugin(input_format).extensions]
    extensions = []
    for kind in INPUT_FORMATS if input_format is None else (input_format,):
        for name in (kind, *_FORMATS[kind].extensions):
            extensions.append(f".{name}")
            if _FORMATS[kind].compressed:
                extensions += [f".{name}.{packed.extension}" for packed in COMPRESSIONS]
    return extensions


def guess_format(names: Sequence[str]) -> str:
    """Return the format that the file names of one input suggest; txt where they suggest none.

    Raises:
        UsageError: they suggest several.
    """
    found = {
        next((kind for kind in INPUT_FORMATS if name.endswith(tuple(file_extensions(kind)))), "txt")
        for name in map(str.lower, names)
    }
    if len(found) > 1:
        raise UsageError(
            f"the input has files of several formats ({', '.join(sorted(found))}): "
            "choose one with --input_format"
        )
    return found.pop()


def open_source(path: str, input_format: str, options: InputOptions) -> Source:
    """Return the source of one file.

    Raises:
        UsageError: it is not of this format, or lacks a column that `options` name.
    """
    source: Source
    if input_format in _FORMATS:
        source = _FORMATS[input_format].open(path, options)
    else:
        source = PluginSource(input_format, _plugin(input_format), path, options)
    kind = source.schema.get(options.url_col, "string")
    if kind.startswith(_NO_TEXT):
        raise UsageError(
            f"{path} has {kind} in the column {options.url_col!r}, not URLs: choose another "
            "with --url_col"
        )
    return source
