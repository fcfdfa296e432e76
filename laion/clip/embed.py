"""Embeddings in memory: pictures and texts in, unit rows of float32 out, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import Failure
from laion.clip.device import pick_devices
from laion.clip.model import ClipModel, ModelSpec, Tokens, load
from laion.clip.picture import cut_picture
from laion.clip.prepare import Batch, Cut, Preparer, stack

Rows = npt.NDArray[np.float32]

#: Pictures, or texts, that go through the model at once unless told otherwise: on a device of
#: its own, and on a CPU, whose caches larger batches would only spill.
DEVICE_BATCH, CPU_BATCH = 256, 32


class BadPicture(Exception):
    """A body is no picture that can be decoded: which one of those given, and why."""

    def __init__(self, index: int, failure: Failure) -> None:
        super().__init__(f"picture {index}: {failure.message}")
        self.index = index
        self.failure = failure


@dataclass(slots=True)
class Scored:
    """Embeddings of the pairs that could be made, in the order given.

    `rows` are their places among the pairs given; `failures` says by place why the others have
    none. `image` and `text` are float32 [n, dim] unit rows, `similarity` float32 [n] their cosine.
    """

    rows: list[int]
    image: Rows
    text: Rows
    similarity: Rows
    failures: dict[int, Failure]


class Embedder:
    """A model on a device. Not to be used by several threads at once.

    Attributes:
        dim: length of an embedding.
        batch_size: pictures and texts that go through the model at once.
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
        """Load the model, already fetched or downloaded now.

        Args:
            device: cpu, cuda, cuda:N, or auto, which is cuda where there is one.
            precision: of the model's arithmetic; auto is fp32 on a CPU and bf16 on CUDA, or fp16
                where the device has no bf16. Weights and embeddings are float32 in any case.
            compiled: use torch.compile, whose first batch takes a minute.
            threads: for a CPU; None leaves torch's.

        Raises:
            UsageError: the model or the device cannot be had.
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
        self.prepare = Preparer(self.model.settings, self.device)
        self.dim = int(self.tokens(self.model.tokens(["a"])).shape[1])

    def images(self, pictures: Sequence[bytes | Cut]) -> Rows:
        """float32 [n, dim] unit rows of encoded pictures (JPEG, PNG, WebP, GIF), or decoded ones.

        Raises:
            BadPicture: one of them is no picture; use `decode` first where that may be.
        """
        cuts = []
        found = []
        for index, picture in enumerate(pictures):
            cut = picture if isinstance(picture, Cut) else self.decode(picture)
            if isinstance(cut, Failure):
                raise BadPicture(index, cut)
            cuts.append(cut)
            if len(cuts) == self.batch_size:
                found.append(self.batch(stack(cuts)).numpy(force=True))
                cuts = []
        if cuts:
            found.append(self.batch(stack(cuts)).numpy(force=True))
        return self._joined(found)

    def texts(self, texts: Sequence[str]) -> Rows:
        """float32 [n, dim] unit rows. Texts longer than the model's context are cut off."""
        step = self.batch_size
        return self._joined(
            [
                self.tokens(self.model.tokens(texts[at : at + step])).numpy(force=True)
                for at in range(0, len(texts), step)
            ]
        )

    def pairs(self, bodies: Sequence[bytes], captions: Sequence[str]) -> Scored:
        """Embeddings and cosine of pictures and their captions; bad pictures cost their pair."""
        cuts: list[Cut] = []
        rows: list[int] = []
        failures: dict[int, Failure] = {}
        for place, body in enumerate(bodies):
            cut = self.decode(body)
            if isinstance(cut, Failure):
                failures[place] = cut
            else:
                rows.append(place)
                cuts.append(cut)
        image = self.images(cuts)
        text = self.texts([captions[place] for place in rows])
        return Scored(rows, image, text, (image * text).sum(axis=1), failures)

    def decode(self, body: bytes) -> Cut | Failure:
        """The pixels of a picture that this model needs, or why there are none. Thread-safe."""
        return cut_picture(body, self.model.settings)

    def batch(self, batch: Batch) -> Any:
        """Embed decoded pictures: a float32 tensor on the device, unit rows."""
        return self.prepared(self.prepare.batch(batch))

    def prepared(self, pictures: Any) -> Any:
        """Embed float32 [n, 3, height, width], normalised: a float32 tensor, unit rows."""
        return self._run(self._encode_image, pictures)

    def tokens(self, tokens: Tokens | Any) -> Any:
        """Embed tokens [n, context length]: a float32 tensor on the device, unit rows."""
        import torch

        rows = torch.as_tensor(tokens).to(self.device, non_blocking=True)
        return self._run(self._encode_text, rows)

    def _run(self, encode: Any, rows: Any) -> Any:
        import torch
        from torch.nn.functional import normalize

        count = len(rows)
        if self._compiled and count < self.batch_size:  # another shape is compiled anew
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
