"""The plot: one small bar chart per metric, peers as bars, whiskers from the worst to the best round."""

from __future__ import annotations

import math

import matplotlib as mpl

mpl.use("svg")

from typing import TYPE_CHECKING

from matplotlib import pyplot as plt

from benchmarks.peers_table import PEERS
from benchmarks.report import rows
from benchmarks.targets import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.measures import Measure
    from benchmarks.measures.base import Metric
    from benchmarks.rounds import Samples

_COLUMNS = 4
_OURS, _THEIRS = "#c2410c", "#94a3b8"


def _draw(axes: Axes, samples: Samples, measure: Measure, metric: Metric, medians: dict[str, float]) -> None:
    names = [peer for peer in PEERS if peer in medians]
    heights = [medians[name] for name in names]
    values = [samples.values(measure.name, name, metric.key) for name in names]
    below = [height - min(value) for height, value in zip(heights, values, strict=True)]
    above = [max(value) - height for height, value in zip(heights, values, strict=True)]
    colours = [_OURS if name == PROJECT else _THEIRS for name in names]
    axes.bar(names, heights, yerr=[below, above], color=colours, capsize=3)
    way = "higher" if metric.higher_is_better else "lower"
    axes.set_title(f"{measure.name}: {metric.unit}\n({way} is better)", fontsize=9)
    axes.tick_params(axis="x", labelrotation=35, labelsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)


def write_plot(path: Path, samples: Samples) -> None:
    """Write an SVG."""
    drawn = list(rows(samples))
    lines = math.ceil(len(drawn) / _COLUMNS)
    figure, grid = plt.subplots(lines, _COLUMNS, figsize=(4 * _COLUMNS, 2.8 * lines), squeeze=False)
    for axes in grid.flat[len(drawn) :]:
        axes.set_visible(False)
    for axes, (measure, metric, medians) in zip(grid.flat, drawn, strict=False):
        _draw(axes, samples, measure, metric, medians)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
