"""Documents tell the truth: links and paths lead somewhere, flags and reasons exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from img2ds.config.options import FLAGS
from img2ds.core.failure import Reason
from img2ds.manage import options as manage_options
from laion.commands import COMMANDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md"),
     ROOT / "benchmark" / "README.md"]
)  # fmt: skip
#: Documents that users read, whose flags have to be flags of our commands.
FOR_USERS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

#: Flags of docker.
DOCKER = {
    "--tag", "--rm", "--user", "--volume", "--ulimit", "--stop-timeout", "--build-arg",
    "--entrypoint", "--cpus", "--tty",
}  # fmt: skip
#: Flags of clip-retrieval that documents name.
CLIP_RETRIEVAL = {
    "--cache_path", "--clip_cache_path", "--clip_model", "--columns_to_return", "--copy_metadata",
    "--current_memory_available", "--default_backend", "--default_index", "--distribution_strategy",
    "--embeddings_folder", "--enable_faiss_memory_mapping", "--enable_hdf5",
    "--enable_mclip_option", "--enable_metadata", "--image_subfolder", "--index_folder",
    "--indice_folder", "--num_results", "--run_back",
    "--indices_paths", "--input_dataset", "--max_index_memory_usage", "--mclip_model",
    "--nb_cores", "--num_prepro_workers", "--output_partition_count",
    "--provide_aesthetic_embeddings", "--provide_safety_model", "--provide_violence_detector",
    "--reorder_metadata_by_ivf_index", "--slurm_", "--text_subfolder", "--url_column",
    "--use_arrow", "--use_jit", "--use_mclip", "--wds_caption_key", "--wds_image_key",
    "--wds_number_file_per_input_file", "--write_batch_size",
}  # fmt: skip
#: Flags of Slurm, and of Ray's command.
SLURM = {
    "--job-name", "--array", "--cpus-per-task", "--mem", "--time", "--requeue", "--ntasks",
    "--nodes", "--ntasks-per-node", "--nodelist", "--exclude", "--head", "--port", "--num-cpus",
    "--address", "--block",
}  # fmt: skip
#: Flags of pip, of Spark, and those of every command.
#: Flags of benchmark.plan.
PLAN = {
    "--rows", "--nodes", "--cores", "--gbit", "--gpus", "--gpu_rate", "--memory_gb", "--disk_tb",
    "--lost_every",
    "--price", "--sources",
}  # fmt: skip
OTHERS = {
    "--help", "--version", "--no-deps", "--index-url", "--master", "--num-executors", "--conf",
    *DOCKER,
    *PLAN,
    *SLURM,
    *CLIP_RETRIEVAL,
}  # fmt: skip
#: Reasons that no row can fail for yet, or that a shard is lost for instead.
UNDOCUMENTED = {"disallowed_by_robots", "blocklisted", "duplicate_url", "disk_full"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text).lower().replace(" ", "-") for text in headings}


def known_flags() -> Iterator[str]:
    """Every flag of `img2ds`, its subcommands and the stages of `laion`."""
    yield from (*FLAGS, "concurrency")
    for value in vars(manage_options).values():
        if isinstance(value, type) and hasattr(value, "__dataclass_fields__"):
            yield from (field.name for field in fields(value))
    for command in COMMANDS.values():
        yield from (field.name for field in fields(command.load_options()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        found = document.parent / file if file else document
        assert found.exists(), f"{name_of(document)} links to {target}"
        if anchor:
            assert anchor in anchors(found), f"{name_of(document)} links to {target}"


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_paths_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    for path in re.findall(r"`((?:img2ds|laion|tests|benchmark|docs|scripts)/[\w./-]*)`", text):
        if "NAME" not in path:
            assert (ROOT / path).exists(), f"{name} names {path}"


def test_tests_of_promises_exist() -> None:
    """Every promise of SECURITY.md names the tests that show it."""
    rows = re.findall(
        r"^\| .* \| (`tests/.*`) \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 15
    for name in re.findall(r"`([^`]+)`", " ".join(rows)):
        file, _, function = name.partition("::")
        assert f"\ndef {function}(" in (ROOT / file).read_text(), f"there is no {name}"


@pytest.mark.parametrize("document", FOR_USERS, ids=name_of)
def test_flags_exist(document: Path) -> None:
    flags = {f"--{name}" for name in known_flags()} | OTHERS
    for flag in re.findall(r"(?<![\w-])--[a-z][\w-]+", document.read_text()):
        assert flag in flags or flag.replace("--no", "--", 1) in flags, f"there is no {flag}"


@pytest.mark.parametrize("document", ["README.md", "docs/troubleshooting.md"])
def test_every_reason_is_listed(document: str) -> None:
    text = (ROOT / document).read_text()
    for reason in Reason:
        if reason.value not in UNDOCUMENTED:
            assert f"`{reason.value}`" in text, reason.value
