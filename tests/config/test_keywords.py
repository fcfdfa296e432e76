"""The flags as types: equal to the flags, and of use to a type checker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_they_are_what_the_flags_say() -> None:
    pytest.importorskip("ruff")
    code = "import write_keywords; print(write_keywords.keywords(), end='')"
    made = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "scripts",
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout == (ROOT / "img2ds/config/keywords.py").read_text(), (
        "run scripts/write_keywords.py"
    )


def test_wrong_calls_are_found_by_mypy(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    script = tmp_path / "script.py"
    script.write_text(
        "import img2ds\n"
        'img2ds.download("list.txt", output_folder="out", image_size=256, concurrency=8)\n'
        'img2ds.download("list.txt", 256, "out")\n'
        'img2ds.download("list.txt", image_size="big")\n'
        'img2ds.download("list.txt", output_format="webdatasets")\n'
        'img2ds.download("list.txt", imagesize=256)\n'
        "for sample in img2ds.stream(['http://a.example/'], timeout=5):\n"
        "    data: bytes = bytes(sample.image)\n"
        'img2ds.stream("list.txt", output_folder="out")\n'
    )
    output, _, _ = api.run(
        ["--strict", "--follow-imports=silent", f"--cache-dir={tmp_path}", str(script)]
    )
    found = [int(line.split(":")[1]) for line in output.splitlines() if ": error:" in line]
    assert found == [4, 5, 6, 9], output


def test_help_has_the_text_of_every_flag() -> None:
    import img2ds
    from img2ds.config.options import FLAGS

    for name, spec in FLAGS.items():
        if name != "url_list":
            assert f"{name}: {spec.metadata['help']}" in str(img2ds.download.__doc__)
    assert "timeout: " in str(img2ds.stream.__doc__)
    assert "output_format: " not in str(img2ds.stream.__doc__)
