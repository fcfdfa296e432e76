"""Filters and transforms of users, between resizing an image and storing it.

A transform gets the pixels that would be encoded. A filter gets the image as it would be stored,
so that the bytes of those it keeps are the same as without it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import cv2
import numpy as np

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason, failure
from img2ds.core.hooks import Filter, Image, Transform
from img2ds.core.plugins import PluginError
from img2ds.core.sample import Body, Encoded
from img2ds.image.decode import decode
from img2ds.image.decode_error import BombError, DecodeError
from img2ds.image.orient import Pixels
from img2ds.image.sniff import sniff
from img2ds.image.transform import InspectedImage, Transformer, finish, undecoded

#: Characters of a filter's reason that are kept.
_LONGEST_REASON = 200


def make_transformer(options: ImageOptions) -> Transformer:
    """Return the transformer that the options ask for; sets up their plug-ins."""
    if options.filter or options.transform:
        return PluginTransformer(options)
    return Transformer(options)


class PluginTransformer(Transformer):
    """A `Transformer` with plug-ins. What they raise fails the image, as `plugin_error`."""

    def __init__(self, options: ImageOptions) -> None:
        super().__init__(options)
        self._filters: list[tuple[str, Filter]] = [(p.label, p.set_up()) for p in options.filter]
        self._transforms: list[tuple[str, Transform]] = [
            (p.label, p.set_up()) for p in options.transform
        ]
        if self._transforms:
            self._encode_planes = None  # they want RGB

    def render(self, image: InspectedImage) -> Encoded | Failure:
        """See `Transformer.render`."""
        try:
            encoded = super().render(image)
            if isinstance(encoded, Failure):
                return encoded
            return self._dropped(image, encoded) or encoded
        except PluginError as error:
            return error.failure
        except (BombError, DecodeError) as error:
            return undecoded(error)

    def _skips_reencoding(self, image: InspectedImage) -> bool:
        return not self._transforms and super()._skips_reencoding(image)

    def _rendered(self, image: InspectedImage, *, declined: bool) -> Pixels:
        pixels = super()._rendered(image, declined=declined)
        for name, transform in self._transforms:
            seen = _seen(image, image.geometry.final, partial(_as_they_are, pixels))
            pixels = _checked(name, _call("transform", name, transform, seen, image))
            size = pixels.shape[1], pixels.shape[0]
            image.geometry = image.geometry._replace(final=size)
        return pixels

    def _dropped(self, image: InspectedImage, encoded: Encoded) -> Failure | None:
        """Return the failure of an image that a filter drops; None if all keep it."""
        size = encoded.width, encoded.height
        seen = _seen(image, size, partial(self._stored, image, encoded.data))
        for name, wanted in self._filters:
            verdict = _call("filter", name, wanted, seen, image)
            if isinstance(verdict, str):
                reason = " ".join(verdict.split())[:_LONGEST_REASON]
                return failure(Reason.FILTERED, f"{name}: {reason}")
            if not isinstance(verdict, (bool, np.bool_)):
                kind = type(verdict).__name__
                raise PluginError("filter", name, f"returned {kind}, not True, False or a reason")
            if not verdict:
                return failure(Reason.FILTERED, f"filtered by {name}")
        return None

    def _stored(self, image: InspectedImage, data: Body) -> Pixels:
        """Decode an image that is about to be stored. Raises BombError, DecodeError."""
        options = self._options
        most = options.max_decoded_pixels
        if data is image.body:
            memory = options.max_decode_memory
            pixels = decode(image.body, image.header, (0, 0), most, memory=memory)
            return finish(pixels, image, self._filter(image))
        body = bytes(data)
        header = sniff(body)
        assert not isinstance(header, Failure)
        pixels = decode(body, header, (0, 0), most)
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if pixels.ndim == 2 else pixels


def _seen(image: InspectedImage, size: tuple[int, int], pixels: Any) -> Image:
    return Image(image.body, size, (image.width, image.height), pixels)


def _as_they_are(pixels: Pixels) -> Pixels:
    return pixels


def _call(flag: str, name: str, function: Any, seen: Image, image: InspectedImage) -> Any:
    try:
        return function(seen, image.row or {})
    except (BombError, DecodeError):  # of the image, not of the plug-in
        raise
    except Exception as error:
        raise PluginError(flag, name, error) from None


def _checked(name: str, pixels: Any) -> Pixels:
    """Return pixels that can be encoded. Raises PluginError for others."""
    if not isinstance(pixels, np.ndarray):
        problem = type(pixels).__name__
    elif pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        problem = f"{pixels.dtype} {list(pixels.shape)}"
    else:
        return np.ascontiguousarray(pixels)
    raise PluginError("transform", name, f"returned {problem}, not uint8 [height, width, 3]")
