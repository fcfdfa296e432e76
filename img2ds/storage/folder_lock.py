"""The contract of a held lock on a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType


class FolderLock(ABC):
    """A held lock: a context manager that releases it."""

    @property
    @abstractmethod
    def lost(self) -> bool:
        """Whether another run has taken over the folder."""

    @abstractmethod
    def release(self) -> None:
        """Release the lock, unless it is lost."""

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
