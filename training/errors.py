"""What can go wrong in a training run, in words for the person who started it.

TrainingError
├── DatasetMissing        the photos are not where --data points
└── CheckpointMismatch    the work folder holds a run with other settings
"""

from __future__ import annotations


class TrainingError(Exception):
    """A run cannot go on; the text says why and what to do."""


class DatasetMissing(TrainingError):
    """The photos are not where ``--data`` points, or are not laid out as they must be."""


class CheckpointMismatch(TrainingError):
    """The work folder holds the checkpoint of a run with other settings."""
