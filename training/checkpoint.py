"""What is kept after each epoch, so that a run that was stopped goes on.

Convention: weights are float32, as the network has them; times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from training.errors import CheckpointMismatch
from training.network import Classifier


@dataclass
class Run:
    """Where a run stands: the network that learns, its average, and what both have cost."""

    network: Classifier
    averaged: Classifier
    optimiser: torch.optim.Optimizer
    epochs_done: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def save(path: Path, settings: dict[str, Any], run: Run) -> None:
    """Write ``run``, made with ``settings``, to ``path``.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    state = {
        "settings": {name: _plain(value) for name, value in settings.items()},
        "network": run.network.state_dict(),
        "averaged": run.averaged.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "epochs_done": run.epochs_done,
        "cpu_seconds": run.cpu_seconds,
        "wall_seconds": run.wall_seconds,
        "history": run.history,
    }
    torch.save(state, partial)
    # Renamed into place: a run that is stopped while it writes keeps its last whole checkpoint.
    partial.replace(path)


def restore(path: Path, settings: dict[str, Any], run: Run) -> None:
    """Put ``run`` where the checkpoint at ``path`` left off; without one, leave it as it is.

    Raises:
        CheckpointMismatch: the checkpoint was made with other settings.
    """
    if not path.exists():
        return
    state = torch.load(path, weights_only=True)
    made = state["settings"]
    wanted = {name: _plain(value) for name, value in settings.items()}
    if made != wanted:
        odd = sorted(name for name in made | wanted if made.get(name) != wanted.get(name))
        raise CheckpointMismatch(
            f"{path} is of a run with other settings ({', '.join(odd)}): give the settings of that "
            "run to continue it, or another --work folder to start anew"
        )
    run.network.load_state_dict(state["network"])
    run.averaged.load_state_dict(state["averaged"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.epochs_done = state["epochs_done"]
    run.cpu_seconds = state["cpu_seconds"]
    run.wall_seconds = state["wall_seconds"]
    run.history = state["history"]


def _plain(value: object) -> object:
    """Return a setting as a checkpoint gives it back: tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(inner) for inner in value]
    return value
