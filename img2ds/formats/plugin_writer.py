"""A writer of a plug-in: what it raises costs a row, or its shard, and names the plug-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from img2ds.core.plugins import PluginError
from img2ds.core.sample import FileRecord, Sample
from img2ds.formats.contract import ShardWriter, StagingPath


class PluginWriter:
    """A `ShardWriter` around that of a plug-in.

    Args:
        name: of the plug-in.
        make: its `OutputFormat.writer`, called with `arguments`.

    Raises:
        OSError: its files cannot be made.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[str, str, StagingPath], ShardWriter],
        arguments: tuple[str, str, StagingPath],
    ) -> None:
        self._name = name
        self._inner: ShardWriter = self._lost(make, *arguments)
        self.has_metadata_file = self._inner.has_metadata_file

    def add(self, sample: Sample) -> None:
        """See `ShardWriter.add`. Raises PluginError, for the row."""
        try:
            self._inner.add(sample)
        except OSError:
            raise
        except Exception as error:
            raise PluginError("output_format", self._name, error) from None

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        """See `ShardWriter.finish`. Raises OSError: the shard is lost."""
        records: list[FileRecord] = self._lost(self._inner.finish, metadata)
        return records

    def abort(self) -> None:
        """See `ShardWriter.abort`."""
        self._lost(self._inner.abort)

    def _lost(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call it; what it raises becomes an OSError, which costs the shard and ends the run."""
        try:
            return function(*arguments)
        except OSError:
            raise
        except Exception as error:
            kind = type(error).__name__
            raise OSError(f"output format {self._name} raised {kind}: {error}") from error
