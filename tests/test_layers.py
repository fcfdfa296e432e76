"""Imports run one way: every arrow between modules is one that this table allows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: The layers of img2ds, the lowest first: each may import what stands before it, and itself.
#: Packages of one layer do not import each other, except for `SAME_LAYER`.
LAYERS: list[set[str]] = [
    {"core"},
    {"config"},
    {"storage"},
    {"report"},
    {"engine"},
    {"congestion"},
    {"source", "net", "image", "formats"},
    {"blocklist"},
    {"downloader", "plugin"},
    {"manage"},
    {"api"},
    {"cli"},
    {"__main__"},
    {"__init__"},
]

#: What a package may import of its own layer or of a higher one, and why.
SAME_LAYER: dict[str, set[str]] = {}

PLACE = {name: place for place, layer in enumerate(LAYERS) for name in layer}

#: What lies behind img2ds's job: of laion `fetch` alone may import it.
JOB_SIDE = {"downloader", "api", "formats", "source", "net", "image", "manage"}

#: What else of it a module of laion may import, and why.
JOB_SIDE_ALSO: dict[str, set[str]] = {
    # `laion --version` lists the compiled extensions in use.
    "laion/cli.py": {"image"},
    # The codecs and their headers: decoding is the same work as in a download.
    "laion/clip/": {"image"},
    # Samples are read by img2ds's reader of tars.
    "laion/samples/tar.py": {"formats"},
    # Samples are written as PNGs.
    "laion/dalle/sample.py": {"image"},
    # Images that a crawl keeps go into the same tars.
    "laion/crawl/pairs.py": {"formats"},
    # The search page fetches one image that is asked about, under the same guards.
    "laion/knn/query_image.py": {"image"},
    "laion/knn/query_url.py": {"net"},
    "laion/web/decoder_process.py": {"image"},
    # Reports show images, made small.
    "laion/samples/thumbnail.py": {"image"},
    # Hashes are of decoded images.
    "laion/dedup_images/": {"image"},
    "laion/tag/image_hashes.py": {"image"},
    "laion/web/service.py": {"image"},
}

#: Outside libraries with one home: the modules (by their path's start) that may import them.
HOMES = {
    "fsspec": ("img2ds/storage/",),
    "fire": ("img2ds/config/flags.py",),
    "httptools": ("img2ds/net/http11_head.py",),
    "asks": ("img2ds/net/asks_client.py",),
    "simplejpeg": ("img2ds/image/",),
    "cv2": ("img2ds/image/",),
    "PIL": ("img2ds/image/", "laion/clip/open_clip_transform.py"),
    "exifread": ("img2ds/image/exif.py",),
    "tqdm": ("img2ds/report/notebook_bar.py",),
    "pycld2": ("laion/wat/language.py",),
    "ftfy": ("laion/wat/text.py",),
    "deflate": ("laion/wat/archive.py",),
    "xxhash": ("laion/data/digest.py", "img2ds/core/pair_digest.py", "img2ds/manage/uid_list.py"),
    "open_clip": (
        "laion/clip/open_clip_library.py",
        "laion/clip/open_clip_transform.py",
        "laion/clip/model.py",
    ),
    "matplotlib": ("laion/release/figures.py", "laion/dalle/figures.py"),
    "wandb": ("img2ds/report/wandb.py",),
    "ray": ("img2ds/engine/distributors/ray.py",),
    "pyspark": ("img2ds/engine/distributors/spark_session.py",),
    "faiss": ("laion/knn/faiss_index.py",),
    "starlette": ("laion/web/",),
    "uvicorn": ("laion/web/guarded_protocol.py",),
    "cloudpickle": ("img2ds/core/plugin_object.py",),
    "sqlite3": ("img2ds/net/robots_store.py",),
    "yaml": ("img2ds/config/config_file.py", "laion/run/config.py"),
    "jinja2": ("laion/run/report.py", "laion/report/page.py"),
    "safetensors": ("laion/annotate/head_file.py",),
    "mmh3": ("laion/data/laion_hash.py",),
    "duckdb": ("laion/filter/condition.py",),
    "threadpoolctl": ("laion/dedup_images/one_thread.py",),
}

#: What a stage of laion may import of its other stages: nothing but this.
LAION_ALLOWED: dict[str, set[str]] = {
    "wat": set(),
    "dedup": set(),
    "group": {"dedup"},  # the same candidate files, rows spread over hosts in the same way
    "fetch": set(),
    "clip": {"annotate"},  # columns are added while the embeddings are at hand
    "annotate": {"clip", "wat"},  # the model's tokens; languages as those of candidates
    # Prompts are embedded by the model that scored the pairs; a release is purged in its place.
    "tag": {"clip", "release"},
    "crawl": {"wat", "fetch", "clip", "tag"},  # it is these stages in one
    "filter": {"annotate"},  # languages of captions that have none
    "dedup_images": {"clip"},  # evaluation images are embedded as the pairs were
    "release": set(),
    "report": {"release"},  # it counts what a release holds
    "dalle": {"clip"},  # shards are read, and samples ranked, as for a score
    "knn": {"clip"},
    "web": {"knn", "clip"},  # images to search by are decoded as those of a dataset
    "run": set(),  # it knows the stages by their commands' names alone
}

SOURCES = sorted(path for package in ("img2ds", "laion") for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports, at any level."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(dotted: str) -> str | None:
    """`net` for `img2ds.net.pool`; None for the package itself and for others."""
    words = dotted.split(".")
    return words[1] if words[0] == "img2ds" and len(words) > 1 else None


def home(path: Path) -> str:
    """`net` for `img2ds/net/pool.py`, `job` for `img2ds/download/job.py`."""
    return path.relative_to(ROOT).parts[1].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_where_they_may(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    for dotted in imports(path):
        if name.startswith("img2ds/"):
            assert not dotted.startswith("laion"), f"{name} imports {dotted}"
            wanted = part(dotted)
            if wanted in PLACE and wanted != home(path):
                below = PLACE[wanted] < PLACE[home(path)]
                assert below or wanted in SAME_LAYER.get(home(path), ()), f"{name} imports {dotted}"
        for library, homes in HOMES.items():
            if dotted.split(".")[0] == library:
                assert name.startswith(homes), f"{name} imports {library}"


def test_every_module_has_its_place() -> None:
    stages = {path.name for path in (ROOT / "laion").iterdir() if (path / "__init__.py").exists()}
    assert (stages - {"data", "samples"}) | {"fetch"} == set(LAION_ALLOWED)
    assert {home(path) for path in SOURCES if path.is_relative_to(ROOT / "img2ds")} == set(PLACE)


def modules(path: Path) -> set[str]:
    """Files that a file imports while it is itself imported: not those of its functions."""
    known = {str(p.relative_to(ROOT).with_suffix("")).replace("/", ".") for p in SOURCES}
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {n if n in known else str(node.module) for n in names} & known
    return found


def test_no_import_cycles() -> None:
    left = {str(p.relative_to(ROOT).with_suffix("")).replace("/", "."): modules(p) for p in SOURCES}
    while left:
        free = {name for name, wanted in left.items() if not wanted & (left.keys() - {name})}
        assert free, f"an import cycle among {sorted(left)}"
        for name in free:
            del left[name]


LAION = [path for path in SOURCES if path.is_relative_to(ROOT / "laion")]


@pytest.mark.parametrize("path", LAION, ids=lambda path: str(path.relative_to(ROOT)))
def test_laion_reaches_img2ds_job_through_fetch_alone(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    if name == "laion/fetch.py":
        return
    allowed = set().union(
        *(also for start, also in JOB_SIDE_ALSO.items() if name.startswith(start))
    )
    for dotted in imports(path):
        assert part(dotted) not in JOB_SIDE - allowed, f"{name} may not import {dotted}"


@pytest.mark.parametrize("path", LAION, ids=lambda path: str(path.relative_to(ROOT)))
def test_stages_import_of_each_other_what_they_may(path: Path) -> None:
    stage = home(path)
    for dotted in imports(path):
        words = dotted.split(".")
        if words[0] == "laion" and len(words) > 1 and words[1] in LAION_ALLOWED:
            allowed = {stage} | LAION_ALLOWED.get(stage, set(LAION_ALLOWED))
            assert words[1] in allowed, f"{path.relative_to(ROOT)} may not import {dotted}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_can_be_read_in_one_sitting(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 400
    assert not lines or lines[0].startswith(('"""', "'")), "a file opens with its contract"
    assert path.stem not in {"utils", "helpers", "common"}
