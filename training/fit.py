"""The training itself: epochs over the photos, averaged weights, a checkpoint after each epoch.

Convention: image batches are (batch, 3, size, size), uint8 from the loader, float32 in the
network, channels last in memory; target shares are (batch, classes) float32.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional

from training.augment import Augmentation, batches, mix, recolour
from training.checkpoint import Run, restore, save
from training.data import Photos
from training.evaluate import Preparation
from training.network import Classifier, channels_last

# The validation photos are looked at after each so many epochs.
CHECK_EVERY = 4
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(),
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, next to the photos and the version of torch."""

    # Under 40 minutes on two cores; the packaged model had 84, which its card says.
    epochs: int = 30
    seed: int = 20
    batch_size: int = 64
    # From which part of the run on the photos are shown at which size, in pixels.
    sizes: tuple[tuple[float, int], ...] = ((0.0, 96), (0.4, 112), (0.75, 128))
    peak_rate: float = 0.1
    warm_epochs: float = 2.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    average_decay: float = 0.998
    # The last epochs go without mixup and cutmix, so that the network ends on whole photos.
    calm_epochs: int = 6
    augmentation: Augmentation = field(default_factory=Augmentation)

    def size_at(self, epoch: int) -> int:
        """Return the side in pixels that photos have in ``epoch``, counted from 0."""
        done = epoch / self.epochs
        return next(size for start, size in reversed(self.sizes) if done >= start)

    def rate_at(self, epoch: float) -> float:
        """Return the learning rate at a point of the run: a linear rise, then half a cosine."""
        # A run shorter than the rise (a smoke test) still comes down again.
        warm = min(self.warm_epochs, self.epochs / 4)
        if epoch < warm:
            return self.peak_rate * (epoch / warm)
        return (
            self.peak_rate * 0.5 * (1.0 + math.cos(math.pi * (epoch - warm) / (self.epochs - warm)))
        )

    def augmentation_at(self, epoch: int) -> Augmentation:
        """Return how strongly photos are changed in ``epoch``."""
        if epoch >= self.epochs - self.calm_epochs:
            return replace(self.augmentation, mixup_share=0.0, cutmix_share=0.0)
        return self.augmentation


def fit(
    photos: Photos,
    recipe: Recipe,
    preparation: Preparation,
    checkpoint: Path,
    check: Callable[[Classifier], float],
) -> Run:
    """Train on ``photos`` and return the run, whose ``averaged`` network is the result.

    ``preparation`` tells how inputs are normalised. ``check`` measures a network and gives the
    share of right answers; it is called now and then, for the display alone, and decides nothing.
    A checkpoint of the same recipe and as many photos is continued.

    Raises:
        CheckpointMismatch: ``checkpoint`` belongs to another recipe or to other photos.
    """
    run = _start(len(photos.labels), recipe)
    settings = {**asdict(recipe), "photos": len(photos)}
    restore(checkpoint, settings, run)
    with Progress(*COLUMNS) as progress:
        task = progress.add_task("training", total=recipe.epochs, completed=run.epochs_done)
        for epoch in range(run.epochs_done, recipe.epochs):
            started, started_cpu = time.monotonic(), time.process_time()
            loss = _epoch(run, photos, recipe, preparation, epoch)
            run.epochs_done = epoch + 1
            entry = {"epoch": float(epoch + 1), "size": float(recipe.size_at(epoch)), "loss": loss}
            if run.epochs_done % CHECK_EVERY == 0 or run.epochs_done == recipe.epochs:
                entry["val_top1"] = check(run.averaged)
            run.history.append(entry)
            run.wall_seconds += time.monotonic() - started
            run.cpu_seconds += time.process_time() - started_cpu
            save(checkpoint, settings, run)
            measured = "  ".join(f"{key} {value:.4g}" for key, value in entry.items())
            progress.console.print(f"{measured}  cpu {run.cpu_seconds:.0f} s")
            progress.advance(task)
    run.averaged.eval()
    return run


def _start(classes: int, recipe: Recipe) -> Run:
    torch.manual_seed(recipe.seed)
    network = channels_last(Classifier(classes))
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    optimiser = torch.optim.SGD(
        [
            {"params": weights, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=0.0,
        momentum=recipe.momentum,
        nesterov=True,
    )
    return Run(network, copy.deepcopy(network), optimiser)


def _epoch(run: Run, photos: Photos, recipe: Recipe, preparation: Preparation, epoch: int) -> float:
    """Run one epoch and return the mean loss; nothing random in it depends on earlier epochs."""
    run.network.train()
    how, size = recipe.augmentation_at(epoch), recipe.size_at(epoch)
    seed = recipe.seed * 100_003 + epoch
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    mean = torch.tensor(preparation.mean).view(1, 3, 1, 1)
    deviation = torch.tensor(preparation.deviation).view(1, 3, 1, 1)
    steps = max(1, len(photos) // recipe.batch_size)
    losses: list[float] = []
    for step, (pixels, targets) in enumerate(batches(photos, size, recipe.batch_size, how, seed)):
        for group in run.optimiser.param_groups:
            group["lr"] = recipe.rate_at(epoch + step / steps)
        shares = functional.one_hot(targets, len(photos.labels)).to(torch.float32)
        images, shares = mix(recolour(pixels, how, generator), shares, how, generator)
        images = images.sub_(mean).div_(deviation).to(memory_format=torch.channels_last)
        # bfloat16 where the processor has it: 1.7 to 1.9 times as many photos a second.
        with torch.autocast("cpu", torch.bfloat16):
            logits = run.network(images)
        loss = functional.cross_entropy(
            logits.float(), shares, label_smoothing=recipe.label_smoothing
        )
        run.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        run.optimiser.step()
        _average(run, recipe.average_decay, epoch * steps + step)
        losses.append(float(loss.detach()))
    return sum(losses) / len(losses)


@torch.no_grad()
def _average(run: Run, decay: float, step: int) -> None:
    # At the start the average follows quickly, or it would be made of the first weights for long.
    follow = 1.0 - min(decay, (1.0 + step) / (10.0 + step))
    mine, theirs = run.averaged.state_dict(), run.network.state_dict()
    names = [name for name, value in mine.items() if value.is_floating_point()]
    torch._foreach_lerp_([mine[name] for name in names], [theirs[name] for name in names], follow)
