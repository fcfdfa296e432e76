"""What the header of an image file states: format, size, and the metadata that decoding needs."""

from __future__ import annotations

from dataclasses import dataclass

#: Longest ICC profile that is used, in bytes; printer profiles have 500 kB.
MAX_ICC = 2_000_000
#: Bytes of the header of an ICC profile (ICC.1:2022 7.2).
_ICC_HEADER = 128


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the first frame of an image lies, in pixels and in the file.

    Attributes:
        at: of a GIF the image descriptor, of a WebP the first chunk of the frame.
        clear: of a GIF the index of the transparent colour.
    """

    left: int
    top: int
    width: int
    height: int
    at: int
    clear: int | None = None

    def covers(self, width: int, height: int) -> bool:
        """Return whether nothing of an image of this size is left uncovered."""
        return (self.left, self.top, self.width, self.height) == (0, 0, width, height)


@dataclass(slots=True)
class Header:
    """The header of one image. Sizes are in pixels as stored, before EXIF orientation.

    Attributes:
        format: a key of `sniff.FORMATS`.
        channels: colour components, alpha not counted.
        depth: bits a component.
        palette: whether pixels are indices of a colour table.
        transparent: whether there is an alpha channel, a transparent colour, or a part that the
            first frame leaves uncovered. Colours are then converted while the image is decoded,
            before white is put behind it.
        lossless: whether a JPEG is of the lossless process, which has no DCT to be scaled; whether
            the pixels of a WebP are.
        complete: whether all pixels are there, as far as the format tells. A PNG without its end
            may have them.
        frame: the first frame, if it is not the whole file.
        passes: whether the pixels come in several passes: scans of a JPEG, Adam7 in a PNG.
        runs: whether the pixels of a BMP or TIFF are compressed in runs.
        planes: of a JPEG the samples of each component, in whole MCUs; of an AVIF the bytes of the
            frames that decoders have.
        blocks: of a JPEG 2000 the code-blocks.
        alpha: of a lossy WebP the bytes a pixel that its alpha takes while it is decoded.
        piece: of a TIFF, BMP or JPEG 2000 the pixels that can be decoded only together.
        part: of a TIFF the same if its large strips or tiles can be decoded row by row; else 0.
        codec: of a TIFF the bytes that its decompressors have besides rows, and copies of data.
        levels: of a JPEG 2000 how often its sides can be halved.
        orientation: of formats that state it outside of EXIF data; None if EXIF decides.
        exif: the TIFF block of the EXIF data.
        icc: the ICC profile, if it has a plausible length.
    """

    format: str
    width: int
    height: int
    channels: int = 3
    depth: int = 8
    palette: bool = False
    transparent: bool = False
    lossless: bool = False
    complete: bool = True
    frame: Frame | None = None
    passes: bool = False
    runs: bool = False
    planes: tuple[int, ...] = ()
    blocks: int = 0
    alpha: int = 0
    piece: int = 0
    part: int = 0
    codec: int = 0
    levels: int = 0
    orientation: int | None = None
    exif: bytes | bytearray | None = None
    icc: bytes | None = None


def plausible_icc(profile: bytes) -> bytes | None:
    """Return the profile; None if it is shorter than a profile's header, or longer than MAX_ICC."""
    return profile if _ICC_HEADER < len(profile) <= MAX_ICC else None
