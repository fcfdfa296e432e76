"""What the header of an image file states: format, size, and the metadata that decoding needs."""

from __future__ import annotations

from dataclasses import dataclass

#: Longest ICC profile that is used, in bytes; printer profiles have 500 kB.
MAX_ICC = 2_000_000
#: Bytes of the header of an ICC profile (ICC.1:2022 7.2).
_ICC_HEADER = 128


@dataclass(slots=True)
class Header:
    """The header of one image. Sizes are in pixels as stored, before EXIF orientation.

    Attributes:
        format: a key of `sniff.FORMATS`.
        channels: colour components, alpha not counted.
        depth: bits a component.
        palette: whether pixels are indices of a colour table.
        transparent: whether there is an alpha channel or a transparent colour. Colours are then
            converted while the image is decoded, before white is put behind it.
        animated: whether there is more than one frame.
        lossless: whether a JPEG is of the lossless process, which has no DCT to be scaled.
        complete: whether the end of the file is there, as far as the format tells.
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
    animated: bool = False
    lossless: bool = False
    complete: bool = True
    exif: bytes | None = None
    icc: bytes | None = None


def plausible_icc(profile: bytes) -> bytes | None:
    """Return the profile; None if it is shorter than a profile's header, or longer than MAX_ICC."""
    return profile if _ICC_HEADER < len(profile) <= MAX_ICC else None
