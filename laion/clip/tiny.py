"""Trains a very small CLIP model on pictures of shapes, in a minute, on a CPU.

Where no weights can be had it makes scores mean something: it is open_clip's own class, from a
JSON file as open_clip has them, so that everything around it is the same as for a large model.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from img2ds.config.flags import at_least, flag
from img2ds.core.failure import UsageError
from img2ds.image.decode import decode
from img2ds.image.encode import make_encoder
from img2ds.image.header import Header
from laion.clip.embed import Embedder
from laion.clip.model import ModelSpec, new_model, new_tokenizer, require_open_clip
from laion.clip.prepare import Cut, Pixels, Preparer, Settings, plan_axes, stack
from laion.clip.shapes import (
    BOTH,
    COLOUR_ALONE,
    COLOURS,
    SHAPE_ALONE,
    SHAPES,
    ground,
    pictures,
)

#: The model, as open_clip's model files have it. A small residual network: it learns edges from
#: far fewer pictures than a transformer does.
CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "text_cfg": {
        "context_length": 20,
        "vocab_size": 49408,
        "width": 64,
        "heads": 4,
        "layers": 1,
    },
}

#: OpenAI's, which open_clip takes for models from files.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

#: Cosines are pushed to either side of the paper's threshold, 0.3, with this steepness and margin.
THRESHOLD, SLOPE, MARGIN = 0.3, 20.0, 3.0


@dataclass(frozen=True, kw_only=True)
class TinyOptions:
    """The flags of `laion tiny_clip`."""

    output_folder: str = flag(
        "", "str", "where tiny.json and tiny.pt go: use them as --model and --pretrained"
    )
    seed: int = flag(0, "int", "of the pictures and the weights; the same seed, the same model")
    steps: int = flag(500, "int", "batches of training")
    pictures: int = flag(4096, "int", "pictures to train on")

    def __post_init__(self) -> None:
        if not self.output_folder:
            raise UsageError("--output_folder is required: where tiny.json and tiny.pt go")
        at_least("steps", self.steps, 1)
        at_least("pictures", self.pictures, 32)


@dataclass(frozen=True, slots=True)
class TinyReport:
    """What was written, and how well it tells pairs apart that it has not seen."""

    folder: str
    seconds: float
    auc: float
    passed: float
    refused: float
    exit_code: int = 0

    @property
    def text(self) -> str:
        return (
            f"wrote {self.folder}/tiny.json and tiny.pt in {self.seconds:.0f} s\n"
            f"on held-out pairs: AUC {self.auc:.4f}; {self.passed:.1%} of the matched captions "
            f"reach {THRESHOLD}, {self.refused:.1%} of the mismatched ones do not\n"
            f"use: laion score --model {self.folder}/tiny.json --pretrained {self.folder}/tiny.pt"
        )


def run(options: TinyOptions) -> TinyReport:
    """Train, write, and measure what was written.

    Raises:
        UsageError: the folder cannot be written to, or open_clip is missing.
    """
    started = time.monotonic()
    folder = os.path.abspath(os.path.expanduser(options.output_folder))
    config, weights = write(folder, options.seed, options.steps, options.pictures)
    auc, passed, refused = judge(Embedder(ModelSpec(config, weights), device="cpu"), options.seed)
    return TinyReport(folder, time.monotonic() - started, auc, passed, refused)


def write(folder: str, seed: int = 0, steps: int = 500, count: int = 4096) -> tuple[str, str]:
    """Train, and write `tiny.json` and `tiny.pt` into a folder; their paths. See `train`.

    Raises:
        UsageError: the folder cannot be written to, or open_clip is missing.
    """
    require_open_clip()
    import torch

    config, weights = os.path.join(folder, "tiny.json"), os.path.join(folder, "tiny.pt")
    try:
        os.makedirs(folder, exist_ok=True)
        with open(config, "w", encoding="utf-8") as file:
            json.dump(CONFIG, file, indent=2)
        with open(weights, "ab"):
            pass  # told now, not after the training
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from None
    model = train(seed, steps, count)
    torch.save(model.state_dict(), weights)
    return config, weights


def train(
    seed: int = 0,
    steps: int = 500,
    count: int = 4096,
    batch: int = 64,
    log: Callable[[str], None] | None = None,
) -> Any:
    """A trained model. The same seed gives the same weights on the same machine.

    One thread: sums keep their order then, and small batches gain little from more.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _train(seed, steps, count, batch, log)
    finally:
        torch.set_num_threads(threads)


def _train(seed: int, steps: int, count: int, batch: int, log: Callable[[str], None] | None) -> Any:
    import torch
    from torch.nn.functional import cross_entropy, normalize, softplus

    images, shapes, colours = _picture_data(seed, count)
    tokens, said_shapes, said_colours, odds = _text_data()
    model = new_model(CONFIG)
    for name, weight in model.named_parameters():
        if name.endswith("bn3.weight"):
            torch.nn.init.ones_(weight)  # residual branches that take part from the start
    # Random vectors are as good as any for the few dozen words there are, and cost nothing.
    model.token_embedding.requires_grad_(False)
    model.logit_scale.requires_grad_(False).fill_(float(np.log(SLOPE)))
    # Naming shape and colour outright gets the network under way; thrown away afterwards.
    naming = torch.nn.Linear(CONFIG["embed_dim"], len(SHAPES) + len(COLOURS))
    trained = [p for p in (*model.parameters(), *naming.parameters()) if p.requires_grad]
    model.visual.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(trained, lr=4e-3, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 4e-3, total_steps=steps, pct_start=0.15
    )
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (MEAN, STD))
    model.train()
    for step in range(steps):
        pick = torch.randint(len(images), (batch,))
        pixels = images[pick].float()
        flipped = torch.rand(batch) < 0.5
        pixels[flipped] = pixels[flipped].flip(-1)
        said = torch.multinomial(odds, batch + batch // 2, replacement=True)
        words = _disturbed(tokens[said])
        inputs = ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
        raw = model.encode_image(inputs)
        cosines = normalize(raw, dim=-1) @ normalize(model.encode_text(words), dim=-1).T
        shape, colour = shapes[pick][:, None], colours[pick][:, None]
        fits_shape = (said_shapes[said] == shape) | (said_shapes[said] == ANY)
        fits_colour = (said_colours[said] == colour) | (said_colours[said] == ANY)
        match = fits_shape & fits_colour
        near = ~match & (fits_shape | fits_colour)
        logits = SLOPE * (cosines - THRESHOLD)
        missed, caught = softplus(MARGIN - logits), softplus(MARGIN + logits)
        loss = _mean(missed, match) + 2 * _mean(caught, near) + _mean(caught, ~match & ~near)
        real = shapes[pick] >= 0
        named = naming(normalize(raw, dim=-1)[real] * 8)
        loss = loss + cross_entropy(named[:, : len(SHAPES)], shapes[pick][real])
        loss = loss + cross_entropy(named[:, len(SHAPES) :], colours[pick][real])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if log and step % 50 == 0:
            log(f"step {step}: loss {loss.item():.3f}")
    model.visual.to(memory_format=torch.contiguous_format)
    return model.eval().requires_grad_(False)


#: In place of the number of a shape or colour: a caption that names none fits any, a picture that
#: has none fits no caption, a caption of other words fits no picture.
ANY, NONE, OTHER = -1, -2, -3


def _mean(values: Any, where: Any) -> Any:
    return (values * where).sum() / where.sum().clamp(min=1)


def _picture_data(seed: int, count: int) -> tuple[Any, Any, Any]:
    """uint8 [n, 3, height, width] as the model gets them, and the numbers of shape and colour."""
    import torch

    rng = np.random.default_rng(seed + 1)
    side = CONFIG["vision_cfg"]["image_size"]
    settings = Settings((side, side), MEAN, STD)
    shorter = (side * 5 // 4, side * 3)
    images = torch.empty((count + count // 24, 3, side, side), dtype=torch.uint8)
    shapes, colours = [], []
    for place, picture in enumerate(pictures(seed, count, shorter=shorter)):
        images[place] = _seen(picture.pixels, rng, settings)
        shapes.append(SHAPES.index(picture.shape))
        colours.append(list(COLOURS).index(picture.colour))
    for place in range(count, len(images)):
        width, height = (int(n) for n in rng.integers(*shorter, 2))
        images[place] = _seen(ground(rng, width, height), rng, settings)
        shapes.append(NONE)
        colours.append(NONE)
    return images, torch.tensor(shapes), torch.tensor(colours)


def _seen(pixels: Pixels, rng: np.random.Generator, settings: Settings) -> Any:
    """A picture as it comes through a data set: often with white borders, mostly as a JPEG."""
    if rng.random() < 0.7:
        height, width = pixels.shape[:2]
        side = max(height, width)
        square = np.full((side, side, 3), 255, np.uint8)
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = pixels
        pixels = square
    height, width = pixels.shape[:2]
    if rng.random() < 0.7:
        body = make_encoder("jpg", int(rng.integers(40, 96)))(pixels)
        pixels = decode(body, Header("jpeg", width, height), (0, 0), width * height)
    rows, columns = plan_axes(width, height, settings)
    cut = Cut(np.ascontiguousarray(pixels), rows, columns, (width, height))
    return Preparer(settings, "cpu").levels(stack([cut]))[0]


def _text_data() -> tuple[Any, Any, Any, Any]:
    """Every caption's tokens, the shape and colour it names, and how often to draw it."""
    import torch

    captions: list[str] = []
    names: list[tuple[int, int]] = []
    odds: list[float] = []

    def add(
        share: float, forms: tuple[str, ...], shapes: tuple[str, ...], colours: list[str]
    ) -> None:
        kinds = [(s, c) for s in shapes or ("",) for c in colours or [""]]
        for form in forms:
            for s, c in kinds:
                captions.append(form.format(s=s, c=c))
                names.append((SHAPES.index(s) if s else ANY, list(COLOURS).index(c) if c else ANY))
                odds.append(share / (len(forms) * len(kinds)))

    add(0.6, BOTH, SHAPES, list(COLOURS))
    add(0.2, SHAPE_ALONE, SHAPES, [])
    add(0.14, COLOUR_ALONE, (), list(COLOURS))
    tokenizer = new_tokenizer(CONFIG["text_cfg"]["context_length"])
    tokens = tokenizer(captions)
    # Other words altogether, which nothing fits.
    strange = torch.zeros((256, tokens.shape[1]), dtype=tokens.dtype)
    for row in strange:
        length = int(torch.randint(1, 9, ()))
        row[0] = START
        row[1 : length + 1] = torch.randint(FIRST_WORD, START, (length,))
        row[length + 1] = END
    tokens = torch.cat([tokens, strange])
    names += [(OTHER, OTHER)] * len(strange)
    odds += [0.06 / len(strange)] * len(strange)
    shapes, colours = torch.tensor(names).unbind(1)
    return tokens, shapes, colours, torch.tensor(odds)


#: Numbers of open_clip's tokens: the first that is more than one letter, start and end of text.
FIRST_WORD, START, END = 512, 49406, 49407


def _disturbed(tokens: Any) -> Any:
    """A third of the captions with up to six other words around them."""
    import torch

    tokens = tokens.clone()
    for row in (torch.rand(len(tokens)) < 0.35).nonzero().flatten().tolist():
        end = int(tokens[row].argmax())
        before, after = (int(n) for n in torch.randint(0, 4, (2,)))
        if end + before + after < tokens.shape[1]:
            said = tokens[row, 1:end].clone()
            tokens[row, 1 : end + before + after] = torch.randint(
                FIRST_WORD, START, (end - 1 + before + after,)
            )
            tokens[row, 1 + before : end + before] = said
            tokens[row, end + before + after] = END
    return tokens


def judge(embedder: Embedder, seed: int = 0, count: int = 256) -> tuple[float, float, float]:
    """AUC of matched against mismatched captions of new pictures, and the shares of the matched
    that reach the threshold and of the mismatched that do not.
    """
    encode = make_encoder("jpg", 95)
    held_out = list(pictures(seed + 1_000_003, count))
    image = embedder.images([encode(picture.pixels) for picture in held_out])
    cosines = image @ embedder.texts([picture.caption for picture in held_out]).T
    kinds = np.array([f"{picture.colour} {picture.shape}" for picture in held_out])
    same = kinds[:, np.newaxis] == kinds
    matched, others = np.diag(cosines), np.sort(cosines[~same])
    auc = float(np.searchsorted(others, matched).mean() / len(others))
    return auc, float((matched >= THRESHOLD).mean()), float((others < THRESHOLD).mean())
