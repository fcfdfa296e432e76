"""A run with hostile rows among the good ones, smaller than that of `make attack`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from img2ds.image import native
from tests.attack.case import image_cases
from tests.attack.mixed import MOST_MEMORY, Mixed
from tests.attack.responses import response_cases

#: One kind of each: of memory, of work, of a coding without an end, and of records of a byte.
KINDS = ("65,536 groups of codes", "bmp, 25M runs", "2.5M members", "head, 65 kB in records")
GOOD = 76
#: CPU seconds of each hostile row: those without pixels may take one, the others more.
MOST_CPU = 1.5


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for CPU time and memory")
@pytest.mark.skipif(len(native.loaded()) < 4, reason="of the compiled parts")
def test_hostile_rows_cost_good_ones_nothing(tmp_path: Path) -> None:
    cases = [*image_cases(KINDS), *response_cases(KINDS)]
    assert len(cases) == len(KINDS)
    good, cpu, memory = Mixed(cases, tmp_path, GOOD).run()
    assert not good.failed
    assert cpu.cpu is not None
    assert cpu.most_cpu is not None
    assert cpu.cpu <= cpu.most_cpu / 2 * 1.5 + MOST_CPU * len(cases)
    assert memory.memory is not None
    assert 0 < memory.memory <= MOST_MEMORY
