"""What a child is worth, from what was measured after each of its epochs."""

import math
from collections.abc import Callable, Mapping, Sequence

from tfdl.engine import errors

# Of a child that diverged, failed or was killed, whatever the reward.
LOWEST = 0.0


def accuracy(accuracies: Sequence[float]) -> float:
    """Returns the last epoch's validation accuracy (NASNet, AmoebaNet)."""
    return accuracies[-1]


def cubed(accuracies: Sequence[float]) -> float:
    """Returns the best of the last five epochs' accuracies, cubed (Zoph & Le)."""
    return max(accuracies[-5:]) ** 3


def inverse_square(perplexities: Sequence[float], c: float = 80.0) -> float:
    """Returns c / perplexity^2 of the last epoch (Zoph & Le, Penn Treebank)."""
    return c / perplexities[-1] ** 2


def inverse(perplexities: Sequence[float], c: float = 80.0) -> float:
    """Returns c / perplexity of the last epoch (ENAS, Penn Treebank)."""
    return c / perplexities[-1]


REWARDS: Mapping[str, Callable[..., float]] = {
    "accuracy": accuracy,
    "cubed": cubed,
    "inverse": inverse,
    "inverse_square": inverse_square,
}


def reward(name: str, history: Sequence[float], **options: float) -> float:
    """Returns the reward of a child.

    Args:
        name: in `REWARDS`.
        history: its validation accuracies or perplexities by epoch.
        **options: of the reward, e.g. `c`.

    Returns:
        `LOWEST` for a child without an epoch, or one that diverged.

    Raises:
        UserError: no such reward.
    """
    if name not in REWARDS:
        raise errors.unknown("reward", name, REWARDS)
    if not history or not all(math.isfinite(value) for value in history):
        return LOWEST
    return float(REWARDS[name](history, **options))
