"""Quotas of containers, as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from img2ds.engine import cores
from img2ds.engine.cores import cpu_quota, usable_cores


def lay_out(root: Path, groups: str, files: dict[str, str]) -> tuple[Path, Path]:
    """The process' groups, and the files of the hierarchy."""
    listing, mount = root / "cgroup", root / "mount"
    listing.write_text(groups)
    mount.mkdir()
    for name, text in files.items():
        path = mount / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return listing, mount


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000", "cpu.max": "400000 100000"}, 3.0),
        ("0::/../outside\n", {"cpu.max": "max 100000\n"}, None),
        (
            "11:memory:/x\n4:cpu,cpuacct:/x\n",
            {"cpu/x/cpu.cfs_quota_us": "150000\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            1.5,
        ),
        (
            "4:cpu,cpuacct:/x\n",
            {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("", {"cpu.max": "100000 100000"}, None),
    ],
)
def test_the_narrowest_limit_counts(
    tmp_path: Path, groups: str, files: dict[str, str], quota: float | None
) -> None:
    assert cpu_quota(*lay_out(tmp_path, groups, files)) == quota


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(("quota", "cores_used"), [("50000", 1), ("150000", 2), ("9900000", 3)])
def test_a_share_of_a_core_counts_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores_used: int
) -> None:
    listing, mount = lay_out(tmp_path, "0::/\n", {"cpu.max": f"{quota} 100000"})
    monkeypatch.setattr(cores, "_PROC", listing)
    monkeypatch.setattr(cores, "_MOUNT", mount)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    assert usable_cores() == cores_used


def test_machines_without_affinity_count_their_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "_PROC", tmp_path / "none")
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert usable_cores() == 7
