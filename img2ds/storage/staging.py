"""The staging folder: local files that are not published yet, by run and by process.

Each run has a folder, named after the process that began it; in it, each process puts its own name
before those of its files. This way, files of dead runs and processes are recognized and removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass

from img2ds.core.rank import ALONE, Rank
from img2ds.core.state import RANKS, STAGING, WORK
from img2ds.storage.process import is_dead, process_name

#: Seconds after which an empty folder in a run's staging folder counts as abandoned.
ABANDONED = 86_400.0

#: Attempts to create a folder while other runs remove those above it.
ATTEMPTS = 10

_names_by_pid: dict[int, str] = {}


def this_process() -> str:
    """Return the name of this process, always the same; a forked child has its own."""
    pid = os.getpid()
    name = _names_by_pid.get(pid)
    # Two threads that ask for the first time must get the same one.
    return name if name is not None else _names_by_pid.setdefault(pid, process_name())


def make_folder(path: str) -> None:
    """Create a folder of this run, and those above it. Raises OSError."""
    for _ in range(ATTEMPTS):
        # A run that ends removes the folder above while it is empty.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            os.makedirs(path, exist_ok=True)
            return
    os.makedirs(path, exist_ok=True)


def staging_root(output_folder: str, rank: Rank) -> str:
    """Return the staging folder inside a local output folder: each rank has one of its own."""
    root = os.path.join(output_folder, STAGING)
    return root if rank.alone else os.path.join(root, rank.name)


def clean_other_ranks(output_folder: str, rank: Rank) -> None:
    """Remove the staging files of dead runs with another number of ranks, or without ranks.

    Call it while the folder is locked: then none of these is alive.
    """
    root = os.path.join(output_folder, STAGING)
    for name in os.listdir(root) if os.path.isdir(root) else []:
        other = Rank.of_name(name)
        if other is None or other.world_size != rank.world_size:
            shutil.rmtree(os.path.join(root, name), ignore_errors=True)


def remove_work_folder(output_folder: str, rank: Rank = ALONE) -> None:
    """Remove the `WORK` of a local output folder, unless something in there is still needed."""
    own = () if rank.alone else (f"{STAGING}/{rank.name}",)
    for name in (*own, STAGING, RANKS, WORK):
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(output_folder, name))


def remove(path: str) -> None:
    """Remove a file, or a folder and its contents; do nothing if it does not exist."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


@dataclass(frozen=True, slots=True)
class Staging:
    """The staging folder of one run.

    Attributes:
        root: the local folder with one folder per run.
        run_id: the name of this run's folder, see `process_name`.
        inside: whether `root` is inside the output folder, where only this run may be alive.
        shared: whether `root` is in the system's temporary folder, where anybody can create it.
    """

    root: str
    run_id: str
    inside: bool
    shared: bool = False

    @classmethod
    def open(cls, output_folder: str | None, tmp_dir: str | None, rank: Rank = ALONE) -> Staging:
        """Return the staging folder of a new run; nothing is created yet.

        Args:
            output_folder: the path of a local output folder. Staging inside it by default makes
                publishing a rename.
            tmp_dir: a local folder to use instead.
            rank: the run among those that share the output folder.
        """
        if tmp_dir is not None:
            root = os.path.join(os.path.abspath(os.path.expanduser(tmp_dir)), "img2ds")
        elif output_folder is not None:
            root = staging_root(output_folder, rank)
        else:
            # One per user: others cannot write into the folder of the first.
            root = os.path.join(tempfile.gettempdir(), f"img2ds-{os.getuid()}")
        inside = output_folder is not None and root == staging_root(output_folder, rank)
        return cls(root, process_name(), inside, tmp_dir is None and output_folder is None)

    def create(self) -> None:
        """Create this run's folder.

        Raises:
            OSError: it cannot be created, or its root in the system's temporary folder is another
                user's.
        """
        if self.shared:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.root, 0o700)
            there = os.lstat(self.root)
            if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid():
                raise PermissionError(errno.EACCES, "it belongs to another user")
        make_folder(self.folder)

    @property
    def folder(self) -> str:
        """The path of this run's folder."""
        return os.path.join(self.root, self.run_id)

    def path(self, name: str) -> str:
        """Return the path where this process writes what will be published as `name`."""
        # Attempts at one shard in two processes must not meet.
        base, leaf = os.path.split(name)
        folder = os.path.join(self.folder, base)
        if not os.path.isdir(folder):
            self.create()
            os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, f"{this_process()}-{leaf}")

    def clean(self) -> None:
        """Remove the folders of other runs, if they are known to be dead."""
        for run_id in os.listdir(self.root) if os.path.isdir(self.root) else []:
            if run_id != self.run_id and (self.inside or is_dead(run_id)):
                shutil.rmtree(os.path.join(self.root, run_id), ignore_errors=True)

    def clean_dead_workers(self) -> None:
        """Remove the files of dead workers of this machine, of any run."""
        for folder, inner, names in os.walk(self.root, topdown=False):
            if folder != self.root:  # that one holds the folders of runs
                names = names + inner
            for name in filter(is_dead, names):
                with contextlib.suppress(OSError):
                    remove(os.path.join(folder, name))
            with contextlib.suppress(OSError):  # not empty, or gone
                # A live run may be about to write into one that is empty.
                if folder != self.root and time.time() - os.stat(folder).st_mtime > ABANDONED:
                    os.rmdir(folder)

    def close(self) -> None:
        """Remove this run's folder, and the root if it is outside the output folder and empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if not self.inside:
            with contextlib.suppress(OSError):  # other runs may be in there
                os.rmdir(self.root)
