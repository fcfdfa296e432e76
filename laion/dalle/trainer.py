"""The training: both phases, batch by batch, with checkpoints. Needs torch.

On a CPU it is reproducible: a run that was killed and resumed ends like an uninterrupted one.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from img2ds.engine.cores import usable_cores
from img2ds.engine.stop import StopSwitch
from img2ds.storage import OutputFolder
from laion.dalle import checkpoint
from laion.dalle.best_weights import BestWeights
from laion.dalle.checkpoint import CODEBOOK, DONE, TRANSFORMER, Progress
from laion.dalle.image_coder import ImageCoder
from laion.dalle.options import DalleOptions
from laion.dalle.pairs import PairBatch, Pairs, Position
from laion.dalle.phases import CodebookPhase, HeldOut, Phase, TransformerPhase
from laion.dalle.prefetch import Prefetcher
from laion.dalle.transformer import Shape, Transformer
from laion.dalle.vocabulary import PIECES, PieceTokenizer, Tokens, Vocabulary, count_pieces
from laion.samples.source import SampleShard

CURVES = "curves.jsonl"

#: The learning rate rises over this share of a phase, and at least so many steps; then it falls
#: along a half cosine to this share of the highest rate.
WARM_UP, WARM_UP_STEPS, MIN_RATE = 0.03, 20, 0.05

#: Settings of AdamW; betas and gradient clipping as in DALL-E (arXiv:2102.12092, B.2).
WEIGHT_DECAY, BETAS, MAX_GRADIENT = 0.01, (0.9, 0.96), 1.0


class Trainer:
    """A training in an output folder.

    Attributes:
        progress: how far it has come.
        coder, transformer: the models, on the device; `transformer` is None before its phase.
        captions: of the held-out pairs.
    """

    def __init__(
        self,
        options: DalleOptions,
        shards: Sequence[SampleShard],
        folder: OutputFolder,
        device: str,
        log: Callable[[str], None] | None = None,
    ) -> None:
        """Resume the training in the folder, or start one.

        Raises:
            UsageError: the folder has another training, or the shards have no pairs.
        """
        self._options = options
        self._sizes = options.sizes
        self._folder = folder
        self._log = log or (lambda line: print(line, file=sys.stderr, flush=True))
        self.device = torch.device(device)
        self._made_from = made_from(options, shards)
        state = checkpoint.load(folder, self._made_from)
        self.half = _halves(options.precision, self.device)
        self.pieces = PieceTokenizer(self._sizes["text_length"])
        self._pairs = Pairs(
            shards, self._sizes["image_size"], self._sizes["held_out"], options.seed,
            options.decoders or usable_cores(),
        )  # fmt: skip
        images, self.captions = self._pairs.held_out(self._sizes["held_out_pairs"])
        self._held_out = HeldOut(
            torch.from_numpy(images).to(self.device),
            self.pieces(self.captions),
            self._sizes["batch_size"],
        )
        self.progress = Progress.from_dict(state["progress"]) if state else Progress()
        self._counts: Tokens = torch.zeros(PIECES, dtype=torch.long).numpy()
        self._sums: dict[str, Tensor] = {}
        self._state = state
        self._best: BestWeights | None = None
        if state:
            self._counts = state["counts"].numpy()
            self._sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        self.coder: ImageCoder
        self.transformer: Transformer | None = None
        self.vocabulary: Vocabulary | None = None

    def run(self, stop: StopSwitch) -> bool:
        """Train until done or stopped; return whether it is done. Raises OSError."""
        with _seeded(self._options.seed, self.device):
            sizes = self._sizes
            self.coder = ImageCoder(sizes["codes"], sizes["coder_width"], sizes["downsampling"]).to(
                self.device
            )
            state = self._state
            if state:
                self.coder.load_state_dict(state["coder"])
            progress = self.progress
            if progress.phase == CODEBOOK:
                phase: Phase = CodebookPhase(self.coder, self._held_out, self.half)
                if not self._run_phase(phase, sizes["codebook_rate"], stop, state):
                    return False
                progress.phase, progress.step = TRANSFORMER, 0
                # The transformer starts with a whole epoch.
                progress.first_epoch = progress.position.epoch + 1
                progress.position = Position(progress.first_epoch)
                self._sums, state = {}, None
            self.vocabulary = Vocabulary(self._counts, sizes["vocabulary"])
            shape = Shape(
                self.vocabulary.size, sizes["text_length"], sizes["codes"], self._options.grid,
                sizes["width"], sizes["layers"], sizes["heads"],
            )  # fmt: skip
            self.transformer = Transformer(shape).to(self.device)
            if state:
                self.transformer.load_state_dict(state["transformer"])
            if progress.phase == TRANSFORMER:
                phase = TransformerPhase(
                    self.coder, self.transformer, self.vocabulary, self._held_out, self.half
                )
                if not self._run_phase(phase, sizes["rate"], stop, state):
                    return False
                progress.phase = DONE
                self._save(None)
            self.coder.eval()
            self.transformer.eval()
            self._state = None
            return True

    def _run_phase(
        self, phase: Phase, rate: float, stop: StopSwitch, state: dict[str, Any] | None
    ) -> bool:
        progress, sizes = self.progress, self._sizes
        optimizer = torch.optim.AdamW(
            [p for p in phase.module.parameters() if p.requires_grad],
            lr=rate, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True,
        )  # fmt: skip
        if state:
            optimizer.load_state_dict(state["optimizer"])
            _set_random(state["random"], self.device)
        phase.module.train()
        best = self._best = BestWeights(phase.module, state.get("best") if state else None)
        seconds = progress.seconds.get(phase.name, 0.0)
        started = time.monotonic()

        def save() -> None:
            progress.seconds[phase.name] = seconds + time.monotonic() - started
            self._save(optimizer)

        finished = self._is_finished()
        with Prefetcher(self._batches()) as batches:
            for batch, pieces in batches if not finished else ():
                for group in optimizer.param_groups:
                    group["lr"] = rate * self._rate_share(batch.done - progress.first_epoch)
                images = torch.from_numpy(batch.images).to(self.device)
                losses = phase.losses(images, pieces)
                optimizer.zero_grad(set_to_none=True)
                losses["loss"].backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(phase.module.parameters(), MAX_GRADIENT)
                optimizer.step()
                self._count(batch, pieces, losses)
                finished = self._is_finished()
                if progress.step % sizes["log_every"] == 0 or finished:
                    progress.seconds[phase.name] = seconds + time.monotonic() - started
                    self._add_point(phase, optimizer.param_groups[0]["lr"], best)
                if finished:
                    break
                if stop.is_set():
                    save()
                    return False
                if progress.step % sizes["save_every"] == 0:
                    save()
        progress.seconds[phase.name] = seconds + time.monotonic() - started
        progress.kept_steps[phase.name] = best.restore()
        self._best = None
        return True

    def _batches(self) -> Iterator[tuple[PairBatch, Tokens]]:
        size, start = self._sizes["batch_size"], self.progress.position
        for batch in self._pairs.batches(size, start):
            yield batch, self.pieces(batch.captions)

    @property
    def _steps(self) -> int | None:
        """Steps of this phase; None if it is limited by epochs."""
        if self.progress.phase == CODEBOOK:
            return int(self._sizes["codebook_steps"])
        return self._options.steps

    def _is_finished(self) -> bool:
        if self._steps is not None:
            return self.progress.step >= self._steps
        epochs = self.progress.position.epoch - self.progress.first_epoch
        return epochs >= (self._options.epochs or 1)

    def _rate_share(self, epochs: float) -> float:
        """Return the learning rate of the next step, as a share of the highest."""
        step, steps = self.progress.step, self._steps
        done = step / steps if steps else epochs / (self._options.epochs or 1)
        rising = max(WARM_UP_STEPS, WARM_UP * step / done if done else 0)
        wave = 0.5 + 0.5 * math.cos(math.pi * min(done, 1.0))
        return min(1.0, (step + 1) / rising) * (MIN_RATE + (1 - MIN_RATE) * wave)

    def _count(self, batch: PairBatch, pieces: Tokens, losses: dict[str, Tensor]) -> None:
        progress = self.progress
        progress.step += 1
        progress.position = batch.position
        progress.pairs[progress.phase] += len(batch.captions)
        progress.epochs[progress.phase] = batch.done - progress.first_epoch
        progress.dropped += batch.dropped
        if progress.phase == CODEBOOK:
            self._counts += count_pieces(pieces)
        losses["batches"] = torch.ones((), device=self.device)
        for name, value in losses.items():
            if name != "loss":
                self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()

    def _add_point(self, phase: Phase, rate: float, best: BestWeights) -> None:
        """Add a point to the curves: means since the previous one, and of the held-out pairs."""
        progress = self.progress
        sums = {name: float(value) for name, value in self._sums.items()}
        batches = sums.pop("batches")
        self._sums = {}
        train = {f"train_{name}": value / batches for name, value in sums.items()}
        evaluated = phase.evaluate()
        is_best = best.consider(progress.step, phase.held_out_loss(evaluated))
        held_out = {f"held_out_{name}": value for name, value in evaluated.items()}
        metrics = {name: float(f"{value:.6g}") for name, value in (train | held_out).items()}
        point = {
            "phase": phase.name,
            "step": progress.step,
            "pairs": progress.pairs[phase.name],
            "epochs": round(progress.epochs[phase.name], 4),
            "seconds": round(progress.seconds[phase.name], 1),
            "rate": float(f"{rate:.3g}"),
            **metrics,
        }
        progress.points.append(point)
        self._write_curves()
        line = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        mark = "" if is_best else " (held-out loss is not lower than before)"
        self._log(f"{phase.name} step {progress.step}: {line}{mark}")

    def _write_curves(self) -> None:
        lines = "".join(json.dumps(point) + "\n" for point in self.progress.points)
        self._folder.write_bytes(CURVES, lines.encode())

    def _save(self, optimizer: torch.optim.Optimizer | None) -> None:
        state = {
            "progress": self.progress.as_dict(),
            "counts": torch.from_numpy(self._counts),
            "sums": self._sums,
            "coder": self.coder.state_dict(),
            "transformer": self.transformer.state_dict() if self.transformer else None,
            "optimizer": optimizer.state_dict() if optimizer else None,
            "random": _random(self.device),
            "best": self._best.state() if self._best else None,
        }
        checkpoint.save(self._folder, self._made_from, state)


def made_from(options: DalleOptions, shards: Sequence[SampleShard]) -> dict[str, Any]:
    """Return what a resumed training must share: flags, and names and sizes of the shards."""
    return {**options.identity(), "input": [[shard.name, shard.size] for shard in shards]}


def _halves(precision: str, device: torch.device) -> bool:
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bf16"


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch, with one thread for each core; restore the caller's state afterwards."""
    threads = torch.get_num_threads()
    devices = [device] if device.type == "cuda" else []
    torch.set_num_threads(usable_cores())
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _random(device: torch.device) -> dict[str, Tensor]:
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def _set_random(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
