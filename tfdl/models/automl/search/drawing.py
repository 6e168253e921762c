"""Architectures as pictures, from the input at the top to the output below."""

import io
import itertools
from collections.abc import Mapping
from typing import Any

from tfdl.models.automl.spaces import graphs
from tfdl.models.automl.spaces.graphs import Graph

COLOURS = {
    graphs.INPUT: "#cfe2f3",
    graphs.OP: "#fff2cc",
    graphs.SUM: "#e8e8e8",
    graphs.OUTPUT: "#d9ead3",
}
# Inches that a node takes.
WIDTH, HEIGHT = 1.0, 0.5
# Of a node's width: what an edge takes of a row that it crosses.
PASSING = 0.5
# Of a row's height: from a node's middle to where its arrows begin and end.
GAP = 0.22
SWEEPS = 12


def draw(genotype: Mapping[str, Any]) -> bytes | None:
    """Returns a PNG of what a genotype is, None for what is no graph."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = graphs.of(genotype)
    if not found:
        return None
    places = {title: _layout(graph) for title, graph in found.items()}
    widths = [WIDTH * (_extent(p, 0) + 1) for p in places.values()]
    height = HEIGHT * (max(_extent(p, 1) for p in places.values()) + 1)
    figure = Figure(figsize=(sum(widths), height + 0.5), dpi=110, layout="constrained")
    shapes = {"width_ratios": widths}
    panels = figure.subplots(1, len(found), squeeze=False, gridspec_kw=shapes)[0]
    for axes, (title, graph) in zip(panels, found.items(), strict=True):
        _panel(axes, graph, places[title])
        axes.set_title(title, fontsize=10)
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _extent(places: Mapping[str, tuple[float, float]], axis: int) -> float:
    values = [place[axis] for place in places.values()]
    return max(values) - min(values)


def _between(a: str, b: str, rank: int) -> str:
    """Returns the name of the place that an edge has in a row that it crosses."""
    return f"{a} -> {b}, {rank}"


def _layout(graph: Graph) -> dict[str, tuple[float, float]]:
    """Returns (column, row) of every node, and of every edge in the rows it crosses."""
    ranks = graph.ranks()
    last = max(ranks.values())
    for name, (_, kind) in graph.nodes.items():
        ranks[name] = last if kind == graphs.OUTPUT else ranks[name]
    near: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for a, b in graph.edges:
        chain = [a]
        for rank in range(ranks[a] + 1, ranks[b]):
            chain.append(_between(a, b, rank))
            ranks[chain[-1]] = rank
            near[chain[-1]] = []
        chain.append(b)
        for one, two in itertools.pairwise(chain):
            near[one].append(two)
            near[two].append(one)
    rows: list[list[str]] = [[] for _ in range(last + 1)]
    for name in near:
        rows[ranks[name]].append(name)
    column = {name: float(i) for row in rows for i, name in enumerate(row)}
    widths = {name: 1.0 if name in graph.nodes else PASSING for name in near}
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else rows[::-1]:
            wanted = {name: _wanted(name, near, column, ranks, down) for name in row}
            row.sort(key=lambda name: (wanted[name], column[name]))
            _spread(row, wanted, column, widths)
    return {name: (column[name], float(ranks[name])) for name in near}


def _wanted(name, near, column, ranks, down) -> float:
    """Returns the mean column of a node's neighbours on the side that is fixed."""
    side = [
        column[other]
        for other in near[name]
        if (ranks[other] < ranks[name]) == down and ranks[other] != ranks[name]
    ]
    return sum(side) / len(side) if side else column[name]


def _spread(
    row: list[str],
    wanted: Mapping[str, float],
    column: dict[str, float],
    widths: Mapping[str, float],
) -> None:
    """Places a row near where it wants to be, nothing on anything else."""
    end = float("-inf")
    for name in row:
        column[name] = max(end + widths[name] / 2, wanted[name])
        end = column[name] + widths[name] / 2
    shift = sum(wanted[n] - column[n] for n in row) / len(row)
    for name in row:
        column[name] += shift


def _panel(axes, graph: Graph, places: Mapping[str, tuple[float, float]]) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    for a, b in graph.edges:
        (x0, y0), (x1, y1) = places[a], places[b]
        inner = [places[_between(a, b, rank)] for rank in range(int(y0) + 1, int(y1))]
        axes.add_patch(
            FancyArrowPatch(
                path=Path([(x0, y0 + GAP), *inner, (x1, y1 - GAP)]),
                arrowstyle="-|>",
                mutation_scale=8,
                color="0.45",
                linewidth=0.9,
            )
        )
    for name, (label, kind) in graph.nodes.items():
        axes.text(
            *places[name],
            label,
            fontsize=7.5,
            horizontalalignment="center",
            verticalalignment="center",
            bbox={"boxstyle": "round", "facecolor": COLOURS[kind], "edgecolor": "0.4"},
        )
    columns = [x for x, _ in places.values()]
    axes.set_xlim(min(columns) - 0.6, max(columns) + 0.6)
    axes.set_ylim(max(y for _, y in places.values()) + 0.5, -0.5)
    axes.axis("off")
