"""The devices that models run on: checked, picked, and claimed by processes."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Sequence
from typing import IO

from img2ds.core.failure import UsageError

#: Locks of this process: closing the file would release the lock.
_claimed: list[IO[bytes]] = []


def claim_device(devices: Sequence[str]) -> str:
    """Return the first device that no other process of this user has claimed, and claim it.

    The claim holds until this process ends. When all devices are claimed, they are shared.
    """
    for device in devices:
        name = f"img2ds-{os.getuid()}-{device.replace(':', '-')}.lock"
        file = open(os.path.join(tempfile.gettempdir(), name), "ab")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _claimed.append(file)
        return device
    return devices[os.getpid() % len(devices)]


def check_devices(names: Sequence[str]) -> None:
    """Raise UsageError for names that cannot be devices on any machine."""
    for name in names:
        kind, _, number = name.partition(":")
        if name not in ("cpu", "auto") and (kind != "cuda" or (number and not number.isdigit())):
            raise UsageError(f"--devices {name}: name cpu, cuda, or one such as cuda:0")
    if len(names) > 1 and {"cpu", "auto"} & set(names):
        raise UsageError("--devices: name either cpu or CUDA devices, not both")


def pick_devices(names: Sequence[str]) -> list[str]:
    """Return the devices of this machine for the names that a user gave.

    No names mean all CUDA devices, or the CPU where there are none.

    Raises:
        UsageError: this machine does not have one of them, or a CPU is named together with others.
    """
    check_devices(names)
    if list(names) == ["cpu"]:
        return ["cpu"]
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    every = [f"cuda:{number}" for number in range(count)]
    if not names or list(names) == ["auto"]:
        return every or ["cpu"]
    found: list[str] = []
    for name in names:
        number = name.partition(":")[2]
        if int(number or 0) >= count:
            have = f"has {count} CUDA devices" if count else "has no CUDA device"
            raise UsageError(f"--devices {name}: this machine {have} that torch can use")
        found += [name] if number else every
    return list(dict.fromkeys(found))
