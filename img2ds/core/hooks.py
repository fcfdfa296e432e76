"""What filters and transforms of users are given, and what checkers know of other plug-ins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from img2ds.core.naming import FormatNames

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: The values of a row by column: key, url, caption where there is one, and the additional columns.
RowValues = Mapping[str, Any]


class Image:
    """An image of a row, as a filter or a transform sees it.

    Attributes:
        body: the response, as it was downloaded.
        width, height: pixels of the image as it is, or would be, stored.
        original_width, original_height: pixels of the original, upright.
    """

    __slots__ = (
        "_decode",
        "_pixels",
        "body",
        "height",
        "original_height",
        "original_width",
        "width",
    )

    def __init__(
        self,
        body: bytes | bytearray,
        size: tuple[int, int],
        original_size: tuple[int, int],
        decode: Callable[[], npt.NDArray[np.uint8]],
    ) -> None:
        self.body = body
        self.width, self.height = size
        self.original_width, self.original_height = original_size
        self._decode = decode
        self._pixels: npt.NDArray[np.uint8] | None = None

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """RGB, uint8 [height, width, 3]: resized, upright, on white. Decoded at the first use."""
        if self._pixels is None:
            self._pixels = self._decode()
        return self._pixels


#: Decides whether an image is kept: True keeps it; False, or a reason in words, drops its row.
Filter = Callable[[Image, RowValues], bool | str]
#: Returns the pixels to store, RGB, uint8 [height, width, 3], of any size.
Transform = Callable[[Image, RowValues], "npt.NDArray[np.uint8]"]


class NamedFormat(Protocol):
    """An output format, as far as its names; see `formats.contract.OutputFormat`."""

    @property
    def names(self) -> FormatNames: ...


class OpensLists(Protocol):
    """An input format; see `source.source.InputFormat`."""

    @property
    def open(self) -> Callable[..., Any]: ...
