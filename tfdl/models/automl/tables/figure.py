"""Proposers' searches on tables as a picture."""

import io
from collections.abc import Mapping, Sequence

import numpy as np

from tfdl.models.automl.tables.comparison import Searches

_SMOOTH = 20  # proposals that a mean reward is taken over
_COLOURS = ("#444444", "#d62728", "#ff9e4a", "#1f77b4", "#2ca02c", "#9467bd")


def draw(results: Mapping[str, Mapping[str, Searches]], seeds: int) -> bytes:
    """Returns a PNG: a column for each table, regret above, mean reward below.

    Args:
        results: table -> proposer -> its searches.
        seeds: how many searches each is.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((1.0 + 4.0 * len(results), 7.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(results), squeeze=False, sharex="col")
    for column, (table, searches) in enumerate(results.items()):
        above, below = axes[:, column]
        for (label, own), colour in zip(
            searches.items(), _cycle(len(searches)), strict=True
        ):
            _band(above, own.regret * 100, label, colour)
            _band(below, _running(own.rewards), label, colour)
        trials = next(iter(searches.values())).regret.shape[1]
        above.set_title(table)
        above.set_xlim(0, trials)
        above.set_ylim(0, _top(searches))
        below.set_ylim(bottom=_floor(searches))
        below.set_xlabel("trials")
    axes[0, 0].set_ylabel("best so far:\npoints below the table's best")
    axes[1, 0].set_ylabel(f"accuracy of proposals,\nmean of the last {_SMOOTH}")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(_COLOURS),
        frameon=False,
    )
    figure.suptitle(f"Median and quartiles of {seeds} searches", fontsize=10)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return data.getvalue()


def _cycle(count: int) -> Sequence[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(count)]


def _band(axis, values: np.ndarray, label: str, colour: str) -> None:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    x = np.arange(1, len(median) + 1)
    axis.plot(x, median, label=label, color=colour, linewidth=1.4)
    axis.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)


def _running(rewards: np.ndarray) -> np.ndarray:
    """Returns the mean of the last few rewards at each trial."""
    sums = np.cumsum(rewards, 1)
    sums[:, _SMOOTH:] -= sums[:, :-_SMOOTH].copy()
    return sums / np.minimum(np.arange(1, rewards.shape[1] + 1), _SMOOTH)


def _top(searches: Mapping[str, Searches]) -> float:
    """Returns a height that shows what happens after the first tenth."""
    own = [s.regret[:, s.regret.shape[1] // 10] for s in searches.values()]
    return 1.3 * 100 * float(max(np.quantile(regret, 0.75) for regret in own)) or 1.0


def _floor(searches: Mapping[str, Searches]) -> float:
    """Returns a level below what is proposed once means are of enough proposals."""
    own = [_running(s.rewards)[:, _SMOOTH - 1 :] for s in searches.values()]
    lowest = [np.quantile(values, 0.25, axis=0) for values in own if values.size]
    return float(min((level.min() for level in lowest), default=0.0))
