"""The configuration file of `laion run`: stages, folders and flags, and wrong use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from img2ds.core.failure import UsageError
from laion import cli
from laion.run.config import Step, make_plan, read_config, stage_flags

LEAST: dict[str, Any] = {"output_folder": "out", "extract": {"wat": "wats"}}


def input_of(step: Step) -> str:
    """Return the folder that a stage reads; dedup takes a list."""
    found = step.options.input
    if step.stage == "dedup":
        (found,) = found
    return str(found)


def test_every_stage_reads_the_folder_of_the_previous_one() -> None:
    plan = make_plan(LEAST)
    assert [step.stage for step in plan.steps] == [
        "extract", "dedup", "download", "score", "tag", "release", "index",
    ]  # fmt: skip
    assert [step.folder for step in plan.steps] == [f"out/{step.stage}" for step in plan.steps]
    inputs = [input_of(step) for step in plan.steps[1:]]
    assert inputs == [step.folder for step in plan.steps[:-1]]


def test_stages_may_be_skipped() -> None:
    plan = make_plan({**LEAST, "dedup": False, "tag": False, "index": False})
    assert [(step.stage, input_of(step)) for step in plan.steps[1:]] == [
        ("download", "out/extract"), ("score", "out/download"), ("release", "out/score"),
    ]  # fmt: skip


def test_a_filter_runs_where_it_is_asked_for() -> None:
    plan = make_plan({**LEAST, "filter": {"where": "similarity >= 0.28"}})
    assert [step.stage for step in plan.steps][-3:] == ["filter", "release", "index"]
    assert (input_of(plan.steps[-3]), input_of(plan.steps[-2])) == ("out/tag", "out/filter")
    assert make_plan({**LEAST, "filter": False}) == make_plan(LEAST)


def test_near_duplicates_are_dropped_after_the_filter() -> None:
    sections = {"filter": {"where": "similarity >= 0.28"}, "dedup_images": {"threshold": 0.97}}
    steps = make_plan({**LEAST, **sections}).steps[-4:]
    assert [step.stage for step in steps] == ["filter", "dedup_images", "release", "index"]
    assert [input_of(step) for step in steps[1:3]] == ["out/filter", "out/dedup_images"]
    assert steps[1].options.threshold == 0.97


def test_a_release_requires_the_tags_that_the_run_makes() -> None:
    def required(**sections: Any) -> bool:
        plan = make_plan({**LEAST, **sections})
        return bool(next(s for s in plan.steps if s.stage == "release").options.require_tags)

    assert required()
    assert not required(tag=False)
    assert not required(release={"require_tags": False})
    assert required(crawl=True)
    assert not required(crawl={"tag": False})


def test_crawl_may_be_turned_off() -> None:
    assert make_plan({**LEAST, "crawl": False}) == make_plan(LEAST)


def test_a_stage_overrides_a_shared_flag_however_it_is_spelled() -> None:
    plan = make_plan({**LEAST, "processes_count": 3, "score": {"processes-count": 1}})
    assert [step.options.processes_count for step in plan.steps[2:4]] == [3, 1]


@pytest.mark.parametrize("crawl", [None, True, {}, {"timeout": 3}])
def test_crawl_replaces_three_stages(crawl: Any) -> None:
    plan = make_plan({**LEAST, "crawl": crawl})
    assert [step.stage for step in plan.steps] == ["extract", "dedup", "crawl", "release", "index"]
    assert plan.steps[2].options.input == "out/dedup"
    assert not plan.steps[2].options.wat


def test_flags_of_all_stages_reach_those_that_have_them() -> None:
    plan = make_plan(
        {**LEAST, "processes_count": 3, "model": "RN50", "pretrained": "openai",
         "score": {"model": "ViT-B-16", "processes_count": 1}, "download": {"concurrency": 64}}
    )  # fmt: skip
    options = {step.stage: step.options for step in plan.steps}
    assert [o.processes_count for o in options.values()] == [3, 3, 3, 1, 3, 3, 3]
    assert (options["score"].model, options["tag"].model) == ("ViT-B-16", "RN50")
    assert options["score"].pretrained == "openai"
    assert options["download"].thread_count == 64
    assert stage_flags(options["score"]) == {"model": "ViT-B-16", "pretrained": "openai"}


def test_the_command_line_overrides_the_output_folder(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(LEAST))
    assert read_config(str(file)).folder == "out"
    there = read_config(str(file), "s3://bucket/one,two/")
    assert input_of(there.steps[1]) == "s3://bucket/one,two/extract"
    file.write_text(yaml.safe_dump({"extract": LEAST["extract"]}))
    assert read_config(str(file), "elsewhere").folder == "elsewhere"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"extract": {"wat": "wats"}}, "output_folder is missing"),
        ({"output_folder": "out"}, "extract: --wat is required"),
        (
            {**LEAST, "scoer": {}},
            "scoer is neither a stage nor a flag for all stages; did you",
        ),
        ({**LEAST, "timeout": 3}, "put flags of one stage under its name"),
        ({**LEAST, "score": {"modle": "x"}}, "score: unknown flag --modle; did you mean --model?"),
        ({**LEAST, "score": "ViT-B-32"}, "score takes a mapping of flags, or false"),
        ({**LEAST, "score": {"input": "x"}}, "score: input cannot be set here"),
        ({**LEAST, "tag": {"output-folder": "x"}}, "output-folder cannot be set here"),
        ({**LEAST, "crawl": {"wat": "x"}}, "crawl: wat cannot be set here"),
        ({**LEAST, "dedup": {"incremental_mode": "overwrite"}}, "cannot be set here"),
        ({**LEAST, "download": False}, "download cannot be skipped"),
        ({**LEAST, "crawl": {}, "score": {"precision": "fp32"}}, "crawl includes score"),
        ({**LEAST, "release": {"threshold": 3}}, "release: --threshold must be a cosine"),
        ({**LEAST, "processes_count": 0}, "--processes_count must be at least 1"),
        ({**LEAST, "processes_count": "many"}, "--processes_count takes a whole number"),
    ],
)
def test_wrong_use_names_the_stage(document: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_plan(document)
    assert words in str(caught.value)


BEGINNING = "output_folder: out\nextract: {wat: wats}\nmodel: MODEL\npretrained: WEIGHTS\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read (no such file or directory)"),
        ("- extract\n", "expected a mapping of stages"),
        ("", "expected a mapping of stages"),
        ("extract: {wat: [\n", "invalid YAML"),
        (BEGINNING + "download: {timeout: -1}\n", "download: --timeout must be above 0"),
        (BEGINNING + "score: {model: ViT-B-33}\n", "score: --model ViT-B-33 is not a model"),
        (BEGINNING + "tag: {prompts: none.json}\n", "tag: --prompts none.json"),
        (
            BEGINNING.replace(" out", " s3://bucket/out"),
            "index: --output_folder must be a local",
        ),
    ],
)
def test_errors_are_found_before_any_stage_starts(
    text: str | None,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_model: tuple[str, str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        model, weights = tiny_model
        Path("run.yaml").write_text(text.replace("MODEL", model).replace("WEIGHTS", weights))
    before = sorted(tmp_path.rglob("*"))
    assert cli.run(["run", "--config", "run.yaml"]) == 2
    output = capsys.readouterr()
    assert words in output.err
    assert output.err.startswith("laion: error: --config run.yaml: ")
    assert output.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
