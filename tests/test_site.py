"""The site of the documents: built without a warning, complete, and without foreign servers."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import img2ds
from img2ds.core.failure import Reason

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("mkdocstrings"), reason="needs pip install '.[docs]'"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert documents <= {path.stem for path in site.glob("*.html")}
    for document in documents:
        assert f'href="{document}.html"' in (site / "cookbook.html").read_text()
    home = (site / "index.html").read_text()
    assert 'href="cookbook.html"' in home  # docs/cookbook.md in README.md
    assert 'src="benchmark/stages.png"' in home
    assert (site / "benchmark" / "stages.png").stat().st_size > 10_000


def test_links_that_leave_the_documents_lead_to_the_repository(site: Path) -> None:
    docker = (site / "docker.html").read_text()
    assert 'href="https://github.com/img2ds/img2ds/blob/main/Dockerfile"' in docker
    slurm = (site / "troubleshooting.html").read_text()
    assert "../README.md" not in slurm


def test_the_reference_has_what_is_public(site: Path) -> None:
    pages = "".join(path.read_text() for path in (site / "reference").glob("*.html"))
    for name in set(img2ds.__all__) - {"Options"}:
        assert f"img2ds.{name}" in pages
    download = (site / "reference" / "download.html").read_text()
    assert "number_sample_per_shard" in download
    assert "rows per shard" in download  # the text of the flag
    results = (site / "reference" / "results.html").read_text()
    for reason in Reason:
        assert f"<code>{reason.value}</code>" in results


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'(?:src="|<link[^>]*(?:stylesheet|preload)[^>]*href=")(http[^"]*)',
                            page.read_text())  # fmt: skip
        assert not loaded, page
