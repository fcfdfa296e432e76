"""Commands of the documents: all can be read; downloads run dry on lists of two rows.

The lists have the columns that the commands name. docs/cookbook.md has the datasets' own columns:
tests/test_cookbook.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds import cli
from img2ds.config.command import load
from img2ds.config.command_line import read_arguments
from img2ds.config.options import COMMAND, Options
from img2ds.manage import commands as manage
from laion import cli as laion_cli
from laion.commands import COMMANDS as STAGES
from tests.document_commands import ROOT, ShownCommand, shown_commands

SHOWN = shown_commands()
#: Flags whose values are checked against what is around: clusters, servers.
SURROUNDINGS = {"distributor", "resolver", "proxy", "enable_wandb"}
#: Flags that name plug-ins, the format of the one that docs/plugins.md writes, and flags in a file.
PLUG_INS = {"filter", "fetcher", "sqlite", "config"}
URLS = ["http://one.example/a.jpg", "http://two.example/b.jpg"]


def flags_of(shown: ShownCommand) -> dict[str, Any]:
    """The flags of a download, by name."""
    given = {COMMAND.name(name): value for name, value in cli.read_flags(shown.words[1:]).items()}
    return {str(name): value for name, value in given.items()}


def is_download(shown: ShownCommand) -> bool:
    program, first = shown.words[:2]
    return program == "img2ds" and first not in (*manage.COMMANDS, "completion")


def test_many_documents_show_commands() -> None:
    assert len(SHOWN) > 80
    assert len({shown.document for shown in SHOWN}) > 15


@pytest.mark.parametrize(
    "shown", [s for s in SHOWN if s.words[1] != "completion"], ids=lambda s: s.name
)
def test_it_is_read(shown: ShownCommand) -> None:
    program, name, *rest = shown.words
    if program == "laion":
        options = STAGES[name].load_options()
        flags = laion_cli._flags(name, options)
        options(**flags.read(read_arguments(flags, rest)))
    elif name in manage.COMMANDS:
        options = load(manage.COMMANDS[name].options, "all")
        flags = manage._flags(name, options)
        options.from_flags(flags.read(read_arguments(flags, rest)))
    else:
        given = flags_of(shown)
        if not PLUG_INS & {*given, given.get("input_format")}:
            Options.from_flags(given)


def runs_dry(shown: ShownCommand) -> bool:
    if not is_download(shown) or shown.document.stem == "cookbook":
        return False
    given = flags_of(shown)
    if "://" in str(given.get("url_list")):  # a service's
        return False
    return not (SURROUNDINGS | PLUG_INS) & {*given, given.get("input_format")}


@pytest.mark.parametrize("shown", [s for s in SHOWN if runs_dry(s)], ids=lambda s: s.name)
def test_it_runs_dry_on_two_rows(
    shown: ShownCommand,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    options = Options.from_flags(flags_of(shown))
    write_list(options.input)
    network = options.network
    for path in (*network.block_urls, *network.block_hosts, *network.block_hashes):
        Path(path).touch()
    assert cli.run([*shown.words[1:], "--dry_run"]) == 0, capsys.readouterr().err
    assert "2 rows, 1 shard" in capsys.readouterr().err
    assert not os.path.exists(flags_of(shown).get("output_folder", "images"))


def write_list(options: Any) -> None:
    """Write two rows with the columns of a command where it reads them."""
    columns = {name: ["x", "y"] for name in options.columns}
    if options.bbox_col is not None:
        columns[options.bbox_col] = ["[[0.1, 0.1, 0.2, 0.2]]", "[]"]
    columns[options.url_col] = URLS
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path = Path(options.url_list)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".txt":
        path.write_text("\n".join(URLS))
    elif path.suffix == ".csv":
        lines = [list(columns), *(list(row.values()) for row in rows)]
        path.write_text("".join(",".join(line) + "\n" for line in lines))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        if not path.suffix:
            path.mkdir()
            path /= "part.parquet"
        pq.write_table(pa.table(columns), path)


def test_a_config_of_the_documents_is_read(tmp_path: Path) -> None:
    """`laion run --config` and `img2ds --config`: the YAML that the documents show."""
    from img2ds.config.config_file import with_config

    text = (ROOT / "docs" / "long-runs.md").read_text().split("```yaml\n")[1].split("```")[0]
    (tmp_path / "laion.yaml").write_text(text)
    given = with_config(COMMAND, {"config": str(tmp_path / "laion.yaml")})
    assert Options.from_flags(given).input.save_additional_columns == ("NSFW", "similarity")
