"""The Inception Score (Salimans et al. 2016) of class probabilities."""

import numpy as np

BOUNDARIES = ("equal", "fractional")


def inception_score(
    probabilities: np.ndarray,
    splits: int = 10,
    boundaries: str = "equal",
    ddof: int = 0,
) -> tuple[float, float]:
    """Returns mean and standard deviation over splits of exp(E[KL(p(y|x), p(y))]).

    Args:
        probabilities: [N, classes], rows that sum to 1, in an order that does not
            follow the classes.
        splits: into how many parts the pictures are cut, in order.
        boundaries: "equal" parts of N // splits, the rest is dropped; "fractional"
            cuts at i * N // splits, as the original code does. The same when N is a
            multiple of `splits`.
        ddof: 0 divides the variance by the number of splits, 1 by one less.

    Raises:
        ValueError: fewer pictures than splits.
    """
    rows = np.asarray(probabilities, np.float64)
    count = len(rows)
    if not 1 <= splits <= count:
        raise ValueError(f"{count} pictures cannot be cut into {splits} splits")
    if boundaries == "equal":
        edges = [i * (count // splits) for i in range(splits + 1)]
    elif boundaries == "fractional":
        edges = [i * count // splits for i in range(splits + 1)]
    else:
        raise ValueError(f"boundaries {boundaries!r} is none of {BOUNDARIES}")
    scores = [_score(rows[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    spread = float(np.std(scores, ddof=ddof)) if splits > ddof else 0.0
    return float(np.mean(scores)), spread


def _score(rows: np.ndarray) -> float:
    mean = rows.mean(0)
    # 0 log 0 is 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(rows > 0, rows * (np.log(rows) - np.log(mean)), 0.0)
    return float(np.exp(terms.sum(1).mean()))
