"""Which format a file has, and the source that reads it."""

from __future__ import annotations

from collections.abc import Sequence

from img2ds.flags import NOT_BUILT
from img2ds.options import INPUT_FORMATS, InputOptions
from img2ds.outcome import UsageError
from img2ds.source.parquet import ParquetSource
from img2ds.source.source import Source
from img2ds.source.text import TextSource

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
        UsageError: they differ, or it is one that cannot be read.
    """
    known = (*INPUT_FORMATS, *NOT_BUILT["input_format"])
    found = {
        next((kind for kind in known if name.removesuffix(".gz").endswith(f".{kind}")), "txt")
        for name in names
    }
    if len(found) > 1:
        raise UsageError(
            f"the input has files of several formats ({', '.join(sorted(found))}): "
            "say which with --input_format"
        )
    kind = found.pop()
    if kind not in INPUT_FORMATS:
        raise UsageError(
            f"{names[0]} looks like {kind}, which is not built yet in this version of img2ds; "
            f"there is: {', '.join(INPUT_FORMATS)}"
        )
    return kind


def open_source(path: str, input_format: str, options: InputOptions) -> Source:
    """The source of one file.

    Raises:
        UsageError: it is not of this format, or has not the columns that `options` name.
    """
    if input_format == "txt":
        if len(options.columns) > 1:
            raise UsageError(
                f"{path} is read as txt, which has URLs and nothing else: columns "
                f"({', '.join(options.columns[1:])}) need csv, tsv or parquet (--input_format)"
            )
        return TextSource(path, options.url_col)
    if input_format == "parquet":
        return ParquetSource(path, options.columns)
    # pyarrow.compute takes an eighth of a worker's start, and parquet does not need it.
    from img2ds.source.delimited import DelimitedSource

    texts = [options.url_col, *options.verify_hash[:1]]
    if options.caption_col is not None:
        texts.append(options.caption_col)
    return DelimitedSource(path, options.columns, texts, _DELIMITERS[input_format])
