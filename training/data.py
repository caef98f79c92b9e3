"""The labelled photos: which there are, and their pixels decoded once.

Convention: photos are H x W x 3, uint8, RGB, 0 to 255; labels are int64 indices into ``labels``.
A photo keeps its own height and width (its shortest side is what the data set has), so the cache
is one flat run of bytes with an offset and a shape for each photo.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from training.errors import DatasetMissing

SPLITS = ("train", "val")
SUFFIXES = frozenset({".webp", ".jpg", ".jpeg", ".png"})


@dataclass(frozen=True)
class Listing:
    """The files of one split, in an order that depends on nothing but their names."""

    split: str
    labels: tuple[str, ...]
    paths: tuple[Path, ...]
    targets: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Photos:
    """Decoded photos of one split.

    Shapes: ``pixels`` (size_bytes,) uint8; ``offsets`` (n,) int64; ``shapes`` (n, 2) int64 as
    height, width; ``targets`` (n,) int64.
    """

    labels: tuple[str, ...]
    pixels: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    shapes: NDArray[np.int64]
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.targets)

    def photo(self, index: int) -> NDArray[np.uint8]:
        """Return photo ``index`` as (height, width, 3) uint8."""
        height, width = (int(side) for side in self.shapes[index])
        start = int(self.offsets[index])
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)


def find_labels(root: Path) -> tuple[str, ...]:
    """Return the labels of the data set, sorted: the order is the order of the model's outputs.

    Raises:
        DatasetMissing: there is no data set at ``root``, or its splits name different classes.
    """
    found: list[tuple[str, ...]] = []
    for split in SPLITS:
        folder = root / split
        if not folder.is_dir():
            raise DatasetMissing(
                f"no photos at {folder}: point --data at a folder with train/<class>/ and "
                "val/<class>/ in it"
            )
        found.append(tuple(sorted(child.name for child in folder.iterdir() if child.is_dir())))
    train, val = found
    if not train or train != val:
        odd = sorted(set(train) ^ set(val))
        raise DatasetMissing(
            f"the classes under {root} do not match: train has {len(train)}, val has {len(val)}, "
            f"only in one of them: {', '.join(odd) or 'none'}; give both the same folders"
        )
    return train


def list_photos(root: Path, split: str, limit_per_class: int | None = None) -> Listing:
    """Return the photos of one split, class by class, each class in the order of its file names.

    Raises:
        DatasetMissing: there is no data set at ``root``, or a class of it is empty.
    """
    labels = find_labels(root)
    paths: list[Path] = []
    targets: list[int] = []
    for target, label in enumerate(labels):
        folder = root / split / label
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not files:
            raise DatasetMissing(f"no photos of class {label!r} in {folder}: add some or remove it")
        if limit_per_class is not None and limit_per_class < len(files):
            # A seeded sample and not the first ones: neighbours in a folder come from one source.
            chosen = np.random.default_rng(target).choice(len(files), limit_per_class, False)
            files = [files[index] for index in sorted(chosen)]
        paths.extend(files)
        targets.extend([target] * len(files))
    return Listing(split, labels, tuple(paths), tuple(targets))


def load_photos(listing: Listing, cache: Path) -> Photos:
    """Return the photos of ``listing`` from the cache, decoding them first where it lacks them.

    The cache is keyed by the files' names and sizes, so another listing gets another cache.

    Raises:
        OSError: a photo cannot be read or the cache cannot be written.
    """
    key = _key(listing)
    index_path = cache / f"{listing.split}-{key}.json"
    pixels_path = cache / f"{listing.split}-{key}.bin"
    if not index_path.exists():
        _decode(listing, pixels_path, index_path)
    index = json.loads(index_path.read_text(encoding="utf-8"))
    shapes = np.asarray(index["shapes"], dtype=np.int64)
    sizes = shapes.prod(axis=1) * 3
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)[:-1]])
    pixels = np.memmap(pixels_path, dtype=np.uint8, mode="r")
    targets = np.asarray(listing.targets, dtype=np.int64)
    return Photos(listing.labels, pixels, offsets, shapes, targets)


def _key(listing: Listing) -> str:
    digest = hashlib.sha256()
    for path in listing.paths:
        digest.update(f"{path.parent.name}/{path.name}:{path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def _decode(listing: Listing, pixels_path: Path, index_path: Path) -> None:
    pixels_path.parent.mkdir(parents=True, exist_ok=True)
    shapes: list[tuple[int, int]] = []
    with pixels_path.open("wb") as stream:
        for path in track(listing.paths, description=f"decoding {listing.split}"):
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
            shapes.append((pixels.shape[0], pixels.shape[1]))
            stream.write(pixels.tobytes())
    # The index is written last: a run that was cut short leaves none, and decodes again.
    index_path.write_text(json.dumps({"shapes": shapes}), encoding="utf-8")
