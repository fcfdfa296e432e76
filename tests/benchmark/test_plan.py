"""The plan of a run agrees with what others published, and with itself."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark import plan_constants as c
from benchmark.plan import LAION_5B, PAPER, amount, problems, published, sources
from benchmark.plan_stages import HOUR, Fleet, Stage, download, rate, stages

ROOT = Path(__file__).parents[2]


def test_the_papers_run_is_bound_by_its_link_and_takes_less_than_it_took() -> None:
    """100 M images in 20 hours on 16 cores with 1 Gbit/s."""
    hours = 100e6 / rate(PAPER, c.IMAGE_SECONDS.value) / HOUR
    assert 0.7 < hours / c.PAPER_HOURS.value < 1
    by_cpu = 100e6 * c.IMAGE_SECONDS.value / PAPER.cores / HOUR
    assert by_cpu < hours, "its cores have time to spare"


def test_laion_5b_s_rate_follows_from_what_img2dataset_costs_here() -> None:
    """9,500 images/s on 10 nodes of 16 cores: the way of reckoning is right within a third."""
    ratio = rate(LAION_5B, c.IMG2DATASET_SECONDS.value) / c.LAION_5B_RATE.value
    assert 2 / 3 < ratio < 3 / 2
    assert rate(LAION_5B, c.IMAGE_SECONDS.value) > 3 * c.LAION_5B_RATE.value


def test_the_documents_have_the_differences_that_the_plan_prints() -> None:
    text = (ROOT / "docs" / "scale.md").read_text()
    for _, theirs, ours, difference in published():
        assert f"| {theirs} | {ours} | {difference} |" in text
    hours = next(row[2] for row in published())
    assert (
        f"{hours.removesuffix(' h')} h by [the plan](docs/scale.md)"
        in (ROOT / "README.md").read_text()
    )


def test_every_constant_has_a_source() -> None:
    for name, _, source in sources():
        assert len(source) > 12, name
        if source.startswith("benchmark/results/"):
            assert (ROOT / source.partition(",")[0]).is_file(), name


@pytest.mark.parametrize("stage", stages(100e6), ids=lambda stage: stage.name)
def test_ten_times_the_pairs_are_ten_times_the_work(stage: Stage) -> None:
    (larger,) = (each for each in stages(1e9) if each.name == stage.name)
    fields = ["rows", "cpu", "read", "written", "gpu_images", "serial"]
    if stage.name == "index":  # its lists are a power of two
        fields = ["rows", "read", "written"]
    for field in fields:
        assert getattr(larger, field) == pytest.approx(10 * getattr(stage, field)), field


def test_lost_machines_cost_half_a_task_each() -> None:
    """What a worker has begun is lost: half a task on average, and more where tasks are long."""
    calm, fleet = Fleet(nodes=100), Fleet(nodes=100, lost_every=600)
    for stage in stages(400e6):
        task, share = stage.task_seconds(fleet), stage.repeated(fleet)
        lost = task / 2 / (600 * 100)
        assert stage.repeated(calm) == 0
        assert lost <= share
        if task < 600:
            assert share == pytest.approx(lost, rel=0.01)
        busy = stage.wall(calm) - stage.serial
        assert stage.wall(fleet) - stage.serial == pytest.approx(busy * (1 + share))


def test_what_bounds_a_stage_is_what_shortens_it() -> None:
    fleet = Fleet(nodes=1, cores=16, gbit=1.0)
    stage = download(100e6)
    assert stage.bound(fleet) == "network"
    faster = replace(fleet, gbit=2.0)
    assert stage.wall(faster) - stage.serial == pytest.approx(
        (stage.wall(fleet) - stage.serial) / 2
    )
    assert stage.bound(replace(fleet, gbit=100.0)) == "CPU"
    assert stage.wall(replace(fleet, cores=32)) == stage.wall(fleet)


def test_what_does_not_fit_is_said() -> None:
    fleet = Fleet(gpus=0, memory=64e9)
    said = [line for stage in stages(5.85e9) for line in problems(stage, fleet)]
    assert any(re.match("score needs GPUs", line) for line in said)
    assert any(re.match("index needs .* on the disk", line) for line in said)
    assert not [line for line in said if line.endswith("of memory in one process")]
    assert not [line for stage in stages(10e6) for line in problems(stage, Fleet())]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1e3, "1 k"), (5.85e9, "5.85 G"), (1.35e15, "1.35 P")],
)
def test_amounts(value: float, text: str) -> None:
    assert amount(value) == text
