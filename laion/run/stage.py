"""`laion run`: run the stages of a configuration file in order, with a report after each of them.

Every stage resumes, so the same command also resumes a run that was stopped or killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.engine.cpu_time import cpu_time
from img2ds.report.units import duration
from img2ds.storage import OutputFolder
from laion.commands import COMMANDS
from laion.provenance import read_stage
from laion.run.config import Plan, Step, read_config, stage_flags
from laion.run.options import RunOptions
from laion.run.report import render

#: Durations and exit codes of the stages, for the report.
RECORD = "run.json"
REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class RunResult:
    """The outcome of `laion run`."""

    exit_code: int
    text: str


def run(options: RunOptions) -> RunResult:
    """Run all stages that are not complete. Blocks.

    Raises:
        UsageError: the configuration is invalid; nothing was done.
    """
    plan = read_config(options.config, options.output_folder)
    for step in plan.steps:
        try:
            COMMANDS[step.stage].load_check()(step.options)
        except UsageError as error:
            raise UsageError(f"--config {options.config}: {step.stage}: {error}") from None
    if options.dry_run:
        return RunResult(0, "\n".join(_plan_lines(plan)))
    folder = OutputFolder.open(plan.folder)
    folder.check_writable()
    try:
        return _run(plan, folder)
    finally:
        folder.close()


def _plan_lines(plan: Plan) -> list[str]:
    lines = []
    for step in plan.steps:
        flags = "".join(f" --{name} {value}" for name, value in stage_flags(step.options).items())
        lines.append(f"laion {step.stage} -> {step.folder}{flags}")
    return lines


def _run(plan: Plan, folder: OutputFolder) -> RunResult:
    record = _read_record(folder)
    for number, step in enumerate(plan.steps, 1):
        print(f"== {number} of {len(plan.steps)}: laion {step.stage} -> {step.folder}", flush=True)
        try:
            code, text = _run_step(step, record)
        except UsageError as error:
            raise UsageError(f"{step.stage}: {error}") from None
        _write(folder, plan.steps, record)
        if text:
            print(text, "\n", flush=True)
        if code:
            end = f"laion run stopped at {step.stage}: rerun the same command to resume"
            return RunResult(code, end)
    spent = sum(step["wall"] for step in record.values())
    return RunResult(0, f"all {len(plan.steps)} stages are done in {duration(spent)}; "
                          f"report: {folder.path}/{REPORT}")  # fmt: skip


def _run_step(step: Step, record: dict[str, dict[str, Any]]) -> tuple[int, str]:
    wall, cpu = time.monotonic(), cpu_time()
    result = COMMANDS[step.stage].load_run()(step.options)
    made = read_stage(step.folder)
    parts = made.shards if made else 0
    before = record.get(step.stage, {"wall": 0.0, "cpu": 0.0, "parts": -1, "exit_code": None})
    if result.exit_code or (before["parts"], before["exit_code"]) != (parts, 0):
        record[step.stage] = {  # otherwise it was complete, and has only been checked
            "wall": before["wall"] + time.monotonic() - wall,
            "cpu": before["cpu"] + cpu_time() - cpu,
            "parts": parts,
            "exit_code": result.exit_code,
            "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
    return result.exit_code, result.text


def _read_record(folder: OutputFolder) -> dict[str, dict[str, Any]]:
    """Read the record of earlier runs; empty if it is missing or damaged."""
    try:
        found: dict[str, dict[str, Any]] = json.loads(folder.read_bytes(RECORD))["stages"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found


def _write(folder: OutputFolder, steps: Sequence[Step], record: dict[str, Any]) -> None:
    try:
        folder.write_bytes(RECORD, json.dumps({"stages": record}, indent=1).encode())
        folder.write_bytes(REPORT, render(folder.path, steps, record).encode())
    except OSError as error:
        raise UsageError(f"cannot write to {folder.path}: {error}") from None
