"""The picture of ``fastzip bench``: bars of ratios, a panel for each kind of work."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Final

from fastzip._cli.bench_rounds import Task
from fastzip._cli.console import CommandError

SUFFIXES: Final = (".png", ".svg", ".pdf")
# Okabe and Ito's, which people who are colour-blind can tell apart: theirs grey, ours coloured.
_THEIRS: Final = "#999999"
_OURS: Final = {"fastzip": "#0072B2"}
_OTHERS: Final = "#56B4E9"


def check(path: str) -> None:
    """Raise now what drawing would fail with after all that work."""
    place = Path(path)
    if place.suffix.lower() not in SUFFIXES:
        raise CommandError("plot", f"{path}: a plot's name ends with {', '.join(SUFFIXES)}")
    if not place.parent.is_dir():
        raise CommandError("ENOENT", f"{place.parent}: no such directory for the plot")
    try:
        import matplotlib  # noqa: F401
    except ImportError as exc:
        raise CommandError(
            "package", "a plot needs matplotlib: pip install 'matplotlib>=3.8'"
        ) from exc


def draw(path: str, tasks: list[Task], names: list[str], heading: str) -> None:
    """Draw how many times faster than the first reader each of the others is, with quartiles."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    usual, *others = names
    height = 0.8 + len(tasks) * (0.55 + 0.3 * len(others))
    figure = Figure(figsize=(8, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # savefig draws with it, whatever backend the person has set
    panels = figure.subplots(len(tasks), 1, squeeze=False, sharex=True)[:, 0]
    figure.suptitle(heading, fontsize=10, parse_math=False)
    for axes, task in zip(panels, tasks, strict=True):
        ratios = [task.ratio(name, usual) for name in others]
        rows = range(len(others))
        middles = [ratio[1] for ratio in ratios]
        spread = [
            [middle - low for low, middle, _ in ratios],
            [high - middle for _, middle, high in ratios],
        ]
        colours = [_OURS.get(name, _OTHERS if "fastzip" in name else _THEIRS) for name in others]
        # From 1 on: to the left of it stands what is slower.
        axes.barh(
            rows,
            [middle - 1 for middle in middles],
            left=1,
            color=colours,
            xerr=spread,
            error_kw={"linewidth": 0.8, "capsize": 2},
            height=0.72,
        )
        axes.set_xscale("log", base=2)
        axes.set_yticks(rows, others, fontsize=8)
        axes.invert_yaxis()
        axes.axvline(1, color="black", linewidth=0.8)
        for row, (_, middle, high) in enumerate(ratios):
            text = f"{middle:.2f}x" if middle < 10 else f"{middle:.0f}x"
            axes.annotate(text, (max(high, 1.0), row), (6, 0), textcoords="offset points",
                          va="center", fontsize=8)  # fmt: skip
        axes.set_title(task.name, fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", labelsize=8)
    highest = max(task.ratio(name, usual)[2] for task in tasks for name in others)
    lowest = min(task.ratio(name, usual)[0] for task in tasks for name in others)
    low, high = min(0.5, lowest * 0.8), max(2.0, highest * 2)
    panels[-1].set_xlim(low, high)
    powers = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    powers = powers[:: max(1, len(powers) // 8)]
    panels[-1].set_xticks([2.0**p for p in powers], [f"{2.0**p:g}x" for p in powers])
    panels[-1].set_xlabel(f"times faster than {usual} (log scale)", fontsize=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names may have letters that the font has not
        figure.savefig(path)
