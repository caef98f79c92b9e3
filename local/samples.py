"""A handful of real photos through the whole pipeline, and a table of what came out."""

import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from local.errors import StartFailed

# Photos that scikit-image carries (its data/README.txt names each one's origin).
PHOTOS = ("chelsea.png", "coffee.png", "motorcycle_left.png", "astronaut.png", "rocket.jpg")
_DEADLINE_SECONDS = 60
_STEPS = ("queued", "preprocessing", "inferencing", "conversion")
_FINAL = {"completed", "preprocessing_failed", "inference_failed"}
_CONVERTED = {"completed", "failed", "skipped"}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A photo and what became of it."""

    name: str
    image: dict[str, Any]


def run_samples(api_url: str, console: Console) -> None:
    """Send the samples, wait for them, print the table.

    Raises:
        StartFailed: The photos are missing, or one did not come through.
    """
    with httpx.Client(base_url=api_url, timeout=30) as api:
        ids = {path.name: _send(api, path) for path in sample_photos()}
        samples = list(_wait(api, ids, console))
    console.print(_table(samples, api_url))
    failed = [
        sample.name
        for sample in samples
        if {sample.image["status"], sample.image["conversion_status"]} != {"completed"}
    ]
    if failed:
        raise StartFailed(f"These samples did not come through: {', '.join(failed)}.")


def sample_photos() -> list[Path]:
    """The photos' files, found without importing the library that carries them."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise StartFailed("The sample photos are not installed; run make clean, then make run.")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return [folder / name for name in PHOTOS]


def _send(api: httpx.Client, path: Path) -> str:
    """As a browser would: ask for a link, then send the file straight to the bucket."""
    created = api.post("/images", json={"filename": path.name})
    created.raise_for_status()
    answer = created.json()
    form = answer["upload"]
    sent = httpx.post(
        form["url"], data=form["fields"], files={"file": (path.name, path.read_bytes())}, timeout=30
    )
    sent.raise_for_status()
    return str(answer["image_id"])


def _wait(api: httpx.Client, ids: dict[str, str], console: Console) -> Iterator[Sample]:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    done: dict[str, dict[str, Any]] = {}
    with Progress(
        SpinnerColumn(),
        TextColumn("Sample photos"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=len(ids))
        while len(done) < len(ids):
            for name, image_id in ids.items():
                image = done.get(name) or api.get(f"/images/{image_id}").json()
                if image["status"] in _FINAL and image["conversion_status"] in _CONVERTED:
                    done[name] = image
            progress.update(task, completed=len(done))
            if time.monotonic() > deadline:
                missing = ", ".join(name for name in ids if name not in done)
                raise StartFailed(
                    f"These samples were not ready within {_DEADLINE_SECONDS} s: {missing}."
                )
            time.sleep(0.1)
    for name in ids:
        yield Sample(name=name, image=done[name])


def _table(samples: list[Sample], api_url: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Photo")
    table.add_column("Prediction")
    table.add_column("Confidence", justify="right")
    table.add_column("Queued", justify="right")
    table.add_column("Preprocess", justify="right")
    table.add_column("Infer", justify="right")
    table.add_column("Copies", justify="right")
    table.add_column("WebP", justify="right")
    table.add_column("Link", overflow="fold")
    for sample in samples:
        image = sample.image
        timings = image.get("timings_ms", {})
        table.add_row(
            sample.name,
            image.get("top_prediction") or image.get("error", {}).get("code", "?"),
            f"{image['confidence']:.2f}" if "confidence" in image else "-",
            *(_milliseconds(timings, step) for step in _STEPS),
            _saving(image),
            f"{api_url}{image['links']['self']}",
        )
    return table


def _saving(image: dict[str, Any]) -> str:
    """By how much the WebP copy is smaller than the photo."""
    copy = image.get("formats", {}).get("webp")
    if copy is None:
        return "-"
    return f"{-100 * copy['bytes_saved'] / image['original']['bytes']:+.0f} %"


def _milliseconds(timings: dict[str, int], step: str) -> str:
    return f"{timings[step]} ms" if step in timings else "-"
