"""From labelled photos to the finished package: ``python -m training.train``.

Convention: photos are (height, width, 3) uint8 RGB; images are (n, 3, height, width) float32,
normalised; the mean and the deviation are (3,) of pixels in 0 to 1.

It goes on where an earlier run stopped: photos decoded and epochs done lie in the work folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.card import Report, write_card
from training.data import Photos, list_photos, load_photos
from training.errors import TrainingError
from training.evaluate import Preparation
from training.fit import Recipe, fit
from training.network import Classifier
from training.package import build_package, write_package

REPOSITORY = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the whole of it; return 0, or 2 with one sentence on what is missing."""
    options = _options(arguments)
    try:
        _run(options)
    except TrainingError as error:
        sys.stderr.write(f"training: {error}\n")
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    listings = {
        split: list_photos(options.data, split, options.limit_per_class)
        for split in ("train", "val")
    }
    train, val = (load_photos(listings[split], options.cache) for split in ("train", "val"))
    mean, deviation = channel_statistics(train)
    preparation = Preparation(
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        deviation=(float(deviation[0]), float(deviation[1]), float(deviation[2])),
    )
    recipe = Recipe(seed=options.seed, epochs=options.epochs)
    check = _check(val, preparation)
    run = fit(train, recipe, preparation, options.work / "checkpoint.pt", check)
    package = build_package(run.averaged, train, val, preparation, options.work)
    write_package(package, options.out)
    write_card(Report(package, run, recipe, len(train), len(val), options.threads), options.out)
    chosen = package.of(package.chosen)
    sys.stdout.write(
        f"{options.out}: {package.chosen}, {chosen.size_bytes / 1e6:.2f} MB, val top-1 "
        f"{chosen.figures.top1:.4f}, top-5 {chosen.figures.top5:.4f}\n"
    )


def channel_statistics(photos: Photos) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the deviation (3,) of the channels, 0 to 1, rounded to four places."""
    step = max(1, len(photos) // 2000)
    means, squares = [], []
    for index in range(0, len(photos), step):
        values = photos.photo(index).reshape(-1, 3).astype(np.float64) / 255.0
        means.append(values.mean(axis=0))
        squares.append((values**2).mean(axis=0))
    mean = np.mean(np.stack(means), axis=0, dtype=np.float64)
    variance = np.mean(np.stack(squares), axis=0, dtype=np.float64) - mean**2
    return np.asarray(np.round(mean, 4)), np.asarray(np.round(np.sqrt(variance), 4))


def _check(val: Photos, preparation: Preparation) -> Callable[[Classifier], float]:
    def top1(network: Classifier) -> float:
        images = torch.from_numpy(preparation.images(val))
        network.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            parts = [
                network(part.to(memory_format=torch.channels_last)).argmax(dim=1)
                for part in torch.tensor_split(images, tuple(range(64, len(images), 64)))
            ]
        return float((torch.cat(parts).numpy() == val.targets).mean())

    return top1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    recipe = Recipe()
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        default=REPOSITORY.parent / "shared" / "dataset",
        help="folder with train/<class>/ and val/<class>/ (default: ../shared/dataset)",
    )
    add(
        "--out",
        type=Path,
        default=REPOSITORY / "vendor" / "darkroom_model",
        help="where the package goes (default: vendor/darkroom_model)",
    )
    add(
        "--cache",
        type=Path,
        default=REPOSITORY / ".training" / "photos",
        help="where decoded photos lie, about 1 GB (default: .training/photos)",
    )
    add(
        "--work",
        type=Path,
        default=REPOSITORY / ".training",
        help="where the checkpoint lies (default: .training)",
    )
    add("--epochs", type=int, default=recipe.epochs, help=f"default: {recipe.epochs}")
    add("--seed", type=int, default=recipe.seed, help=f"default: {recipe.seed}")
    add(
        "--threads",
        type=int,
        default=min(2, os.cpu_count() or 1),
        help="of the arithmetic; one more prepares photos (default: 2)",
    )
    add("--limit-per-class", type=int, default=None, help="fewer photos, for a smoke test")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
