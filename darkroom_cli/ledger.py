"""What was sent where, kept on this machine, so that nothing is sent twice."""

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from darkroom_cli.problems import Misused


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of some content at one service.

    Attributes:
        round: Raised where the content has to become a new image: the old one was deleted.
        image_id: What it became.
        begun: Whether its upload was begun; it may have arrived.
        sent: Whether it arrived.
    """

    round: int = 0
    image_id: str | None = None
    begun: bool = False
    sent: bool = False


class Ledger:
    """A SQLite file: safe against a kill at any time, and among processes and threads.

    Args:
        path: Of the file; made with its folder where it is missing.
        url: Of the service; entries of others are not seen.

    Raises:
        Misused: The file is none of ours, or cannot be written.
    """

    def __init__(self, path: Path, *, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = _opened(path)
        except (OSError, sqlite3.Error) as error:
            raise Misused(
                f"What was sent cannot be written down in {path} ({error}); "
                "name another file with --state."
            ) from None

    def entry(self, sha256: str) -> Entry:
        """What is known of this content."""
        with self._lock:
            row = self._rows.execute(
                "SELECT round, image_id, begun, sent FROM sent WHERE url = ? AND sha256 = ?",
                (self._url, sha256),
            ).fetchone()
        if row is None:
            return Entry()
        return Entry(round=row[0], image_id=row[1], begun=bool(row[2]), sent=bool(row[3]))

    def write(self, sha256: str, entry: Entry) -> None:
        """Write down what is known now."""
        with self._lock:
            self._rows.execute(
                "INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?, ?, ?)",
                (self._url, sha256, entry.round, entry.image_id, entry.begun, entry.sent),
            )

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()


def _opened(path: Path) -> sqlite3.Connection:
    rows = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        rows.execute(
            "CREATE TABLE IF NOT EXISTS sent (url TEXT, sha256 TEXT, round INTEGER, "
            "image_id TEXT, begun INTEGER, sent INTEGER, PRIMARY KEY (url, sha256))"
        )
    except sqlite3.Error:
        rows.close()
        raise
    return rows
