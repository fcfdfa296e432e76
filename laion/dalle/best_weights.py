"""The weights of a module at the step with the lowest held-out loss. Needs torch."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class BestWeights:
    """A copy of the weights, in the computer's memory, whatever device the module is on.

    Args:
        kept: what `state` returned, to go on from; None to begin.
    """

    def __init__(self, module: nn.Module, kept: dict[str, Any] | None = None) -> None:
        self._module = module
        self._step: int = kept["step"] if kept else 0
        self._loss: float = kept["loss"] if kept else float("inf")
        self._weights: dict[str, Tensor] = kept["weights"] if kept else {}

    def consider(self, step: int, loss: float) -> bool:
        """Keep the weights if `loss` is the lowest so far; return whether it is."""
        if not loss < self._loss:
            return False
        self._step, self._loss = step, loss
        weights = self._module.state_dict()
        self._weights = {name: value.detach().cpu().clone() for name, value in weights.items()}
        return True

    def restore(self) -> int:
        """Give the module the kept weights; return their step, 0 if there are none."""
        if self._weights:
            self._module.load_state_dict(self._weights)
        return self._step

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs to hold."""
        return {"step": self._step, "loss": self._loss, "weights": self._weights}
