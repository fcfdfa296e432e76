"""An output folder, local or remote: files are staged, flushed, then published under their names.

A file never appears half-written under its name: a local file is renamed into place, a remote one
is uploaded whole and its size checked. A folder of files is published in the same way, except that
the files of a remote one appear one by one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from img2ds.core.failure import UsageError
from img2ds.core.rank import ALONE, Rank
from img2ds.core.state import CLAIMS, state_file
from img2ds.storage.claim import claimed
from img2ds.storage.filesystem import as_os_error, as_usage_error, local_path, resolve
from img2ds.storage.folder_lock import FolderLock
from img2ds.storage.lock import lock_folder
from img2ds.storage.remote_listing import list_remote
from img2ds.storage.staging import (
    ATTEMPTS,
    Staging,
    clean_other_ranks,
    make_folder,
    remove,
    remove_work_folder,
    staging_root,
    this_process,
)
from img2ds.storage.tree import flush, flush_tree, replace_tree
from img2ds.storage.upload import remove_remote, upload


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Where a dataset is written. Picklable: workers publish into the same folder.

    Attributes:
        path: an absolute local path, or an fsspec URL.
        local: whether it is on this machine's file systems.
        staging: this run's files that are not published yet.
        contended: whether two attempts at a shard may be alive, on this machine or on others.
        rank: the run among those that share the folder.
    """

    path: str
    local: bool
    staging: Staging
    contended: bool = False
    rank: Rank = ALONE

    @classmethod
    def open(
        cls,
        path: str,
        tmp_dir: str | None = None,
        contended: bool = False,
        rank: Rank = ALONE,
    ) -> OutputFolder:
        """Return the folder at `path`, which need not exist yet; nothing is touched.

        Args:
            tmp_dir: local folder for staging files; by default inside a local output folder, else
                the system's temporary folder.

        Raises:
            UsageError: the protocol is unknown, or its files would not outlive the run.
        """
        local = local_path(path)
        if path.startswith("memory:"):
            raise UsageError(
                f"the output folder {path} would be in the memory of each worker process and end "
                "with it: use a folder, or a service's URL"
            )
        staging = Staging.open(local, tmp_dir, rank)
        return cls(local or path.rstrip("/"), local is not None, staging, contended, rank)

    def check_writable(self) -> None:
        """Create the folder and write a file into it.

        Raises:
            UsageError: it cannot be created or written to.
        """
        if self.local and os.path.exists(self.path) and not os.path.isdir(self.path):
            raise UsageError(f"the output folder {self.path} is a file: use a folder")
        probe = state_file(f"probe-{this_process()}")
        with as_usage_error(f"write to the output folder {self.path}"):
            if self.local:
                os.makedirs(self.path, exist_ok=True)
                with open(os.path.join(self.path, probe), "xb"):
                    pass
                os.unlink(os.path.join(self.path, probe))
            else:
                fs, target = self._remote(probe)
                fs.pipe_file(target, b"img2ds")
                fs.rm_file(target)
        with as_usage_error(f"write to {self.staging.root} (see --tmp_dir)"):
            self.staging.create()

    def lock(self, force: bool = False) -> FolderLock:
        """Lock the folder against other runs, as a context manager. Creates it if needed.

        Raises:
            UsageError: it cannot be written to, or another run holds it.
        """
        self.check_writable()
        try:
            with as_usage_error(f"lock the output folder {self.path}"):
                return lock_folder(self.path, self.local, force, self.rank)
        except UsageError:
            self._close_staging()
            raise

    def staging_path(self, name: str) -> str:
        """Return the local path where this process writes what will be published as `name`."""
        return self.staging.path(name)

    @contextlib.contextmanager
    def claim(self, marker: str) -> Iterator[bool]:
        """Hold the right to publish the shard of a commit marker; False if it is committed.

        Costs nothing unless the folder is `contended`. Raises OSError.
        """
        if not self.contended:
            yield True
            return
        with claimed(self.path, self.local, marker):
            yield not self.exists(marker)

    def publish(self, name: str) -> int:
        """Flush the file or folder at `staging_path(name)` and move it to its name.

        A folder that is there already is replaced with its contents.

        Returns:
            The version of a file as a listing tells it, 0 if it is unknown.

        Raises:
            OSError: the disk is full, or the upload failed; nothing is published then.
        """
        source = self.staging_path(name)
        if not self.local:
            version = upload(*self._remote(name), source, name)
            remove(source)
            return version
        target = os.path.join(self.path, name)
        folder = os.path.dirname(target)
        for attempt in reversed(range(ATTEMPTS)):
            os.makedirs(folder, exist_ok=True)
            try:
                self._move(source, target)
                break
            except OSError as error:
                if error.errno == errno.EXDEV:
                    self._copy_and_move(source, target)
                    break
                # Another rank removes what is empty in `WORK`, as may be `folder`.
                if error.errno != errno.ENOENT or not os.path.lexists(source) or not attempt:
                    raise
        flush(folder)
        return os.stat(target).st_mtime_ns

    @property
    def _inside(self) -> Staging:
        """A staging folder on the file system of a local output folder."""
        root = staging_root(self.path, self.rank)
        return Staging(root, self.staging.run_id, inside=True)

    def _move(self, source: str, target: str) -> None:
        if os.path.isdir(source):
            if os.stat(source).st_dev != os.stat(os.path.dirname(target)).st_dev:
                raise OSError(errno.EXDEV, "to be copied")  # before it is flushed for nothing
            flush_tree(source)
            near = self._inside.folder
            make_folder(near)
            old = os.path.join(near, f"{this_process()}-old-{os.path.basename(target)}")
            replace_tree(source, target, old)
        else:
            flush(source)
            os.replace(source, target)

    def _copy_and_move(self, source: str, target: str) -> None:
        """Publish from another file system: --tmp_dir may be on a faster disk."""
        near = self._inside.folder
        make_folder(near)
        copy = os.path.join(near, os.path.basename(source))
        try:
            if os.path.isdir(source):
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(source, copy, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(source, copy)
            self._move(copy, target)
        except OSError:
            remove(copy)
            raise
        remove(source)

    def names(self, inside: str = "") -> list[str]:
        """Return the names of its files and folders, sorted; none if it does not exist.

        Args:
            inside: a folder in it to list; the names are relative to the output folder.

        Raises OSError.
        """
        prefix = f"{inside}/" if inside else ""
        if self.local:
            try:
                return sorted(prefix + name for name in os.listdir(os.path.join(self.path, inside)))
            except (FileNotFoundError, NotADirectoryError):
                return []
        found: set[str] = set()
        try:
            with as_os_error(f"list {self.path}"):
                list_remote(*self._remote(inside), lambda name, *_: found.add(prefix + name))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found)

    def inside(self, name: str) -> list[str] | None:
        """Return the names in a folder of it; None if there is no such folder. Raises OSError."""
        if self.local:
            try:
                return os.listdir(os.path.join(self.path, name))
            except (FileNotFoundError, NotADirectoryError):
                return None
        found = [path[len(name) + 1 :] for path in self.names(name)]
        # A listing of a file is the file itself, as is the object that services keep for a folder.
        return [leaf for leaf in found if leaf != name] or None

    def exists(self, name: str) -> bool:
        """Return whether there is a file or folder of that name. Raises OSError."""
        if self.local:
            return os.path.lexists(os.path.join(self.path, name))
        fs, target = self._remote(name)
        with as_os_error(f"look for {name}"):
            return bool(fs.exists(target))

    def is_visible(self, name: str) -> bool:
        """Return whether a name exists, not trusting what a network file system has cached."""
        return self.exists(name) or name in self.names()

    def read_bytes(self, name: str) -> bytes:
        """Return the content of a file. Raises OSError."""
        if self.local:
            with open(os.path.join(self.path, name), "rb") as file:
                return file.read()
        fs, target = self._remote(name)
        with as_os_error(f"read {name}"):
            return cast(bytes, fs.cat_file(target))

    def write_bytes(self, name: str, data: bytes) -> int:
        """Publish `data` as `name`, whole or not at all. Raises OSError.

        Returns:
            The version of the file, see `publish`.
        """
        with open(self.staging_path(name), "wb") as file:
            file.write(data)
        return self.publish(name)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, and folders with their contents; names that do not exist are ignored."""
        for name in names:
            if self.local:
                remove(os.path.join(self.path, name))
            else:
                remove_remote(*self._remote(name))

    def clean_staging(self) -> None:
        """Remove the staging files of dead runs. Call it while the folder is locked.

        Inside the output folder these are all other runs; elsewhere, those of this machine that
        have ended.
        """
        self.staging.clean()
        if self.local:
            self._inside.clean()
            if not self.rank.alone:
                clean_other_ranks(self.path, self.rank)

    def clean_dead_workers(self) -> None:
        """Remove the staging files of dead workers of this machine, of any run.

        Workers call it when they start, since they may be on machines where no run starts.
        """
        self.staging.clean_dead_workers()

    def close(self) -> None:
        """Remove the staging files of this run. Call it after the workers have ended."""
        if self.contended:
            with contextlib.suppress(OSError):
                self.remove([CLAIMS])
        self._close_staging()

    def _close_staging(self) -> None:
        self.staging.close()
        if self.local:
            self._inside.close()
            remove_work_folder(self.path, self.rank)

    def _remote(self, name: str) -> tuple[Any, str]:
        fs, path = resolve(self.path)
        return fs, f"{path.rstrip('/')}/{name}" if name else path
