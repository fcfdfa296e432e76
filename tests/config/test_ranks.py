"""`--rank` and `--world_size`: numbers, or Slurm's variables."""

from __future__ import annotations

from typing import Any

import pytest

from img2ds.config.options import Options
from img2ds.config.ranks import RankOptions
from img2ds.core.failure import UsageError
from img2ds.core.rank import ALONE, Rank

STEP = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4"}
BATCH = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}


def array(task: int, first: int, last: int, count: int) -> dict[str, str]:
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("flags", "environ", "rank"),
    [
        ({}, STEP, ALONE),  # an array over many lists, as scripts for img2dataset have it
        ({"rank": 2, "world_size": "3"}, STEP, Rank(2, 3)),
        ({"rank": "Slurm"}, STEP, Rank(1, 4)),
        ({"world_size": "slurm"}, STEP, Rank(1, 4)),
        ({"rank": "slurm", "world_size": 8}, STEP, Rank(1, 8)),
        ({"rank": "slurm"}, BATCH | array(3, 0, 4, 5), Rank(3, 5)),
        ({"rank": "slurm"}, BATCH | array(20, 10, 30, 3), Rank(1, 3)),
        ({"rank": "slurm"}, BATCH | array(7, 7, 7, 1), ALONE),
        ({"rank": "slurm"}, STEP | array(2, 0, 4, 5), Rank(9, 20)),
        ({"rank": "slurm"}, BATCH, ALONE),
    ],
)
def test_the_rank(flags: dict[str, Any], environ: dict[str, str], rank: Rank) -> None:
    options = Options.from_flags({"url_list": "x", **flags})
    assert options.ranks.resolve(environ) == rank
    assert not {"rank", "world_size"} & options.shard_identity().keys()


@pytest.mark.parametrize(
    ("flags", "environ", "words"),
    [
        ({"rank": "one"}, {}, "--rank takes a whole number or slurm, got 'one'"),
        ({"rank": -1, "world_size": 2}, {}, "--rank takes a whole number or slurm, got '-1'"),
        ({"rank": 1}, {}, "--rank 1 needs --world_size"),
        ({"world_size": 2}, {}, "--world_size 2 needs --rank"),
        ({"rank": 2, "world_size": 2}, {}, "from 0 to --world_size - 1, got 2 of 2"),
        ({"rank": 0, "world_size": 0}, {}, "from 0 to --world_size - 1, got 0 of 0"),
        ({"rank": "slurm"}, {}, "SLURM_PROCID and SLURM_ARRAY_TASK_ID are not set"),
        ({"rank": "slurm"}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, "write srun before img2ds"),
        ({"rank": "slurm"}, BATCH | array(5, 1, 9, 4), "the numbers of the job array have gaps"),
        ({"rank": "slurm"}, {"SLURM_PROCID": "x", "SLURM_STEP_NUM_TASKS": "2"}, "not a number"),
    ],
)
def test_what_cannot_be(flags: dict[str, Any], environ: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        Options.from_flags({"url_list": "x", **flags}).ranks.resolve(environ)


def test_by_default_a_run_is_alone() -> None:
    assert RankOptions().resolve({}) == ALONE
