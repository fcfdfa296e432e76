"""Image bytes to a finished sample: inspect the header, then render.

Two steps, so that the caller knows the cost of an image before it is decoded, and decides in which
thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason, failure
from img2ds.core.hooks import RowValues
from img2ds.core.img2dataset_messages import NOT_DECODED
from img2ds.core.sample import Body, Encoded
from img2ds.image.blur import blur
from img2ds.image.boxes import Boxes, orient_boxes
from img2ds.image.cost import decode_cost
from img2ds.image.decode import decode
from img2ds.image.decode_error import TOO_MUCH_MEMORY, BombError, DecodeError
from img2ds.image.encode import EncodeError, make_encoder, make_plane_encoder
from img2ds.image.exif import exif_json
from img2ds.image.geometry import Geometry, plan_geometry
from img2ds.image.header import Header
from img2ds.image.icc import Conversion, conversion
from img2ds.image.image_pdq import SIDE, can_hash, decode_for_pdq, pixels_pdq
from img2ds.image.jpeg import decode_planes, reduction
from img2ds.image.orient import Pixels, orientation_of, swaps_sides
from img2ds.image.planes import Planes, can_resize, resize_planes
from img2ds.image.resize import pad_or_crop, resize
from img2ds.image.sniff import FORMATS, sniff

#: Bytes of a pixel that is rendered.
_RGB = 3
#: Reasons that img2dataset does not tell apart, besides formats that are not read.
_UNDECODABLE = {Reason.TRUNCATED_IMAGE.value, Reason.DECODE_ERROR.value}


@dataclass(slots=True)
class InspectedImage:
    """An image whose header was accepted.

    Attributes:
        width, height: of the upright image.
        costly: whether it takes long to decode or to resize.
        memory: the most bytes that rendering takes besides the body.
        boxes: to be blurred; in fractions of the image as stored.
        hashed: whether its PDQ hash is wanted, and not known yet.
        pdq: the hash, None also where there is none.
        row: the values of its row, where plug-ins want them.
    """

    body: bytes | bytearray
    header: Header
    orientation: int
    width: int
    height: int
    geometry: Geometry
    costly: bool
    memory: int
    boxes: Boxes = ()
    hashed: bool = False
    pdq: bytes | None = None
    row: RowValues | None = None


class Transformer:
    """Transforms bodies to the images of samples. `render` may be called from any thread."""

    def __init__(self, options: ImageOptions) -> None:
        self._options = options
        self._encode = make_encoder(options.encode_format, options.quality)
        self._encode_planes: Callable[[Planes], bytes] | None = None
        if options.encode_format == "jpg":
            self._encode_planes = make_plane_encoder(options.quality)

    def close(self) -> int:
        """End what was started for rendering."""
        return 0

    def inspect(
        self, body: Body, boxes: Boxes = (), hashed: bool = False
    ) -> InspectedImage | Failure:
        """Check a body by its header: format, decompression bombs, size filters.

        Args:
            boxes: to be blurred; an image with boxes is always re-encoded.
            hashed: whether its PDQ hash is wanted, for which it is decoded in any case.
        """
        data = bytes(body) if isinstance(body, memoryview) else body
        header = sniff(data)
        if isinstance(header, Failure):
            undecodable = header.reason in _UNDECODABLE
            return replace(header, img2dataset=NOT_DECODED) if undecodable else header
        refused = self._refuse(header)
        if refused is not None:
            return refused
        width, height = header.width, header.height
        orientation = orientation_of(header)
        if swaps_sides(orientation):
            width, height = height, width
        geometry = plan_geometry(width, height, self._options)
        # Resizing by the shorter side enlarges a line one pixel high to a bomb.
        resized = geometry.resized[0] * geometry.resized[1]
        if geometry.changes and resized > self._options.max_decoded_pixels:
            return failure(Reason.IMAGE_BOMB, "would be resized to more than max_decoded_pixels")
        costly = max(width * height, resized) > FORMATS[header.format].costly_pixels
        image = InspectedImage(
            data, header, orientation, width, height, geometry, costly, 0, boxes, hashed
        )
        image.memory = self._memory(image)
        if image.memory > self._options.max_decode_memory:
            return failure(Reason.IMAGE_BOMB, TOO_MUCH_MEMORY)
        return image

    def _memory(self, image: InspectedImage) -> int:
        """Return the most bytes that rendering takes; more than allowed if decoding alone does."""
        limit = self._options.max_decode_memory
        hashing = 0
        if image.hashed:
            cost = decode_cost(image.header, len(image.body), (SIDE, SIDE))
            if cost.least > limit:
                return cost.least
            hashing = min(limit, cost.most)
        if self._options.disable_all_reencoding and not image.boxes:
            return hashing
        cost = decode_cost(image.header, len(image.body), self._min_size(image))
        if cost.least > limit:
            return cost.least
        # The decoded pixels, resized, final, and encoded ones.
        geometry = image.geometry
        rendered = cost.result + _RGB * (prod(geometry.resized) + 2 * prod(geometry.final))
        # The EXIF data of a TIFF are the file, of which a copy is read.
        copied = len(image.body) if image.header.exif is image.body else 0
        return min(limit, max(cost.most, rendered, copied, hashing))

    def _filter(self, image: InspectedImage) -> str:
        """Return the name of the filter that an image is resized by."""
        options = self._options
        shrinks = image.geometry.shrinks
        return options.downscale_interpolation if shrinks else options.upscale_interpolation

    def _min_size(self, image: InspectedImage) -> tuple[int, int]:
        """Return the least size that an image may be decoded at; (0, 0) for its own.

        Decoding at a fraction of the size averages over areas. For another filter the result would
        differ.
        """
        if self._skips_reencoding(image):
            return 1, 1  # its pixels are not used
        if not image.geometry.shrinks or self._filter(image) != "area":
            return 0, 0
        width, height = image.geometry.resized
        return (height, width) if swaps_sides(image.orientation) else (width, height)

    def _refuse(self, header: Header) -> Failure | None:
        options, width, height = self._options, header.width, header.height
        if header.format not in options.image_formats:
            return failure(Reason.UNWANTED_FORMAT, f"format not wanted: {header.format}")
        if not width or not height:
            return failure(Reason.DECODE_ERROR, "image without pixels", NOT_DECODED)
        if width * height > options.max_decoded_pixels:
            return failure(Reason.IMAGE_BOMB, "more pixels than max_decoded_pixels")
        shorter, longer = (width, height) if width < height else (height, width)
        if shorter < options.min_image_size:
            return failure(Reason.IMAGE_TOO_SMALL, "image too small")
        if width * height > options.max_image_area:
            return failure(Reason.IMAGE_AREA_TOO_LARGE, "image area too large")
        if longer / shorter > options.max_aspect_ratio:
            return failure(Reason.ASPECT_RATIO, "aspect ratio too large")
        return None

    def render(self, image: InspectedImage) -> Encoded | Failure:
        """Decode, orient, resize and encode; or keep the bytes if the options say so."""
        options = self._options
        try:
            data = self._data(image)
            if image.hashed:  # nothing was decoded, or too small
                limits = options.max_decoded_pixels, options.max_decode_memory
                _hash(image, decode_for_pdq(image.body, image.header, *limits))
        except (BombError, DecodeError) as error:
            return undecoded(error)
        except EncodeError as error:
            return failure(Reason.ENCODE_ERROR, str(error))
        exif = exif_json(image.header.exif) if options.extract_exif else None
        width, height = image.geometry.final
        return Encoded(data, width, height, image.width, image.height, exif, image.pdq)

    def _data(self, image: InspectedImage) -> Body:
        if self._options.disable_all_reencoding and not image.boxes:
            return image.body
        if self._skips_reencoding(image):
            self._decode(image)  # refuses what cannot be decoded
            return image.body
        return self._reencode(image)

    def _skips_reencoding(self, image: InspectedImage) -> bool:
        """Return whether skip_reencode applies: nothing about the image has to change."""
        return (
            self._options.skip_reencode
            and FORMATS[image.header.format].extension == self._options.encode_format
            and image.orientation == 1
            and not image.header.transparent
            and not image.geometry.changes
            and not image.boxes
        )

    def _reencode(self, image: InspectedImage) -> bytes:
        declined = False
        name = self._filter(image)
        if self._encode_planes is not None and _stays_in_planes(image, name):
            min_size = self._min_size(image)
            scale = reduction(image.header, min_size)
            coarse = min_size != (0, 0)
            planes = decode_planes(image.body, image.header, scale, coarse=coarse)
            if planes is not None:
                _hash(image, planes.y)
                planes = resize_planes(planes, image.geometry, image.orientation, name)
                return self._encode_planes(planes)
            declined = True
        return self._encode(self._rendered(image, declined=declined))

    def _rendered(self, image: InspectedImage, *, declined: bool) -> Pixels:
        """Return the pixels to encode."""
        return finish(self._decode(image, declined=declined), image, self._filter(image))

    def _decode(self, image: InspectedImage, *, declined: bool = False) -> Pixels:
        options = self._options
        pixels = decode(
            image.body,
            image.header,
            self._min_size(image),
            options.max_decoded_pixels,
            declined=declined,
            memory=options.max_decode_memory,
        )
        _hash(image, pixels)
        return pixels


def _hash(image: InspectedImage, pixels: Pixels) -> None:
    """Take the hash of an image from decoded pixels, if it is wanted and they are large enough."""
    if image.hashed and can_hash(pixels, image.header):
        size = image.header.width, image.header.height
        image.pdq, image.hashed = pixels_pdq(pixels, size, image.orientation), False


def undecoded(error: BombError | DecodeError) -> Failure:
    """Return the failure of an image that cannot be decoded."""
    if isinstance(error, BombError):
        return failure(Reason.IMAGE_BOMB, error.message)
    reason = Reason.TRUNCATED_IMAGE if error.truncated else Reason.DECODE_ERROR
    return failure(reason, error.message, NOT_DECODED)


def finish(pixels: Pixels, image: InspectedImage, filter_name: str) -> Pixels:
    """Resize decoded pixels, convert their colours, blur boxes, and pad or crop."""
    geometry, convert = image.geometry, _conversion(image.header)
    if not image.boxes and (convert is None or not geometry.pads):
        pixels = resize(pixels, geometry, image.orientation, filter_name)
        return pixels if convert is None else convert(pixels)
    # After resizing, when there are the fewest pixels, and before padding: the border is white in
    # sRGB. Blurring is before padding or cropping, as img2dataset does it: the border is not
    # blurred in, and the blur includes what is cropped away.
    whole = geometry._replace(final=geometry.resized, left=0, top=0)
    pixels = resize(pixels, whole, image.orientation, filter_name)
    if convert is not None:
        pixels = convert(pixels)
    if image.boxes:
        pixels = blur(pixels, orient_boxes(image.boxes, image.orientation))
    return pad_or_crop(pixels, geometry)


def _conversion(header: Header) -> Conversion | None:
    """Return the conversion of colours that decoding leaves to be done."""
    if header.icc is None or header.transparent or header.channels == 4:
        return None
    return conversion(header.icc, header.channels)


def _stays_in_planes(image: InspectedImage, filter_name: str) -> bool:
    """Return whether a JPEG can be resized in luma and chroma, without a conversion to RGB."""
    header = image.header
    return (
        header.format == "jpeg"
        and not image.boxes
        and can_resize(image.geometry, (image.width, image.height), filter_name)
        and _conversion(header) is None
    )
