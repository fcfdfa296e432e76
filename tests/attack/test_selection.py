"""Some kinds of `make attack`, quickly: those that cost next to nothing must stay so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attack.bars import MOST_CPU, MOST_MEMORY, Line, judge
from tests.attack.case import image_cases
from tests.attack.one_by_one import Measured, OneByOne
from tests.attack.responses import response_cases

#: Of CPU time and memory each, measured by the kernel in a process of their own.
CHEAP = (
    "jpeg, baseline, 5M scans of a component", "jpeg, scans behind FF 02 FF FF",
    "jpeg, 50 MB of fill bytes", "png, 400 Mpx by its header", "png, 50 MB of compressed text",
    "webp, 6M unknown chunks", "gif, comments of 49.5 MB", "jpeg 2000, 12M comments",
    "no image, 50 MB of an open comment in XML",
)  # fmt: skip

PROGRAM = """
import json, resource, sys
from pathlib import Path
from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure
from img2ds.image.transform import Transformer
from tests.attack.case import make_bodies

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024

def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

transformer = Transformer(ImageOptions())
for name in sys.argv[1:]:
    (body,) = make_bodies(name)
    Path("/proc/self/clear_refs").write_text("5")
    memory, started = peak(), cpu()
    found = transformer.inspect(body)
    if not isinstance(found, Failure):
        transformer.render(found)
    print(json.dumps([name, cpu() - started, peak() - memory]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
def test_cheap_images_stay_cheap() -> None:
    command = [sys.executable, "-c", PROGRAM, *CHEAP]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, _, _ in found] == list(CHEAP)
    for name, cpu, memory in found:
        assert cpu < MOST_CPU, name
        assert memory < MOST_MEMORY / 4, name


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
def test_a_real_worker_is_measured(tmp_path: Path) -> None:
    cases = [*image_cases(["400 Mpx", "2,500 long tags"]), *response_cases(["16 content"])]
    run = OneByOne(cases, tmp_path, {"timeout": 120, "max_time": 300})
    outcomes = run.run()
    assert dict(zip([case.name for case in cases], outcomes, strict=True)) == {
        "png, 400 Mpx by its header": "image_bomb",
        "jpeg, EXIF of 2,500 long tags": "success",
        "head, 16 content codings": "bad_encoding",
    }
    lines = judge(cases, [run.measured[place] for place in range(len(cases))], outcomes)
    assert not any(line.missed for line in lines)


def test_a_missed_bar_is_told() -> None:
    cases = image_cases(["400 Mpx"])
    for found, missed in (
        (Measured(MOST_CPU / 2, 0), False),
        (Measured(2 * MOST_CPU, 0), True),
        (Measured(0.0, 2 * MOST_MEMORY), True),
    ):
        (line,) = judge(cases, [found], ["image_bomb"])
        assert line.missed is missed
    assert Line("good rows", "1 lost", failed=True).missed
