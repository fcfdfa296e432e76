"""Parquet files anywhere, opened so that large row groups do not take up memory."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.storage.input_stream import open_seekable

#: Bytes read ahead in each column: what bounds memory when a row group holds a million rows.
BUFFER = 1 << 18


def open_parquet(path: str) -> pq.ParquetFile:
    """Open a file for reading row group by row group.

    Raises:
        UsageError: it does not exist or is not parquet.
    """
    try:
        return pq.ParquetFile(open_seekable(path), buffer_size=BUFFER, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{path} cannot be read as parquet: {reason}") from None
    except UsageError:
        raise
    except ValueError:  # fsspec's, of a web server; pyarrow's are ArrowExceptions
        raise UsageError(
            f"{path} cannot be read as parquet: its server sends no parts of files (HTTP Range); "
            "download it, and use its path"
        ) from None
