"""The one file of a training: models, optimiser, random numbers and how far it has come.

Written aside and published whole, so that whatever kills a run, the last save is there. Needs
torch.
"""

from __future__ import annotations

import io
import pickle
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from img2ds.core.failure import UsageError
from img2ds.storage import OutputFolder
from laion.dalle.pairs import Position

NAME = "dalle.pt"

#: Changes when older files cannot be gone on with.
FORMAT = 1

#: The two halves of a training, in their order, and what comes after.
CODEBOOK, TRANSFORMER, DONE = "codebook", "transformer", "done"


@dataclass(slots=True)
class Progress:
    """How far a training has come.

    Attributes:
        phase, step: steps of the phase that are done.
        position: where the stream of pairs goes on.
        first_epoch: the epoch of the stream that the phase began with.
        pairs, seconds, epochs: those of each phase so far.
        dropped: pairs that were left out on the way, by reason.
        points: of the curves.
    """

    phase: str = CODEBOOK
    step: int = 0
    position: Position = field(default_factory=Position)
    first_epoch: int = 0
    pairs: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    epochs: dict[str, float] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    points: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"pairs": dict(self.pairs), "dropped": dict(self.dropped)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        return cls(
            **values
            | {
                "position": Position(**values["position"]),
                "pairs": Counter(values["pairs"]),
                "dropped": Counter(values["dropped"]),
            }
        )


def save(folder: OutputFolder, made_from: dict[str, Any], state: dict[str, Any]) -> None:
    """Publish a training's state, made by flags and input as told. Raises OSError."""
    # By way of memory: torch tells of a full disk in words of its own.
    file = io.BytesIO()
    torch.save({"format": FORMAT, "made_from": made_from, **state}, file)
    folder.write_bytes(NAME, file.getvalue())


def load(folder: OutputFolder, made_from: dict[str, Any]) -> dict[str, Any] | None:
    """The state of a training of the same flags and input; None where there is none.

    Raises:
        UsageError: it was made by others, which are named, or cannot be read.
    """
    if not folder.exists(NAME):
        return None
    state = read(folder)
    begun = state["made_from"]
    changed = [name for name in made_from if begun.get(name) != made_from[name]]
    if changed:
        name = changed[0]
        what = (
            "other shards"
            if name == "input"
            else f"--{name} {begun.get(name)}, not {made_from[name]}"
        )
        raise UsageError(
            f"{folder.path} holds a training with {what}: name another folder, or start anew "
            "with --incremental_mode overwrite"
        )
    return state


def read(folder: OutputFolder) -> dict[str, Any]:
    """A saved state, on the CPU. Raises UsageError where it cannot be read."""
    try:
        state: dict[str, Any] = torch.load(
            io.BytesIO(folder.read_bytes(NAME)), map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        first = (str(error).splitlines() or ["it is damaged"])[0]
        raise UsageError(f"{folder.path}/{NAME} cannot be read: {first[:200]}") from None
    if state.get("format") != FORMAT:
        raise UsageError(
            f"{folder.path}/{NAME} is of another version: name another folder, or start anew "
            "with --incremental_mode overwrite"
        )
    return state
