"""Bytes to `Encoded | Failure`: inspect the header, then render the picture.

Two steps, so that the caller knows what a picture costs before it is decoded, and where.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason, failure
from img2ds.core.sample import Body, Encoded
from img2ds.image.blur import Boxes, blur, turned
from img2ds.image.decode import BombError, DecodeError, decode
from img2ds.image.encode import EncodeError, make_encoder, make_plane_encoder
from img2ds.image.exif import exif_json
from img2ds.image.geometry import Geometry, plan_geometry
from img2ds.image.icc import is_srgb, to_srgb
from img2ds.image.jpeg import decode_planes, reduction
from img2ds.image.orient import Pixels, read_orientation, swaps_sides
from img2ds.image.planes import Planes, can_resize, resize_planes
from img2ds.image.resize import placed, resize
from img2ds.image.sniff import Header, sniff

#: Pixels from which decoding takes over 20 ms on a core of 2020: JPEG 6 ms a million (entropy
#: decoding, at any DCT scale), PNG 17, WebP and GIF 14.
COSTLY_PIXELS = {"jpeg": 3_500_000, "png": 1_200_000, "webp": 1_500_000, "gif": 1_500_000}

_EXTENSIONS = {"jpg": "jpeg", "png": "png", "webp": "webp"}


@dataclass(slots=True)
class Picture:
    """An inspected body. Sizes are those of the upright picture, boxes are in it as stored."""

    body: bytes | bytearray
    header: Header
    orientation: int
    width: int
    height: int
    geometry: Geometry
    costly: bool
    boxes: Boxes = ()


class Transformer:
    """Makes samples' images out of bodies. `render` may be called from another thread."""

    def __init__(self, options: ImageOptions) -> None:
        self._options = options
        self._encode = make_encoder(options.encode_format, options.quality)
        self._encode_planes: Callable[[Planes], bytes] | None = None
        if options.encode_format == "jpg":
            self._encode_planes = make_plane_encoder(options.quality)

    def inspect(self, body: Body, boxes: Boxes = ()) -> Picture | Failure:
        """Judge a body by its header: format, bomb, and the size filters.

        Args:
            boxes: what to blur in it, see `blur`. Such a picture is always encoded anew.
        """
        options = self._options
        data = bytes(body) if isinstance(body, memoryview) else body
        header = sniff(data)
        if isinstance(header, Failure):
            return header
        if header.format not in options.image_formats:
            return failure(Reason.UNWANTED_FORMAT, f"format not wanted: {header.format}")
        width, height = header.width, header.height
        if not width or not height:
            return failure(Reason.DECODE_ERROR, "image without pixels")
        if width * height > options.max_decoded_pixels:
            return failure(Reason.IMAGE_BOMB, "more pixels than max_decoded_pixels")
        if min(width, height) < options.min_image_size:
            return failure(Reason.IMAGE_TOO_SMALL, "image too small")
        if width * height > options.max_image_area:
            return failure(Reason.IMAGE_AREA_TOO_LARGE, "image area too large")
        if max(width, height) / min(width, height) > options.max_aspect_ratio:
            return failure(Reason.ASPECT_RATIO, "aspect ratio too large")
        orientation = read_orientation(header.exif)
        if swaps_sides(orientation):
            width, height = height, width
        geometry = plan_geometry(width, height, options)
        # Sizing the shorter side of a line one pixel high makes a bomb of it.
        enlarged = geometry.resized[0] * geometry.resized[1]
        if geometry.changes and enlarged > options.max_decoded_pixels:
            return failure(Reason.IMAGE_BOMB, "would be resized to more than max_decoded_pixels")
        return Picture(
            data,
            header,
            orientation,
            width,
            height,
            geometry,
            max(header.width * header.height, enlarged) > COSTLY_PIXELS[header.format],
            boxes,
        )

    def render(self, picture: Picture) -> Encoded | Failure:
        """Decode, turn, resize and encode; or keep the bytes where the options say so."""
        options = self._options
        geometry = picture.geometry
        exif = exif_json(picture.header.exif) if options.extract_exif else None
        if options.disable_all_reencoding and not picture.boxes:
            data: Body = picture.body
        else:
            try:
                if self._keeps(picture):
                    self._decode(picture, (1, 1))  # only to know that it can be
                    data = picture.body
                else:
                    data = self._rendered(picture)
            except BombError as error:
                return failure(Reason.IMAGE_BOMB, error.message)
            except DecodeError as error:
                reason = Reason.TRUNCATED_IMAGE if error.truncated else Reason.DECODE_ERROR
                return failure(reason, error.message)
            except EncodeError as error:
                return failure(Reason.ENCODE_ERROR, str(error))
        width, height = geometry.final
        return Encoded(data, width, height, picture.width, picture.height, exif)

    def _keeps(self, picture: Picture) -> bool:
        """Whether skip_reencode holds for this picture: nothing about it needs to change."""
        return (
            self._options.skip_reencode
            and picture.header.format == _EXTENSIONS[self._options.encode_format]
            and picture.orientation == 1
            and not picture.header.transparent
            and not picture.geometry.changes
            and not picture.boxes
        )

    def _rendered(self, picture: Picture) -> bytes:
        options, geometry = self._options, picture.geometry
        name = options.upscale_interpolation
        if geometry.shrinks:
            name = options.downscale_interpolation
        # DCT scaling is averaging over areas; for another filter it would be another picture.
        least, averages = (0, 0), geometry.shrinks and name == "area"
        if averages:
            least = geometry.resized
            if swaps_sides(picture.orientation):
                least = (least[1], least[0])
        declined = False
        if self._encode_planes is not None and _stays_in_planes(picture, name):
            scale = reduction(picture.header, least)
            planes = decode_planes(picture.body, scale, coarse=averages)
            if planes is not None:
                planes = resize_planes(planes, geometry, picture.orientation, name)
                return self._encode_planes(planes)
            declined = True
        pixels = self._decode(picture, least, declined)
        if picture.boxes:
            # Between resizing and what is cut or added, as img2dataset: nothing of a border
            # gets into the blur, nor is it missing what is cut.
            whole = replace(geometry, final=geometry.resized, left=0, top=0)
            pixels = resize(pixels, whole, picture.orientation, name)
            pixels = blur(pixels, turned(picture.boxes, picture.orientation))
            pixels = placed(pixels, geometry)
        else:
            pixels = resize(pixels, geometry, picture.orientation, name)
        # Colours are converted last, when there are the fewest of them.
        if picture.header.icc is not None and picture.header.channels != 4:
            pixels = to_srgb(pixels, picture.header.icc)
        return self._encode(pixels)

    def _decode(self, picture: Picture, least: tuple[int, int], declined: bool = False) -> Pixels:
        most = self._options.max_decoded_pixels
        return decode(picture.body, picture.header, least, most, declined=declined)


def _stays_in_planes(picture: Picture, name: str) -> bool:
    """Whether a JPEG can become one in luma and chroma: nothing has to be done to it in RGB."""
    header = picture.header
    return (
        header.format == "jpeg"
        and not picture.boxes
        and can_resize(picture.geometry, (picture.width, picture.height), name)
        and (header.icc is None or is_srgb(header.icc))
    )
