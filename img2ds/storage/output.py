"""An output folder anywhere: files are written aside, flushed, then published under their names.

Nothing is ever seen half-written under its own name: a local file is renamed into place, a
remote one is uploaded whole and its size checked. A folder of files is published in the same way
as one, but that the files of a remote one appear by and by.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from img2ds.core.failure import UsageError
from img2ds.storage.claim import claimed
from img2ds.storage.filesystem import as_os_error, local_path, resolve, said_plainly
from img2ds.storage.lock import FolderLock, lock_folder
from img2ds.storage.process import is_dead, process_name
from img2ds.storage.tree import flush, flush_tree, replace_tree
from img2ds.storage.upload import remove_remote, upload

#: What img2ds keeps for itself; in a folder of its own because img2dataset reads every `*.json`.
PRIVATE = "_img2ds"

#: Seconds after which an empty folder of unpublished files is nobody's.
OLD = 86_400.0

CLAIMS = f"{PRIVATE}/claims"


_names_by_pid: dict[int, str] = {}


def _this_process() -> str:
    """The name of this process, the same whenever it is asked; a forked child has its own."""
    pid = os.getpid()
    name = _names_by_pid.get(pid)
    # Two threads that ask for the first time must get the same one.
    return name if name is not None else _names_by_pid.setdefault(pid, process_name())


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Where a data set goes. Picklable: workers publish into the same folder.

    Attributes:
        path: an absolute local path, or an fsspec URL.
        local: whether it is on this machine's file systems.
        aside_root: the local folder with one folder a run, for files not published yet.
        run_id: names this run by the process that began it, see `process_name`.
        contended: whether two attempts at a shard may be alive, on this machine or on others.
    """

    path: str
    local: bool
    aside_root: str
    run_id: str
    contended: bool = False

    @classmethod
    def open(cls, path: str, tmp_dir: str | None = None, contended: bool = False) -> OutputFolder:
        """The folder at `path`, which need not exist yet; nothing is touched.

        Args:
            tmp_dir: local folder for unpublished files; by default inside a local output
                folder, so that publishing is a rename, and the system's for others.

        Raises:
            UsageError: no such protocol.
        """
        local = local_path(path)
        if path.startswith("memory:"):
            raise UsageError(
                f"the output folder {path} would be in the memory of each worker process and end "
                "with it: name a folder, or a service's URL"
            )
        if tmp_dir is not None:
            aside_root = os.path.join(os.path.abspath(os.path.expanduser(tmp_dir)), "img2ds")
        elif local is not None:
            aside_root = os.path.join(local, PRIVATE, "tmp")
        else:
            # By user: the first one's folder takes no other's files.
            aside_root = os.path.join(tempfile.gettempdir(), f"img2ds-{os.getuid()}")
        where = local or path.rstrip("/")
        return cls(where, local is not None, aside_root, process_name(), contended)

    @property
    def aside_folder(self) -> str:
        """Where this run writes aside."""
        return os.path.join(self.aside_root, self.run_id)

    def check_writable(self) -> None:
        """Make the folder and write into it once.

        Raises:
            UsageError: it cannot be made or written to.
        """
        if self.local and os.path.exists(self.path) and not os.path.isdir(self.path):
            raise UsageError(f"the output folder {self.path} is a file: name a folder")
        probe = f"{PRIVATE}/probe"
        with said_plainly(f"write to the output folder {self.path}"):
            if self.local:
                os.makedirs(os.path.join(self.path, PRIVATE), exist_ok=True)
                with open(os.path.join(self.path, probe), "wb"):
                    pass
                os.unlink(os.path.join(self.path, probe))
            else:
                fs, target = self._remote(probe)
                fs.pipe_file(target, b"img2ds")
                fs.rm_file(target)
        with said_plainly(f"write to {self.aside_root} (see --tmp_dir)"):
            os.makedirs(self.aside_folder, exist_ok=True)

    def lock(self, force: bool = False) -> FolderLock:
        """Hold the folder against other runs; use it in a `with`. Makes it where needed.

        Raises:
            UsageError: it cannot be written to, or another run holds it.
        """
        self.check_writable()
        with said_plainly(f"lock the output folder {self.path}"):
            return lock_folder(self.path, self.local, force)

    def staging_path(self, name: str) -> str:
        """The local path where this process writes what will be published as `name`."""
        # Attempts of one shard in two processes must not meet.
        base, leaf = os.path.split(name)
        folder = os.path.join(self.aside_folder, base)
        os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, f"{_this_process()}-{leaf}")

    @contextlib.contextmanager
    def claim(self, marker: str) -> Iterator[bool]:
        """Hold the right to publish the shard marked by `mark`; false when it is committed.

        Costs nothing unless the folder is `contended`. Raises OSError.
        """
        if not self.contended:
            yield True
            return
        with claimed(self.path, self.local, marker):
            yield not self.exists(marker)

    def publish(self, name: str) -> None:
        """Flush the file, or the folder of files, written at `aside(name)` and give it its name.

        A folder that is there already is replaced, with all in it.

        Raises:
            OSError: the disk is full, or the upload failed; there is no file `name`
                then that was not there before.
        """
        source = self.staging_path(name)
        if not self.local:
            upload(*self._remote(name), source, name)
            _unlink(source)
            return
        target = os.path.join(self.path, name)
        folder = os.path.dirname(target)
        os.makedirs(folder, exist_ok=True)
        try:
            self._place(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy_in(source, target)
        flush(folder)

    @property
    def _near(self) -> str:
        """A place for this run's files on the file system of a local output folder."""
        return os.path.join(self.path, PRIVATE, "tmp", self.run_id)

    def _place(self, source: str, target: str) -> None:
        if os.path.isdir(source):
            if os.stat(source).st_dev != os.stat(os.path.dirname(target)).st_dev:
                raise OSError(errno.EXDEV, "to be copied")  # and not flushed twice
            flush_tree(source)
            os.makedirs(self._near, exist_ok=True)
            away = os.path.join(self._near, f"{_this_process()}-old-{os.path.basename(target)}")
            replace_tree(source, target, away)
        else:
            flush(source)
            os.replace(source, target)

    def _copy_in(self, source: str, target: str) -> None:
        """Publish from another file system: --tmp_dir may be on a faster disk."""
        os.makedirs(self._near, exist_ok=True)
        copy = os.path.join(self._near, os.path.basename(source))
        try:
            if os.path.isdir(source):
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(source, copy, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(source, copy)
            self._place(copy, target)
        except OSError:
            _unlink(copy)
            raise
        _unlink(source)

    def names(self, inside: str = "") -> list[str]:
        """The names of the files and folders in it, sorted; none when it does not exist.

        Args:
            inside: a folder of it to look into; the names are relative to the output folder.

        Raises OSError.
        """
        prefix = f"{inside}/" if inside else ""
        if self.local:
            try:
                return sorted(prefix + name for name in os.listdir(os.path.join(self.path, inside)))
            except (FileNotFoundError, NotADirectoryError):
                return []
        fs, target = self._remote(inside)
        fs.invalidate_cache(target)
        try:
            with as_os_error(f"list {self.path}"):
                found = fs.ls(target, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted({prefix + path.rstrip("/").rpartition("/")[2] for path in found})

    def inside(self, name: str) -> list[str] | None:
        """The names in the folder `name`, None when there is no such folder. Raises OSError."""
        if self.local:
            try:
                return os.listdir(os.path.join(self.path, name))
            except (FileNotFoundError, NotADirectoryError):
                return None
        found = [path[len(name) + 1 :] for path in self.names(name)]
        # The listing of a file is itself; so is what some services keep to have a folder.
        return [leaf for leaf in found if leaf != name] or None

    def exists(self, name: str) -> bool:
        """Whether there is a file or folder of that name. Raises OSError."""
        if self.local:
            return os.path.lexists(os.path.join(self.path, name))
        fs, target = self._remote(name)
        with as_os_error(f"look for {name}"):
            return bool(fs.exists(target))

    def is_visible(self, name: str) -> bool:
        """Like `exists`, but not deceived by what a network file system remembers."""
        return self.exists(name) or name in self.names()

    def read_bytes(self, name: str) -> bytes:
        """The content of a file. Raises OSError."""
        if self.local:
            with open(os.path.join(self.path, name), "rb") as file:
                return file.read()
        fs, target = self._remote(name)
        with as_os_error(f"read {name}"):
            return cast(bytes, fs.cat_file(target))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Publish `data` as `name`, whole or not at all. Raises OSError."""
        with open(self.staging_path(name), "wb") as file:
            file.write(data)
        self.publish(name)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, and folders with all in them; those that are not there are fine."""
        for name in names:
            if self.local:
                _unlink(os.path.join(self.path, name))
            else:
                remove_remote(*self._remote(name))

    def clean_staging(self) -> None:
        """Remove what dead runs left aside. Call it while the folder is locked.

        Inside the output folder that is all of them, those of other machines too, since there is
        one run at a time; elsewhere those of this machine.
        """
        inside = os.path.join(self.path, PRIVATE, "tmp") if self.local else None
        for root in {self.aside_root, inside or self.aside_root}:
            for run_id in os.listdir(root) if os.path.isdir(root) else []:
                if run_id != self.run_id and (root == inside or is_dead(run_id)):
                    shutil.rmtree(os.path.join(root, run_id), ignore_errors=True)

    def clean_dead_workers(self) -> None:
        """Remove what dead workers of this machine left aside, in whatever run.

        For workers to call when they begin: on machines where no run begins nobody else would.
        """
        for folder, inner, names in os.walk(self.aside_root, topdown=False):
            if folder != self.aside_root:  # what lies there are the folders of runs
                names = names + inner
            for name in filter(is_dead, names):
                with contextlib.suppress(OSError):
                    _unlink(os.path.join(folder, name))
            with contextlib.suppress(OSError):  # not empty, or gone
                # A live run may be about to write into one that is empty.
                if folder != self.aside_root and time.time() - os.stat(folder).st_mtime > OLD:
                    os.rmdir(folder)

    def close(self) -> None:
        """Remove what this run left aside. Call it once the workers have ended."""
        shutil.rmtree(self.aside_folder, ignore_errors=True)
        if self.aside_root != os.path.join(self.path, PRIVATE, "tmp"):
            with contextlib.suppress(OSError):  # other runs may be in there
                os.rmdir(self.aside_root)
        if self.local:
            shutil.rmtree(self._near, ignore_errors=True)
        if self.contended:
            with contextlib.suppress(OSError):
                self.remove([CLAIMS])

    def free_bytes(self) -> int | None:
        """Bytes that can still be written, None where nobody can tell."""
        if not self.local:
            return None
        path = self.path
        while not os.path.exists(path):
            path = os.path.dirname(path)
        return shutil.disk_usage(path).free

    def _remote(self, name: str) -> tuple[Any, str]:
        fs, path = resolve(self.path)
        return fs, f"{path.rstrip('/')}/{name}" if name else path


def _unlink(path: str) -> None:
    """Remove a file, or a folder with all in it; if it is not there that is fine."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
