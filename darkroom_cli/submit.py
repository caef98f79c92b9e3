"""Photos of this machine into the service, each content once."""

import base64
import binascii
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darkroom_cli.ledger import Entry, Ledger
from darkroom_cli.problems import Misused, Problem, Refused
from darkroom_cli.service import Service

SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
_GONE = {"expired", "deleted"}
# An upload whose end nobody saw: how long its event may take to show.
_LOOKS, _LOOK_SECONDS = 30, 0.3


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of a file: an image, or a problem; ``again`` where nothing had to be sent."""

    paths: tuple[Path, ...]
    image_id: str | None = None
    again: bool = False
    problem: Problem | None = None


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files that are named, and the images of the folders that are, in order.

    Raises:
        Misused: A path does not exist, or a folder holds no image.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            images = sorted(
                file
                for file in path.rglob("*")
                if file.is_file() and file.suffix.lower() in SUFFIXES
            )
            if not images:
                raise Misused(f"The folder {path} holds no image ({', '.join(sorted(SUFFIXES))}).")
            found |= dict.fromkeys(images)
        elif path.is_file():
            found[path] = None
        else:
            raise Misused(f"There is no file {path}.")
    return list(found)


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Sends files.

    Args:
        service: Where to.
        ledger: What was sent before.
        body: What each image is asked for with: ``outputs``, ``metadata``.
        again: Send also what was sent before, as new images.
        parallel: How many at a time.
        sleep: Waits so many seconds.
    """

    service: Service
    ledger: Ledger
    body: Mapping[str, Any]
    again: bool = False
    parallel: int = 4
    sleep: Callable[[float], None] = time.sleep

    def __call__(
        self,
        files: Iterable[Path],
        *,
        done: Callable[[Sent], None],
        moved: Callable[[int], None],
    ) -> list[Sent]:
        """Send the files; one result for each content.

        After an interruption no further file is begun, and those under way are finished.

        Args:
            files: All of them.
            done: Told of each result.
            moved: Told of each piece of bytes that was read to be sent.
        """
        contents: dict[str, list[Path]] = {}
        results: list[Sent] = []
        for path in files:
            try:
                contents.setdefault(_sha256(path), []).append(path)
            except OSError as error:
                problem = Problem(f"{path} cannot be read: {error.strerror}.")
                results.append(Sent(paths=(path,), problem=problem))
                done(results[-1])
        pool = ThreadPoolExecutor(self.parallel)
        try:
            running = [
                pool.submit(self._one, sha256, tuple(paths), moved)
                for sha256, paths in contents.items()
            ]
            for future in as_completed(running):
                results.append(future.result())
                done(results[-1])
        finally:
            pool.shutdown(cancel_futures=True)
        order = {path: number for number, path in enumerate(files)}
        return sorted(results, key=lambda sent: order[sent.paths[0]])

    def _one(self, sha256: str, paths: tuple[Path, ...], moved: Callable[[int], None]) -> Sent:
        try:
            image_id, again = self._sent(sha256, paths[0], moved)
        except Problem as problem:
            return Sent(paths=paths, problem=problem)
        except OSError as error:
            return Sent(
                paths=paths, problem=Problem(f"{paths[0]} cannot be read: {error.strerror}.")
            )
        return Sent(paths=paths, image_id=image_id, again=again)

    def _sent(self, sha256: str, path: Path, moved: Callable[[int], None]) -> tuple[str, bool]:
        entry = self.ledger.entry(sha256)
        if self.again and entry.sent:
            entry = Entry(round=entry.round + 1)
        if entry.image_id is not None and entry.begun:
            status = self._arrived(entry.image_id, patient=not entry.sent)
            if status not in _GONE and (entry.sent or status != "pending_upload"):
                self.ledger.write(sha256, replace(entry, sent=True))
                return entry.image_id, True
            if status in _GONE:
                entry = Entry(round=entry.round + 1)
        # A link that is of no use any more comes from a replay; a new round gets a new one.
        for last in (False, True):
            answer = self._created(sha256, path, entry)
            image_id = str(answer["image_id"])
            status = self._arrived(image_id, patient=False)
            if status in _GONE:
                entry = Entry(round=entry.round + 1)
                if last:
                    break
                continue
            if status != "pending_upload":
                self.ledger.write(
                    sha256, Entry(round=entry.round, image_id=image_id, begun=True, sent=True)
                )
                return image_id, True
            entry = Entry(round=entry.round, image_id=image_id, begun=True)
            self.ledger.write(sha256, entry)
            _check_size(path, answer["upload"])
            try:
                with path.open("rb") as file:
                    self.service.upload(answer["upload"], path.name, _Counted(file, moved))
            except Refused as refused:
                entry = Entry(round=entry.round + 1)
                self.ledger.write(sha256, entry)
                if last or refused.code != "upload_refused":
                    raise
                continue
            self.ledger.write(sha256, replace(entry, sent=True))
            return image_id, False
        raise Problem(f"{path} became an image that was deleted at once.")

    def _created(self, sha256: str, path: Path, entry: Entry) -> dict[str, Any]:
        body = {"filename": path.name[-255:], **self.body}
        # Another request under the same key would be refused.
        text = f"{sha256}\n{entry.round}\n{json.dumps(body, sort_keys=True)}"
        key = f"darkroom-{hashlib.sha256(text.encode()).hexdigest()}"
        return self.service.post("/images", body, idempotency_key=key)

    def _arrived(self, image_id: str, *, patient: bool) -> str:
        """The image's status; ``deleted`` where it is gone."""
        status = "pending_upload"
        for look in range(_LOOKS if patient else 1):
            if look:
                self.sleep(_LOOK_SECONDS)
            try:
                status = str(self.service.get(f"/images/{image_id}")["status"])
            except Refused as refused:
                if refused.code != "image_not_found":
                    raise
                return "deleted"
            if status != "pending_upload":
                break
        return status


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, file: Any, moved: Callable[[int], None]) -> None:
        self._file = file
        self._moved = moved

    def read(self, size: int = -1) -> bytes:
        piece: bytes = self._file.read(size)
        self._moved(len(piece))
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def fileno(self) -> int:
        return int(self._file.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_size(path: Path, form: Mapping[str, Any]) -> None:
    """Whether the form's policy takes the file: no need to send it first.

    Raises:
        Refused: It is empty or too large.
    """
    try:
        policy = json.loads(base64.b64decode(form["fields"]["policy"]))
    except (KeyError, ValueError, binascii.Error):
        return
    size = path.stat().st_size
    for condition in policy.get("conditions", []):
        if isinstance(condition, list) and condition[0] == "content-length-range":
            if size < condition[1]:
                raise Refused(f"{path} is empty.", code="image_empty")
            if size > condition[2]:
                raise Refused(
                    f"{path} has {size / 1e6:.1f} MB, and the service takes at most "
                    f"{condition[2] / 1e6:.1f} MB.",
                    code="image_too_large",
                )
