"""Trains a very small CLIP model on images of shapes, on one core of a CPU. Needs torch.

The loss pushes the cosines of matching and other captions to either side of a threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from img2ds.image.decode import decode
from img2ds.image.encode import make_encoder
from img2ds.image.header import Header
from laion.clip.batch import stack
from laion.clip.crop import Crop, Pixels
from laion.clip.geometry import PreprocessConfig, plan_axes
from laion.clip.open_clip_library import new_model, new_tokenizer
from laion.clip.preprocess import Preprocessor
from laion.clip.shapes import BOTH, COLOUR_ALONE, COLOURS, SHAPE_ALONE, SHAPES, ground, shape_images

#: The model in the form of open_clip's model files. A small residual network: it learns edges from
#: far fewer images than a transformer does.
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

#: Steps between two lines of the log: some three seconds on one core.
LOG_EVERY = 25

#: OpenAI's normalisation, which open_clip uses for models from files.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

#: The loss separates cosines at the paper's threshold, with this steepness and margin.
THRESHOLD, SLOPE, MARGIN = 0.3, 20.0, 3.0

#: Used instead of the number of a shape or colour: a caption without one fits any, an image
#: without one fits no caption, and a caption of other words fits no image.
ANY, NONE, OTHER = -1, -2, -3

#: Tokens of open_clip: the first of more than one letter, start and end of text.
FIRST_WORD, START, END = 512, 49406, 49407


@dataclass(slots=True)
class _Images:
    """`pixels` is uint8 [n, 3, height, width]; shapes and colours are numbers [n]."""

    pixels: Any
    shapes: Any
    colours: Any


@dataclass(slots=True)
class _Captions:
    """`tokens` is [n, context length], `odds` the relative frequency of each caption."""

    tokens: Any
    shapes: Any
    colours: Any
    odds: Any


def train(
    seed: int = 0,
    steps: int = 500,
    count: int = 4096,
    batch: int = 64,
    log: Callable[[str], None] | None = None,
) -> Any:
    """Return a trained model. The same seed gives the same weights on the same machine.

    It uses one thread: sums keep their order then, and small batches gain little from more.

    Args:
        log: is given a line every few seconds.
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

    if log:
        log(f"drawing {count} images")
    images, captions = _image_data(seed, count), _caption_data()
    model = new_model(CONFIG)
    for name, weight in model.named_parameters():
        if name.endswith("bn3.weight"):
            torch.nn.init.ones_(weight)  # residual branches that take part from the start
    # Random vectors are as good as trained ones for a few dozen words, and cost nothing.
    model.token_embedding.requires_grad_(False)
    model.logit_scale.requires_grad_(False).fill_(float(np.log(SLOPE)))
    # Classifying shape and colour gets the network started; the classifier is not kept.
    classifier = torch.nn.Linear(CONFIG["embed_dim"], len(SHAPES) + len(COLOURS))
    trained = [p for p in (*model.parameters(), *classifier.parameters()) if p.requires_grad]
    model.visual.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(trained, lr=4e-3, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 4e-3, total_steps=steps, pct_start=0.15
    )
    model.train()
    for step in range(steps):
        loss = _batch_loss(model, classifier, images, captions, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if log and (step % LOG_EVERY == 0 or step == steps - 1):
            log(f"step {step + 1} of {steps}: loss {loss.item():.3f}")
    model.visual.to(memory_format=torch.contiguous_format)
    return model.eval().requires_grad_(False)


def _batch_loss(
    model: Any, classifier: Any, images: _Images, captions: _Captions, batch: int
) -> Any:
    """Return the loss of `batch` random images against half as many captions again."""
    import torch
    from torch.nn.functional import cross_entropy, normalize, softplus

    pick = torch.randint(len(images.pixels), (batch,))
    pixels = images.pixels[pick].float()
    flipped = torch.rand(batch) < 0.5
    pixels[flipped] = pixels[flipped].flip(-1)
    drawn = torch.multinomial(captions.odds, batch + batch // 2, replacement=True)
    tokens = _with_other_words(captions.tokens[drawn])
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (MEAN, STD))
    inputs = ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
    raw = model.encode_image(inputs)
    cosines = normalize(raw, dim=-1) @ normalize(model.encode_text(tokens), dim=-1).T
    shapes, colours = images.shapes[pick], images.colours[pick]
    fits_shape = _fits(captions.shapes[drawn], shapes)
    fits_colour = _fits(captions.colours[drawn], colours)
    match = fits_shape & fits_colour
    near = ~match & (fits_shape | fits_colour)
    logits = SLOPE * (cosines - THRESHOLD)
    missed, caught = softplus(MARGIN - logits), softplus(MARGIN + logits)
    loss = _mean(missed, match) + 2 * _mean(caught, near) + _mean(caught, ~match & ~near)
    real = shapes >= 0
    classes = classifier(normalize(raw, dim=-1)[real] * 8)
    loss = loss + cross_entropy(classes[:, : len(SHAPES)], shapes[real])
    return loss + cross_entropy(classes[:, len(SHAPES) :], colours[real])


def _fits(named: Any, shown: Any) -> Any:
    """Return [images, captions]: whether each caption names what each image shows, or nothing."""
    return (named == shown[:, None]) | (named == ANY)


def _mean(values: Any, where: Any) -> Any:
    return (values * where).sum() / where.sum().clamp(min=1)


def _image_data(seed: int, count: int) -> _Images:
    """Draw `count` images of shapes, and a few without any."""
    import torch

    rng = np.random.default_rng(seed + 1)
    side = CONFIG["vision_cfg"]["image_size"]
    config = PreprocessConfig((side, side), MEAN, STD)
    shorter = (side * 5 // 4, side * 3)
    pixels = torch.empty((count + count // 24, 3, side, side), dtype=torch.uint8)
    shapes, colours = [], []
    for place, image in enumerate(shape_images(seed, count, shorter=shorter)):
        pixels[place] = _downloaded(image.pixels, rng, config)
        shapes.append(SHAPES.index(image.shape))
        colours.append(list(COLOURS).index(image.colour))
    for place in range(count, len(pixels)):
        width, height = (int(n) for n in rng.integers(*shorter, 2))
        pixels[place] = _downloaded(ground(rng, width, height), rng, config)
        shapes.append(NONE)
        colours.append(NONE)
    return _Images(pixels, torch.tensor(shapes), torch.tensor(colours))


def _downloaded(pixels: Pixels, rng: np.random.Generator, config: PreprocessConfig) -> Any:
    """Return an image as it comes out of a dataset: often with white borders, mostly a JPEG."""
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
    rows, columns = plan_axes(width, height, config)
    crop = Crop(np.ascontiguousarray(pixels), rows, columns, (width, height))
    return Preprocessor(config, "cpu").levels(stack([crop]))[0]


def _caption_data() -> _Captions:
    """Return every caption, what it names, and captions of other words."""
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
    tokens = new_tokenizer(CONFIG["text_cfg"]["context_length"])(captions)
    other = torch.zeros((256, tokens.shape[1]), dtype=tokens.dtype)
    for row in other:
        length = int(torch.randint(1, 9, ()))
        row[0] = START
        row[1 : length + 1] = torch.randint(FIRST_WORD, START, (length,))
        row[length + 1] = END
    tokens = torch.cat([tokens, other])
    names += [(OTHER, OTHER)] * len(other)
    odds += [0.06 / len(other)] * len(other)
    shapes, colours = torch.tensor(names).unbind(1)
    return _Captions(tokens, shapes, colours, torch.tensor(odds))


def _with_other_words(tokens: Any) -> Any:
    """Put up to six other words around a third of the captions."""
    import torch

    tokens = tokens.clone()
    for row in (torch.rand(len(tokens)) < 0.35).nonzero().flatten().tolist():
        end = int(tokens[row].argmax())
        before, after = (int(n) for n in torch.randint(0, 4, (2,)))
        if end + before + after < tokens.shape[1]:
            caption = tokens[row, 1:end].clone()
            tokens[row, 1 : end + before + after] = torch.randint(
                FIRST_WORD, START, (end - 1 + before + after,)
            )
            tokens[row, 1 + before : end + before] = caption
            tokens[row, end + before + after] = END
    return tokens
