"""What a search came to, in numbers."""

import statistics
from collections.abc import Sequence

from tfdl.models.automl.search import loop
from tfdl.models.automl.search.trials import Trial


def metrics(history: Sequence[Trial]) -> dict[str, float]:
    """Returns the numbers of a search.

    Args:
        history: its trials in the order in which the proposer was told; not empty.

    Returns:
        `best_reward`; `last_fifth_reward`: the mean of the last fifth of trials, what
        a proposer that learns raises; `trials`, `failed`; `duplicates`: trials of
        networks that had been tried; `hours`: of workers.
    """
    last = history[-max(1, len(history) // 5) :]
    spent = sum((t.ended or 0.0) - (t.started or t.ended or 0.0) for t in history)
    return {
        "best_reward": max(loop.value(trial) for trial in history),
        "last_fifth_reward": statistics.fmean(trial.reward for trial in last),
        "trials": float(len(history)),
        "failed": float(sum(trial.status == "failed" for trial in history)),
        "duplicates": float(len(history) - len({trial.canonical for trial in history})),
        "worker_hours": spent / 3600,
    }


def told(trials: Sequence[Trial]) -> list[Trial]:
    """Returns the history: the trials in the order in which they were told."""
    return sorted((t for t in trials if t.told is not None), key=lambda t: t.told)
