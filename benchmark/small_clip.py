"""Trains CLIP's own loss on pairs, small and from scratch, and judges it on clean pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from laion.clip.batch import stack
from laion.clip.crop import Crop, decode_crop
from laion.clip.geometry import PreprocessConfig
from laion.clip.open_clip_library import new_model, new_tokenizer
from laion.clip.preprocess import Preprocessor
from laion.clip.shapes import COLOURS, SHAPES
from laion.clip.tiny_training import CONFIG, MEAN, STD

BATCH = 64
#: The temperature is learned from here, as in CLIP.
LOGIT_SCALE = float(np.log(1 / 0.07))
RATE = 3e-3

SIDE = CONFIG["vision_cfg"]["image_size"]
KINDS = [(shape, colour) for shape in SHAPES for colour in COLOURS]


def pixels_of(bodies: Sequence[bytes]) -> Any:
    """Return the images as the model sees them, uint8 [n, 3, side, side]."""
    import torch

    config = PreprocessConfig((SIDE, SIDE), MEAN, STD)
    preprocess = Preprocessor(config, "cpu")
    found = []
    for body in bodies:
        crop = decode_crop(body, config)
        assert isinstance(crop, Crop)
        found.append(preprocess.levels(stack([crop]))[0])
    return torch.stack(found)


def tokens_of(captions: Sequence[str]) -> Any:
    """Return int64 [n, context length]."""
    return new_tokenizer(CONFIG["text_cfg"]["context_length"])(list(captions))


def train(pixels: Any, tokens: Any, steps: int, seed: int) -> Any:
    """Return a model that has seen `steps` batches of these pairs."""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = new_model(CONFIG)
    for name, weight in model.named_parameters():
        if name.endswith("bn3.weight"):
            torch.nn.init.ones_(weight)
    with torch.no_grad():
        model.logit_scale.fill_(LOGIT_SCALE)
    # Random vectors are as good as trained ones for a few dozen words, and cost nothing.
    model.token_embedding.requires_grad_(False)
    model.visual.to(memory_format=torch.channels_last)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=steps, pct_start=0.15
    )
    model.train()
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < BATCH:  # the next epoch
            order = torch.cat([order, torch.randperm(len(pixels))])
        pick, order = order[:BATCH], order[BATCH:]
        images = normalize(model.encode_image(_inputs(pixels[pick])), dim=-1)
        texts = normalize(model.encode_text(tokens[pick]), dim=-1)
        logits = model.logit_scale.exp().clamp(max=100) * images @ texts.T
        target = torch.arange(len(pick))
        loss = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return model.eval()


def accuracy(model: Any, pixels: Any, kinds: Sequence[tuple[str, str]]) -> float:
    """Return the share of images whose kind is the most similar of all 32 (chance: 3 %)."""
    import torch
    from torch.nn.functional import normalize

    prompts = [f"a {colour} {shape}" for shape, colour in KINDS]
    with torch.inference_mode():
        texts = normalize(model.encode_text(tokens_of(prompts)), dim=-1)
        images = torch.cat(
            [
                normalize(model.encode_image(_inputs(pixels[at : at + BATCH])), dim=-1)
                for at in range(0, len(pixels), BATCH)
            ]
        )
        best = (images @ texts.T).argmax(dim=1).tolist()
    return float(np.mean([KINDS[found] == kind for found, kind in zip(best, kinds, strict=True)]))


def _inputs(pixels: Any) -> Any:
    import torch

    mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (MEAN, STD))
    return ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)
