"""The checkpoint file of a training: models, optimizer, random state and progress. Needs torch.

It is replaced as a whole, so that a killed run leaves the previous checkpoint.
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

#: Raised when older files can no longer be resumed.
FORMAT = 1

#: The phases of a training, in their order.
CODEBOOK, TRANSFORMER, DONE = "codebook", "transformer", "done"

_RESTART = "use another output folder, or start over with --incremental_mode overwrite"


@dataclass(slots=True)
class Progress:
    """How far a training has come.

    Attributes:
        phase, step: finished steps of the current phase.
        position: where the stream of pairs resumes.
        first_epoch: the epoch of the stream in which the phase began.
        pairs, seconds, epochs: totals of each phase.
        dropped: unusable pairs, by reason.
        points: of the curves.
        kept_steps: for each finished phase, the step with the lowest held-out loss, whose weights
            were kept.
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
    kept_steps: dict[str, int] = field(default_factory=dict)

    def kept_point(self, phase: str) -> dict[str, Any] | None:
        """Return the point of the weights that a phase has, or has had last; None without one."""
        own = [point for point in self.points if point["phase"] == phase]
        kept = [point for point in own if point["step"] == self.kept_steps.get(phase)]
        found = kept or own
        return found[-1] if found else None

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
    """Write a checkpoint.

    Args:
        made_from: the flags and input that a resumed training must share.

    Raises:
        OSError: it cannot be written.
    """
    # torch reports a full disk with an error of its own, so it writes to memory.
    file = io.BytesIO()
    torch.save({"format": FORMAT, "made_from": made_from, **state}, file)
    folder.write_bytes(NAME, file.getvalue())


def load(folder: OutputFolder, made_from: dict[str, Any]) -> dict[str, Any] | None:
    """Read the state of a training with these flags and input; None if there is none.

    Raises:
        UsageError: the flags or the input have changed, or the file cannot be read.
    """
    if not folder.exists(NAME):
        return None
    state = read(folder)
    before = state["made_from"]
    changed = next((name for name in made_from if before.get(name) != made_from[name]), None)
    if changed is not None:
        what = (
            "other shards"
            if changed == "input"
            else f"--{changed} {before.get(changed)}, not {made_from[changed]}"
        )
        raise UsageError(f"'{folder.path}' has a training with {what}: {_RESTART}")
    return state


def read(folder: OutputFolder) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Raises UsageError when it cannot be read."""
    path = f"{folder.path}/{NAME}"
    try:
        state: dict[str, Any] = torch.load(
            io.BytesIO(folder.read_bytes(NAME)), map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = (str(error).splitlines() or ["it is damaged"])[0]
        raise UsageError(f"'{path}' cannot be read: {reason[:200]}") from None
    if state.get("format") != FORMAT:
        raise UsageError(f"'{path}' was written by another version of laion: {_RESTART}")
    return state
