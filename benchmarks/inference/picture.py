"""The tables as one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.inference.figures import Row, Spread

_OURS = "#1b7f79"
_PEER = "#a9b4bd"
_RANGE = {"ecolor": "#333333", "elinewidth": 1, "capsize": 2}


def draw(tables: Mapping[str, Sequence[Row]], path: Path) -> None:
    """A row of panels for each table: what an image costs, and how many a second.

    The bars are medians of all rounds, the whiskers the lowest and the highest round.
    """
    figure, grid = plt.subplots(
        len(tables), 2, figsize=(11, 3.6 * len(tables)), squeeze=False, layout="constrained"
    )
    for (title, rows), (left, right) in zip(tables.items(), grid, strict=True):
        names = [f"{row.contender}, {row.load} at a time" for row in rows]
        colours = [_OURS if row.contender.startswith("ours") else _PEER for row in rows]
        _bars(left, names, [row.cpu_ms for row in rows], colours)
        left.set_title(f"{title}\nCPU ms an image, less is better", fontsize=9, loc="left")
        _bars(right, [""] * len(rows), [row.images_a_second for row in rows], colours)
        right.set_title("\nimages a second, more is better", fontsize=9, loc="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bars(
    axes: Axes, names: Sequence[str], spreads: Sequence[Spread], colours: Sequence[str]
) -> None:
    places = range(len(spreads))
    medians = [spread.median for spread in spreads]
    below = [spread.median - spread.low for spread in spreads]
    above = [spread.high - spread.median for spread in spreads]
    axes.barh(places, medians, xerr=[below, above], color=colours, error_kw=_RANGE)
    axes.set_yticks(places, names, fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
