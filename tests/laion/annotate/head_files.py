"""Small files of heads in the layouts of LAION's predictors, and the torch modules they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn


class Normalized(nn.Module):
    """The layout of LAION's NSFW detectors for B/32 and L/14."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm: Any = nn.Module()
        self.norm.register_buffer("mean", torch.randn(dim) / 10)
        self.norm.register_buffer("variance", torch.rand(dim) + 0.1)
        self.linear_1, self.linear_2 = nn.Linear(dim, 6), nn.Linear(6, 4)
        self.linear_3 = nn.Linear(4, 1)

    def forward(self, x: Any) -> Any:
        x = (x - self.norm.mean) / (self.norm.variance.sqrt() + 1e-10)
        x = torch.relu(self.linear_2(torch.relu(self.linear_1(x))))
        return torch.sigmoid(self.linear_3(x))


class Stack(nn.Module):
    """A module whose `nn.Sequential` is called `layers`."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Any) -> Any:
        return self.layers(x)


def module(layout: str, dim: int, seed: int = 0) -> nn.Module:
    """Return a head of a layout, with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    drop = nn.Dropout(0.2)
    kinds: dict[str, Any] = {
        "linear": lambda: nn.Linear(dim, 1),
        "aesthetic": lambda: Stack(
            nn.Linear(dim, 8), drop, nn.Linear(8, 6), drop, nn.Linear(6, 5), drop,
            nn.Linear(5, 3), nn.Linear(3, 1),
        ),
        "relu": lambda: Stack(
            nn.Linear(dim, 8), nn.ReLU(), drop, nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 1),
        ),
        "h14": lambda: Stack(
            nn.Linear(dim, 8), nn.ReLU(), drop, nn.Linear(8, 6), nn.ReLU(), drop,
            nn.Linear(6, 3), nn.Linear(3, 1),
        ),
        "normalized": lambda: Normalized(dim),
        "plain_relu": lambda: Stack(nn.Linear(dim, 8), nn.ReLU(), nn.Linear(8, 1)),
        "two": lambda: nn.Linear(dim, 2),
    }  # fmt: skip
    made: nn.Module = kinds[layout]().eval()
    return made


def write_head(path: Path, layout: str, dim: int = 8, seed: int = 0) -> nn.Module:
    """Write a head as the name says, `.safetensors` or a state dict; return the module."""
    made = module(layout, dim, seed)
    state = {name: tensor.contiguous() for name, tensor in made.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return made


def scores(made: nn.Module, embeddings: Any) -> Any:
    """Return what torch computes for unit vectors, float32 [n]."""
    with torch.inference_mode():
        rows = torch.nn.functional.normalize(torch.as_tensor(embeddings).float(), dim=-1)
        return made(rows)[:, 0].numpy()
