"""Opens the distributor of a name."""

from __future__ import annotations

from importlib.util import find_spec

from img2ds.core.failure import UsageError
from img2ds.engine.distributors.contract import Distributor

#: Distributors by the name people type, with the package each needs and the extra that has it.
_PACKAGES = {"multiprocessing": None, "pyspark": ("pyspark", "spark"), "ray": ("ray", "ray")}


def open_distributor(
    name: str, processes_count: int | None, subjob_size: int = 1000, gpus: bool = False
) -> Distributor:
    """Return the distributor called `name`; nothing is started yet.

    Args:
        processes_count: most workers at once; None for one a core of the machine or cluster.
        subjob_size: tasks a job of pyspark; of no meaning to the others.
        gpus: workers use a GPU each where there are any; of meaning to ray alone, which
            shows workers those that they asked for and no others.

    Raises:
        UsageError: there is none of that name, or its package is not installed.
    """
    check_distributor(name)
    if name == "ray":
        from img2ds.engine.distributors.ray import RayDistributor

        return RayDistributor(processes_count, gpus)
    if name == "pyspark":
        from img2ds.engine.distributors.spark import SparkDistributor

        return SparkDistributor(processes_count, subjob_size)
    from img2ds.engine.distributors.local import LocalDistributor

    return LocalDistributor(processes_count)


def check_distributor(name: str) -> None:
    """Raise UsageError when there is no distributor of that name, or its package is missing."""
    if name not in _PACKAGES:
        raise UsageError(f"--distributor is one of {', '.join(_PACKAGES)}, got {name!r}")
    needs = _PACKAGES[name]
    if needs is not None and find_spec(needs[0]) is None:
        raise UsageError(
            f"--distributor {name} needs the package {needs[0]}: pip install 'img2ds[{needs[1]}]'"
        )
