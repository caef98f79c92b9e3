"""What people read, on the standard output; progress and errors go to the other one."""

import json
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """A document for a program: one, and nothing beside it."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def print_images(images: Iterable[Mapping[str, Any]]) -> None:
    """Images, a line each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Image", "File", "Status", "Prediction"):
        table.add_column(name, overflow="fold")
    for name in ("Confidence", "WebP"):
        table.add_column(name, justify="right")
    for image in images:
        table.add_row(
            str(image.get("image_id", "-")),
            _plain(image.get("filename") or image.get("original", {}).get("filename") or "-"),
            str(image.get("status", "-")),
            _answer(image),
            f"{image['confidence']:.2f}" if "confidence" in image else "-",
            _saving(image),
        )
    _wide(table)


def print_parcel(parcel: Mapping[str, Any]) -> None:
    """How a parcel stands, and its history."""
    current = parcel["current"]
    if current is None:
        OUT.print(f"Nobody has heard of {parcel['tracking_id']}.", markup=False)
        return
    OUT.print(
        f"{parcel['tracking_id']} is {current['status']} since {_moment(current['occurred_at'])}.",
        markup=False,
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Happened", "Status", "Latitude", "Longitude", "Photo"):
        table.add_column(name)
    for update in parcel["updates"]:
        place = update.get("location") or {}
        table.add_row(
            _moment(update["occurred_at"]),
            update["status"],
            str(place.get("lat", "-")),
            str(place.get("lng", "-")),
            str(update.get("image_id", "-")),
        )
    _wide(table)


def print_rows(names: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A plain table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    _wide(table)


def _wide(table: Table) -> None:
    if not OUT.is_terminal:
        # A table in a file or a pipe need not be folded.
        OUT.width = 200
    OUT.print(table)


def _answer(image: Mapping[str, Any]) -> str:
    error = image.get("error") or image.get("conversion_error")
    if error:
        return _plain(f"{error['code']}: {error.get('message', '')}")
    return _plain(image.get("top_prediction") or "-")


def _saving(image: Mapping[str, Any]) -> str:
    """By how much the WebP copy is smaller than the photo."""
    copy = image.get("formats", {}).get("webp")
    if copy is None:
        return "-"
    return f"{-100 * copy['bytes_saved'] / image['original']['bytes']:+.0f} %"


def _moment(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000))


def _plain(text: str) -> str:
    # Names come from strangers: neither rich's markup nor a terminal's control characters.
    return "".join(c if c.isprintable() else "?" for c in str(text)).replace("[", r"\[")
