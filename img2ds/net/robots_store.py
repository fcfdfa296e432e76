"""What the workers of a machine know of robots.txt files: one of them asks a host for all.

An SQLite file in the temporary folder, for as long as the run. Trouble with it costs requests,
never a row: each worker then asks for itself.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time

from img2ds.congestion.shared_file import hold_disk_file

#: Hosts that are remembered at least, of those asked last; and pages of 4 KiB of the file.
MAX_HOSTS, MAX_PAGES = 500_000, 1 << 16
#: Bytes of an entry that others are told of.
MAX_ENTRY = 1 << 16
#: Seconds that the loop waits for another worker's transaction, which takes some microseconds.
_BUSY = 0.05
#: Entries between two looks at how many there are.
_LOOK_EVERY = 256

_TABLE = "CREATE TABLE IF NOT EXISTS robots (origin TEXT PRIMARY KEY, until REAL, entry BLOB)"


class RobotsStore:
    """Entries by origin. Times are in seconds since 1970.

    Args:
        token: of the run's files; None for a worker alone, which stores nothing.
    """

    def __init__(self, token: str | None) -> None:
        self._database: sqlite3.Connection | None = None
        self._descriptor: int | None = None
        self._added = 0
        if token is None:
            return
        try:
            path, self._descriptor = hold_disk_file(token, "robots")
            database = sqlite3.connect(path, timeout=_BUSY, isolation_level=None)
            database.execute("PRAGMA synchronous=OFF")
            database.execute(f"PRAGMA max_page_count={MAX_PAGES}")
            database.execute(_TABLE)
            self._database = database
        except (OSError, sqlite3.Error):
            self.close()

    def get(self, origin: str) -> tuple[bytes, float] | None:
        """Return the entry of an origin, and the seconds for which it holds; None without one.

        The entry is b"" while another worker asks.
        """
        if self._database is None:
            return None
        now = time.time()
        with contextlib.suppress(sqlite3.Error):
            query = "SELECT entry, until FROM robots WHERE origin = ? AND until > ?"
            found = self._database.execute(query, (origin, now)).fetchone()
            return None if found is None else (bytes(found[0]), float(found[1]) - now)
        return None

    def claim(self, origin: str, seconds: float) -> bool:
        """Return whether this worker is to ask; then others wait, for `seconds` at most."""
        if self._database is None:
            return True
        now = time.time()
        try:
            change = self._database.execute(
                "INSERT INTO robots VALUES (?, ?, x'') ON CONFLICT (origin) "
                "DO UPDATE SET until = excluded.until, entry = x'' WHERE until <= ?",
                (origin, now + seconds, now),
            )
            return change.rowcount > 0
        except sqlite3.Error:
            return True

    def put(self, origin: str, entry: bytes, seconds: float) -> None:
        """Tell the others of an entry, which holds for `seconds`."""
        if self._database is None:
            return
        if len(entry) > MAX_ENTRY:
            self.release(origin)
            return
        try:
            self._database.execute(
                "REPLACE INTO robots VALUES (?, ?, ?)", (origin, time.time() + seconds, entry)
            )
            self._added += 1
            if not self._added % _LOOK_EVERY:
                self._forget(MAX_HOSTS)
        except sqlite3.OperationalError:  # full, or busy
            with contextlib.suppress(sqlite3.Error):
                self._forget(MAX_HOSTS // 10)
                self.release(origin)
        except sqlite3.Error:
            self.close()

    def release(self, origin: str) -> None:
        """Give a claim up: another worker may ask."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute(
                    "DELETE FROM robots WHERE origin = ? AND entry = x''", (origin,)
                )

    def close(self) -> None:
        """Close the file. The run removes it."""
        if self._database is not None:
            self._database.close()
            self._database = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _forget(self, kept: int) -> None:
        assert self._database is not None
        self._database.execute(
            "DELETE FROM robots WHERE rowid <= (SELECT max(rowid) FROM robots) - ?", (kept,)
        )
