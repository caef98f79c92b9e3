"""The plot of the costs."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.imaging.figures import BASE, Photo, Ratio, Rounds, mean_ratio

_OURS, _OTHERS = "#b5372b", "#8a8f98"


def draw(panels: Mapping[str, Mapping[Photo, Rounds]], path: Path) -> None:
    """How many times cheaper than the naive pipeline, a panel a job; whiskers are all rounds."""
    mpl.use("Agg")
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.2 * len(panels), 2.6), squeeze=False, layout="constrained"
    )
    for axis, (title, costs) in zip(axes[0], panels.items(), strict=True):
        names = [name for name in next(iter(costs.values())) if name != BASE]
        means = [mean_ratio(costs, name) for name in names]
        spreads = [
            [Ratio.of(rounds[BASE], rounds[name]) for rounds in costs.values()] for name in names
        ]
        low = [
            max(mean - min(one.low for one in spread), 0)
            for mean, spread in zip(means, spreads, strict=True)
        ]
        high = [
            max(max(one.high for one in spread) - mean, 0)
            for mean, spread in zip(means, spreads, strict=True)
        ]
        colours = [_OURS if name == "ours" else _OTHERS for name in names]
        axis.barh(names, means, xerr=(low, high), color=colours, capsize=2, ecolor="#30343a")
        axis.invert_yaxis()
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("times cheaper than the naive pipeline", fontsize=8)
        axis.tick_params(labelsize=9)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # No date or version in the file, so that it changes only with what it shows.
    figure.savefig(path, dpi=150, metadata={"Software": None})
    plt.close(figure)
