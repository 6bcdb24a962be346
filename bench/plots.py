"""The pictures of a run: bars of ratios with their spread, and curves of cost as work grows.

Everything is drawn to be read at half a page's width (some 400 pixels): few words, large letters.
Colours are Okabe and Ito's, which colour-blind people can tell apart; in curves, marks and strokes
differ too. A reader looks the same, and has the same place, in all pictures.
"""

import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from contenders import CONTENDERS, CONTEXT
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from report import SHOWN, overview
from rounds import Result
from suite import CURVES

from fastzip._cli.console import duration

WIDTH = 4.4  # inches: some 420 pixels in a browser
SUFFIXES = ("svg", "png")
OURS, ENGINES, THEIRS, OTHER = "#0072B2", "#56B4E9", "#8C8C8C", "#D9D9D9"
STYLES: dict[str, tuple[str, str, str]] = {  # colour, mark, stroke
    "np.load": ("#000000", "o", "-"),
    "zipfile": ("#8C8C8C", "s", "-"),
    "np.load + zlib-ng": ("#E69F00", "^", "-"),
    "np.load + ISA-L": ("#D55E00", "v", "-"),
    "SPDL": ("#009E73", "D", "-"),
    "libdeflate by hand": ("#CC79A7", "P", "-"),
    "cramjam by hand": ("#CC79A7", "X", "--"),
    "ArrayRecord": ("#8C8C8C", "d", ":"),
    "fastzip": (OURS, "o", "-"),
    "fastzip, zlib-ng": (ENGINES, "^", "--"),
    "fastzip, libdeflate": (ENGINES, "P", ":"),
    "fastzip, interleaved": (ENGINES, "s", "-."),
}


def draw(results: list[Result], folder: Path) -> list[str]:
    """All pictures that these results make; their names, without what follows the dot."""
    done = [result for result in results if len(result.seconds) > 1]
    drawn = []
    chosen = [r for r in overview(done) if any(n in SHOWN for n in r.seconds)]
    if chosen:
        names = [name for name in CONTENDERS if name in SHOWN]
        _save(bars(chosen, names), folder / "overview")
        drawn.append("overview")
    kinds: dict[str, list[Result]] = {}
    for result in done:
        assert result.task is not None
        if result.task.curve in ("", "members"):  # of the others a curve tells more than bars
            kinds.setdefault(result.task.kind, []).append(result)
    for kind, some in kinds.items():
        for number, start in enumerate(range(0, len(some), 6)):
            name = f"bars-{kind}" + (f"-{number + 1}" if len(some) > 6 else "")
            _save(bars(some[start : start + 6], list(CONTENDERS)), folder / name)
            drawn.append(name)
    for name, label in CURVES.items():
        points = [result for result in done if result.task and result.task.curve == name]
        if len(points) > 1:
            _save(curves(points, label), folder / f"curve-{name}")
            drawn.append(f"curve-{name}")
    return drawn


def _save(figure: Figure, path: Path) -> None:
    # In the SVG text stays text: that is small, and a search finds it.
    settings: Any = {"svg.hashsalt": "fastzip", "svg.fonttype": "none"}
    with matplotlib.rc_context(settings):
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        path.with_suffix(".svg").write_text(_smaller(text.getvalue()))
        figure.savefig(path.with_suffix(".png"), dpi=200)


def _smaller(svg: str) -> str:
    """Without comments, and with numbers that nobody sees the end of; it lies in a repository."""
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(\d\.\d{3})\d+", r"\1", svg)
    return re.sub(r"\n\s*", "\n", svg)


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)  # whatever backend somebody has set
    return figure


def _colour(name: str) -> str:
    if name.startswith("fastzip"):
        return OURS if name == "fastzip" else ENGINES
    return OTHER if name in CONTEXT else THEIRS


# ---- bars ------------------------------------------------------------------------------------


def bars(results: list[Result], names: list[str]) -> Figure:
    """How many times faster than the usual reader everyone is: a panel for each task."""
    shown = [[n for n in names if n in r.seconds and n != r.usual] for r in results]
    results = [result for result, some in zip(results, shown, strict=True) if some]
    shown = [some for some in shown if some]
    rows = [len(some) + 1.6 for some in shown]
    figure = _figure(0.5 + 0.17 * sum(rows))
    panels = figure.subplots(
        len(results), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": rows}
    )[:, 0]
    ratios = [
        {name: result.ratio(name, result.usual) for name in some}
        for result, some in zip(results, shown, strict=True)
    ]
    everything = [value for some in ratios for three in some.values() for value in three]
    low, highest = min(0.7, min(everything) * 0.9), max(2.0, max(everything))
    high = highest * 1.5 * (highest / low) ** 0.25  # room for the figure behind the longest bar
    for axes, result, some in zip(panels, results, ratios, strict=True):
        _panel(axes, result, some)
        axes.set_xscale("log", base=2)
        axes.set_xlim(low, high)
    powers = range(math.ceil(math.log2(low)), math.floor(math.log2(highest)) + 1)
    step = math.ceil(len(powers) / 7)
    ticks = [2.0**p for p in powers if p % step == 0]
    panels[-1].set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    panels[-1].minorticks_off()
    usual = " or ".join(sorted({result.usual for result in results}))
    other = any(name in CONTEXT for some in shown for name in some)
    note = "      * another format" if other else ""
    panels[-1].set_xlabel(f"times faster than {usual}{note}", fontsize=8.5)
    return figure


def _panel(axes: Any, result: Result, ratios: dict[str, tuple[float, float, float]]) -> None:
    middles = [three[1] for three in ratios.values()]
    spread = [
        [middle - low for low, middle, _ in ratios.values()],
        [high - middle for _, middle, high in ratios.values()],
    ]
    axes.barh(
        range(len(ratios)),
        [middle - 1 for middle in middles],  # from 1 on: to the left of it stands what is slower
        left=1,
        color=[_colour(name) for name in ratios],
        hatch=["////" if name in CONTEXT else "" for name in ratios],
        xerr=spread,
        error_kw={"linewidth": 0.9, "capsize": 1.8, "ecolor": "#333333"},
        height=0.74,
    )
    for row, (_, middle, high) in enumerate(ratios.values()):
        text = f"{middle:.0f}×" if middle >= 9.95 else f"{middle:.1f}×"
        axes.annotate(
            *(text, (max(high, 1.0), row), (5, 0)),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            fontweight="bold" if list(ratios)[row] == "fastzip" else "normal",
        )
    labels = [f"{name} *" if name in CONTEXT else name for name in ratios]
    axes.set_yticks(range(len(ratios)), labels, fontsize=8.5)
    axes.set_ylim(len(ratios) - 0.45, -0.55)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    title = f"{result.name}: {result.usual} {duration(result.summary(result.usual)[1])}"
    text = _wrapped(title)
    axes.set_title("\n" * text.count("\n") or " ", fontsize=8.5, pad=3)  # room for it
    axes.annotate(
        *(text, (0.01, 1), (0, 3)),
        xycoords=("figure fraction", "axes fraction"),
        textcoords="offset points",
        fontsize=8.5,
        fontweight="bold",
        annotation_clip=False,
    ).set_in_layout(False)


def _wrapped(title: str, most: int = 58) -> str:
    if len(title) <= most:
        return title
    cut = title.rfind(" ", 0, most)
    return f"{title[:cut]}\n{title[cut + 1 :]}"


# ---- curves ----------------------------------------------------------------------------------


def curves(points: list[Result], label: str) -> Figure:
    """What one piece of work costs everyone, as it grows."""
    figure = _figure(4.2)
    axes = figure.subplots()
    names = [n for n in STYLES if any(n in point.seconds for point in points)]
    for name in names:
        colour, mark, stroke = STYLES[name]
        there = [point for point in points if name in point.seconds]
        xs = [point.task.x for point in there if point.task]
        lows, middles, highs = zip(*(point.summary(name) for point in there), strict=True)
        axes.fill_between(xs, lows, highs, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            *(xs, middles),
            color=colour,
            marker=mark,
            linestyle=stroke,
            label=name,
            markersize=5,
            linewidth=2.4 if name == "fastzip" else 1.3,
        )
    axes.set_xscale("log", base=10 if "archive" in label else 2)
    axes.set_yscale("log")
    xs = sorted({point.task.x for point in points if point.task})
    axes.set_xticks(xs, [_short(x) for x in xs])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(_as_duration())
    axes.tick_params(labelsize=8.5)
    axes.set_xlabel(label, fontsize=9)
    task = points[0].task
    assert task is not None
    what = "time to open an archive"
    if task.kind != "open":
        what = f"time for a batch of {task.count}"
    axes.set_title(what, fontsize=9, loc="left", fontweight="bold")
    axes.grid(True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8.5, frameon=False)
    return figure


def _short(x: float) -> str:
    for scale, letter in (1e6, "M"), (1e3, "k"):
        if x >= scale and letter != "k":
            return f"{x / scale:g}{letter}"
        if x >= 10 * scale or (x >= scale and x % scale == 0):
            return f"{x / scale:g}{letter}"
    return f"{x:g}"


def _as_duration() -> Callable[[float, int], str]:
    def text(seconds: float, _: int) -> str:
        for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
            if seconds >= scale * 0.999:
                return f"{seconds / scale:g} {unit}"
        return f"{seconds / 1e-9:g} ns"

    return text
