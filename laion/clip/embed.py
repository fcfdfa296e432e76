"""Embeds images and texts in memory: float32 unit rows, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import Failure
from laion.clip.batch import ImageBatch, stack
from laion.clip.crop import Crop, decode_crop
from laion.clip.device import pick_devices
from laion.clip.model import ClipModel, ModelSpec, Tokens, load
from laion.clip.preprocess import Preprocessor

Rows = npt.NDArray[np.float32]

#: Default batch size on a CUDA device, and on a CPU, whose caches a larger batch would overflow.
DEVICE_BATCH, CPU_BATCH = 256, 32


class BadImage(Exception):
    """An image cannot be decoded; `index` is its place among those given."""

    def __init__(self, index: int, failure: Failure) -> None:
        super().__init__(f"image {index}: {failure.message}")
        self.index = index
        self.failure = failure


@dataclass(slots=True)
class ScoredPairs:
    """Embeddings of the pairs whose images can be decoded, in the order given.

    Attributes:
        rows: their places among the pairs given.
        image, text: float32 [n, dim] unit rows.
        similarity: float32 [n], the cosines.
        failures: why the other pairs have no embeddings, by place.
    """

    rows: list[int]
    image: Rows
    text: Rows
    similarity: Rows
    failures: dict[int, Failure]


class Embedder:
    """A model on a device. Not thread-safe, except for `decode`.

    Attributes:
        dim: length of an embedding.
        batch_size: images or texts of a batch.
    """

    def __init__(
        self,
        spec: ModelSpec | ClipModel,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int | None = None,
        compiled: bool = False,
        threads: int | None = None,
    ) -> None:
        """Load the model; download it first if necessary.

        Args:
            device: cpu, cuda, cuda:N, or auto, which is cuda if available.
            precision: auto is fp32 on a CPU and bf16 on CUDA, or fp16 where the device has no
                bf16. Weights and embeddings are float32 in any case.
            compiled: use torch.compile; the first batch takes a minute.
            threads: CPU threads; None keeps torch's setting.

        Raises:
            UsageError: the model cannot be loaded, or there is no such device.
        """
        self.model = load(spec) if isinstance(spec, ModelSpec) else spec
        import torch

        self.device = torch.device(pick_devices([device])[0])
        if self.device.type == "cpu" and threads:
            torch.set_num_threads(threads)
        self.batch_size = batch_size or (CPU_BATCH if self.device.type == "cpu" else DEVICE_BATCH)
        self.precision = _pick_precision(precision, self.device)
        self._module = self.model.module.to(self.device)
        self._encode_image = self._module.encode_image
        self._encode_text = self._module.encode_text
        self._compiled = compiled
        if compiled:
            self._encode_image = torch.compile(self._encode_image, dynamic=False)
            self._encode_text = torch.compile(self._encode_text, dynamic=False)
        self.preprocess = Preprocessor(self.model.config, self.device)
        self.dim = int(self.tokens(self.model.tokens(["a"])).shape[1])

    def images(self, images: Sequence[bytes | Crop]) -> Rows:
        """Return float32 [n, dim] unit rows of encoded (JPEG, PNG, WebP, GIF) or decoded images.

        Raises:
            BadImage: one of them cannot be decoded. Call `decode` first to handle such images.
        """
        crops = []
        found = []
        for index, image in enumerate(images):
            crop = image if isinstance(image, Crop) else self.decode(image)
            if isinstance(crop, Failure):
                raise BadImage(index, crop)
            crops.append(crop)
            if len(crops) == self.batch_size:
                found.append(self.batch(stack(crops)).numpy(force=True))
                crops = []
        if crops:
            found.append(self.batch(stack(crops)).numpy(force=True))
        return self._joined(found)

    def texts(self, texts: Sequence[str]) -> Rows:
        """Return float32 [n, dim] unit rows. Texts are truncated to the context of the model."""
        step = self.batch_size
        return self._joined(
            [
                self.tokens(self.model.tokens(texts[at : at + step])).numpy(force=True)
                for at in range(0, len(texts), step)
            ]
        )

    def pairs(
        self, bodies: Sequence[bytes], captions: Sequence[str], of: Sequence[int] | None = None
    ) -> ScoredPairs:
        """Embed images and their captions; a bad image costs only its own pairs.

        Args:
            of: the image of each caption; by default each image has one.
        """
        of = range(len(bodies)) if of is None else of
        crops: list[Crop] = []
        places: dict[int, int] = {}
        bad: dict[int, Failure] = {}
        for number, body in enumerate(bodies):
            crop = self.decode(body)
            if isinstance(crop, Failure):
                bad[number] = crop
            else:
                places[number] = len(crops)
                crops.append(crop)
        rows = [row for row, number in enumerate(of) if number in places]
        failures = {row: bad[number] for row, number in enumerate(of) if number in bad}
        image = self.images(crops)[[places[of[row]] for row in rows]]
        text = self.texts([captions[place] for place in rows])
        return ScoredPairs(rows, image, text, (image * text).sum(axis=1), failures)

    def decode(self, body: bytes) -> Crop | Failure:
        """Return the crop of an image that this model needs, or why there is none. Thread-safe."""
        return decode_crop(body, self.model.config)

    def batch(self, batch: ImageBatch) -> Any:
        """Embed decoded images: a float32 tensor of unit rows on the device."""
        return self.preprocessed(self.preprocess.batch(batch))

    def preprocessed(self, images: Any) -> Any:
        """Embed normalised float32 [n, 3, height, width]: a float32 tensor of unit rows."""
        return self._run(self._encode_image, images)

    def tokens(self, tokens: Tokens | Any) -> Any:
        """Embed tokens [n, context length]: a float32 tensor of unit rows on the device."""
        import torch

        rows = torch.as_tensor(tokens).to(self.device, non_blocking=True)
        return self._run(self._encode_text, rows)

    def _run(self, encode: Any, rows: Any) -> Any:
        import torch
        from torch.nn.functional import normalize

        count = len(rows)
        if self._compiled and count < self.batch_size:  # another shape would be compiled again
            rows = torch.cat([rows, rows[-1:].expand(self.batch_size - count, *rows.shape[1:])])
        precise = self.precision is torch.float32
        casting = nullcontext() if precise else torch.autocast(self.device.type, self.precision)
        with torch.inference_mode(), casting:
            return normalize(encode(rows)[:count].float(), dim=-1)

    def _joined(self, found: list[Rows]) -> Rows:
        return np.concatenate(found) if found else np.empty((0, self.dim), np.float32)


def _pick_precision(precision: str, device: Any) -> Any:
    import torch

    if precision == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
