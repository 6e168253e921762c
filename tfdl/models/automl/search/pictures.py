"""Pictures of a search: the scores over the trials."""

import io
from collections.abc import Mapping, Sequence

import numpy as np

from tfdl.models.automl.search import loop
from tfdl.models.automl.search.trials import Trial


def scores(histories: Mapping[str, Sequence[Trial]]) -> bytes:
    """Returns a PNG of rewards over trials: best so far and running mean.

    Args:
        histories: by the proposer's name, in the order of telling.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for i, (name, history) in enumerate(histories.items()):
        rewards = np.array([loop.value(trial) for trial in history])
        count = np.arange(1, len(rewards) + 1)
        colour = f"C{i}"
        axes.plot(count, rewards, ".", color=colour, alpha=0.25, markersize=4)
        best = np.maximum.accumulate(rewards)
        axes.plot(count, best, color=colour, linewidth=2, label=f"{name}: best so far")
        width = max(1, len(rewards) // 10)
        sums = np.cumsum(np.concatenate([[0.0], rewards]))
        first = np.maximum(0, count - width)
        means = (sums[count] - sums[first]) / (count - first)
        label = f"{name}: mean of the last {width}"
        axes.plot(count, means, "--", color=colour, linewidth=1.2, label=label)
    axes.set_xlabel("trials")
    axes.set_ylabel("reward")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
