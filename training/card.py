"""The model card: what the model was made from, how, and how well it does.

Convention: shares are of 1 and printed in percent; times are seconds of wall clock or of processor.
Every figure comes from the run at hand. What was tried on the way is read from ``experiments.md``.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.checkpoint import Run
from training.fit import Recipe
from training.network import DEPTHS, STEM_WIDTH, WIDTHS, parameter_count
from training.package import NAME, VERSION, Package
from training.picture import write_confusion

PICTURE = "confusion.png"
EXPERIMENTS = Path(__file__).with_name("experiments.md")

SOURCES = """\
| source | commit the pixels came from | licence | photos | what |
|---|---|---|---:|---|
| clothing-dataset | alexeygrigorev/clothing-dataset@7ed86a9 | CC0 1.0 (LICENSE file read) | 4,798 \
| phone photos of garments by volunteers |
| trashnet | congduytran12/Trash-Classification-@00212f2, original garythung/trashnet@6fa2b87 \
| MIT (LICENSE of the original read) | 2,382 | phone photos of cardboard, paper, glass, metal, \
plastic |
| tf_flowers | Oldpel/flower_photos@140ff6f | CC BY 2.0 per photo, as the original archive's \
LICENSE.txt says (that file is not in the repository and was not read) | 951 | flowers |
| caltech101 | MachineLearning2020/Homework2-Caltech101@836044d | CC BY 4.0, as stated on the \
HuggingFaceM4/Caltech-101 card (the repository has no licence) | 6,632 | objects, animals, \
vehicles; its background class is `other` |
"""

WEAK_SIDES = """\
- The photos come from four sources, and each source has its own classes: garments and waste are \
phone photos, objects and flowers are web photos. Photos of another origin (a garment worn by \
somebody, a cup on a crowded table) were not measured; expect fewer right answers than above.
- `other` is what its source calls background, and not every photo without a known object. How \
sure the model is of an object it never saw was not measured; read a score as a score among these \
classes.
- Garments are small and differ in cut: shirt, longsleeve and T-shirt are taken for one another \
most, outerwear and skirt are weak. Metal, glass and plastic are the next such group.
- Some classes have few validation photos; the table says how many. Their figures move by several \
points with a single photo.
- One label a photo, whatever else is in it.
- The sources say nothing of who or where; whether it does equally well for everybody's clothes \
was not measured.
"""


@dataclass(frozen=True)
class Report:
    """What the card tells of: the package, the run it came from, and how many photos there were."""

    package: Package
    run: Run
    recipe: Recipe
    train_photos: int
    val_photos: int
    threads: int


def write_card(report: Report, out: Path) -> None:
    """Write ``MODEL_CARD.md`` and its picture into ``out``.

    Raises:
        OSError: they cannot be written.
    """
    figures = report.package.of(report.package.chosen).figures
    write_confusion(figures.confusion, report.package.labels, out / PICTURE)
    sections = [
        *_head(report.package),
        *_data(report),
        *_recipe(report),
        *_results(report.package),
        *_classes(report.package),
        *_confusions(report.package),
        "## Known weak sides\n",
        WEAK_SIDES,
        "## What was tried\n",
        EXPERIMENTS.read_text(encoding="utf-8").strip() + "\n",
        *_reproduce(report.recipe),
    ]
    (out / "MODEL_CARD.md").write_text("\n".join(sections), encoding="utf-8")


def _head(package: Package) -> Iterator[str]:
    chosen = package.of(package.chosen)
    yield f"# {NAME} {VERSION}\n"
    yield (
        f"A classifier of photos into {len(package.labels)} classes, trained from scratch on "
        "openly licensed photos. It is what Darkroom answers with when no other model is "
        "configured: small enough to travel in a function's package, and good enough to show the "
        "pipeline on real photos. It is no judge of people, health, safety or law.\n"
    )
    yield (
        f"One file, {package.chosen}, {chosen.size_bytes / 1e6:.2f} MB. On {_count(package)} "
        f"validation photos: **{chosen.figures.top1:.1%} top-1, {chosen.figures.top5:.1%} top-5**, "
        f"{chosen.milliseconds:.2f} ms a photo with one thread, expected calibration error "
        f"{package.error_after:.3f}.\n"
    )


def _data(report: Report) -> Iterator[str]:
    yield "## Data\n"
    yield SOURCES
    yield (
        f"{report.train_photos:,} photos to train and {report.val_photos:,} to validate, in "
        f"{len(report.package.labels)} classes, shortest side 144 px, WebP. The table counts the "
        "photos of all splits; one more split, of 1,779 photos, is kept apart and was never seen "
        "here. Garments are split by the person who sent them in (nobody is in two splits), waste "
        "by blocks of eight photos in a row, the rest by a hash; exact duplicates were dropped. No "
        "photo is part of the package. The licences above are those of the photos, and the two "
        "CC BY sources ask to be named, which this table does.\n"
    )


def _recipe(report: Report) -> Iterator[str]:
    package, run, recipe = report.package, report.run, report.recipe
    how = recipe.augmentation
    sizes = ", ".join(f"{size} px from {start:.0%}" for start, size in recipe.sizes)
    yield "## Recipe\n"
    yield (
        f"- Network: residual, 3 x 3 convolutions, stem of {STEM_WIDTH}, stages of "
        f"{', '.join(map(str, WIDTHS))} channels with {', '.join(map(str, DEPTHS))} blocks, "
        f"{parameter_count(run.averaged):,} parameters, random start (no pretrained weights).\n"
        f"- {recipe.epochs} epochs, seed {recipe.seed}, batches of {recipe.batch_size}; photos at "
        f"{sizes} of the run; bfloat16 arithmetic, float32 weights.\n"
        f"- SGD with Nesterov momentum {recipe.momentum}, weight decay {recipe.weight_decay} (not "
        f"on norms and biases), rate up to {recipe.peak_rate} in {recipe.warm_epochs:g} epochs and "
        f"down along a cosine; label smoothing {recipe.label_smoothing}; moving average of the "
        f"weights, {recipe.average_decay} a step. The last epoch's average is taken: no epoch was "
        "picked by its validation figure.\n"
        f"- Each photo anew: a part of {how.area[0]:.0%} to {how.area[1]:.0%} of it at aspects "
        f"{how.aspect[0]:.2f} to {how.aspect[1]:.2f}, flipped in {how.flip_share:.0%}; brightness "
        f"±{how.brightness:.0%}, contrast ±{how.contrast:.0%}, saturation ±{how.saturation:.0%}, "
        f"white balance ±{how.white_balance:.0%}, grey in {how.grey_share:.0%}, blurred in "
        f"{how.soft_share:.0%}, noisy in {how.noise_share:.0%}, a rectangle erased in "
        f"{how.erase_share:.0%}. Batches: mixup in {how.mixup_share:.0%}, cutmix in "
        f"{how.cutmix_share:.0%}, neither in the last {recipe.calm_epochs} epochs.\n"
        f"- Quantised statically to int8 (QDQ, a scale per channel, seven bits of weight so that "
        "sums do not overflow on processors without VNNI), ranges from training photos. It is kept "
        "where it costs a point of top-1 at most.\n"
        f"- Temperature {package.temperature:.2f}, fitted on every other validation photo.\n"
    )
    yield (
        f"Trained on {report.threads} threads of {_processor()} with torch {torch.__version__}: "
        f"{run.cpu_seconds / 60:.0f} core-minutes, {run.wall_seconds / 60:.0f} minutes of wall "
        "clock beside other work on the same cores.\n"
    )


def _results(package: Package) -> Iterator[str]:
    yield "## Results\n"
    yield (
        "Through onnxruntime, on photos prepared by Pillow as `model.json` says "
        f"(shortest side {package.preparation.shortest_edge} px, {package.preparation.filter}, "
        f"centre {package.preparation.width} x {package.preparation.height} px). Time: median of "
        "one photo, one thread, the session open, without decoding.\n"
    )
    slowest = package.of("float32").milliseconds
    yield "| file | val top-1 | val top-5 | MB | ms a photo | time against float32 |"
    yield "|---|---:|---:|---:|---:|---:|"
    for file in package.files:
        mark = " (shipped)" if file.kind == package.chosen else ""
        yield (
            f"| {file.kind}{mark} | {file.figures.top1:.2%} | {file.figures.top5:.2%} "
            f"| {file.size_bytes / 1e6:.2f} | {file.milliseconds:.2f} "
            f"| {file.milliseconds / slowest:.2f} |"
        )
    yield (
        f"\nExpected calibration error (15 bins) on the half of val that the temperature was not "
        f"fitted on: {package.error_before:.3f} before, {package.error_after:.3f} after.\n"
    )


def _classes(package: Package) -> Iterator[str]:
    figures = package.of(package.chosen).figures
    yield "## Classes\n"
    yield (
        f"Mean recall over the classes {figures.recall.mean():.1%}, mean precision "
        f"{figures.precision.mean():.1%}.\n"
    )
    yield "| class | val photos | recall | precision |"
    yield "|---|---:|---:|---:|"
    for index, label in enumerate(package.labels):
        yield (
            f"| {label} | {int(figures.confusion[index].sum())} | {figures.recall[index]:.0%} "
            f"| {figures.precision[index]:.0%} |"
        )
    yield ""


def _confusions(package: Package) -> Iterator[str]:
    confusion = package.of(package.chosen).figures.confusion.copy()
    totals = confusion.sum(axis=1)
    np.fill_diagonal(confusion, 0)
    wrong = int(confusion.sum())
    pairs = np.argsort(-confusion, axis=None, kind="stable")[:10]
    yield "## Confusions\n"
    yield f"![A row a class, a column an answer: counts of validation photos]({PICTURE})\n"
    yield f"The ten most frequent of {wrong} wrong answers:\n"
    for pair in pairs:
        truth, answer = divmod(int(pair), len(package.labels))
        yield (
            f"- {package.labels[truth]} taken for {package.labels[answer]}: "
            f"{int(confusion[truth, answer])} of {int(totals[truth])}"
        )
    yield ""


def _reproduce(recipe: Recipe) -> Iterator[str]:
    yield "## To make it again\n"
    yield (
        f"`python -m training.train --epochs {recipe.epochs}` from the repository's root, in an "
        "environment with `training/requirements.txt` (see `training/README.md`). The seed is "
        f"{recipe.seed}; "
        "another processor rounds otherwise, so the figures come out close and not equal.\n"
    )


def _count(package: Package) -> str:
    return f"{int(package.files[0].figures.confusion.sum()):,}"


def _processor() -> str:
    cores = f"{os.cpu_count()} cores"
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()} ({cores})"
    return f"{platform.machine()} ({cores})"
