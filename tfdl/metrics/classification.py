"""Metrics of classification and regression, as GLUE defines them."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def accuracy(labels: Sequence[int], predictions: Sequence[int]) -> float:
    """Share of equal entries."""
    labels, predictions = _pair(labels, predictions)
    return float(np.mean(labels == predictions)) if len(labels) else 0.0


def f1(labels: Sequence[int], predictions: Sequence[int], positive: int = 1) -> float:
    """F1 of the class `positive`; 0 without a true positive."""
    labels, predictions = _pair(labels, predictions)
    right = np.sum((labels == positive) & (predictions == positive))
    if not right:
        return 0.0
    return float(
        2 * right / (np.sum(labels == positive) + np.sum(predictions == positive))
    )


def macro_f1(labels: Sequence[int], predictions: Sequence[int]) -> float:
    """Mean of the F1 of every class that appears in labels or predictions."""
    labels, predictions = _pair(labels, predictions)
    classes = np.union1d(labels, predictions)
    if not len(classes):
        return 0.0
    return float(np.mean([f1(labels, predictions, int(c)) for c in classes]))


def matthews(labels: Sequence[int], predictions: Sequence[int]) -> float:
    """Matthews correlation, for any number of classes (Gorodkin 2004).

    0 when labels or predictions are all of one class.
    """
    matrix = confusion(labels, predictions).astype(np.float64)
    true, guessed = matrix.sum(1), matrix.sum(0)
    total, right = matrix.sum(), np.trace(matrix)
    covariance = right * total - true @ guessed
    spread = (total**2 - guessed @ guessed) * (total**2 - true @ true)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def pearson(labels: Sequence[float], predictions: Sequence[float]) -> float:
    """Pearson correlation; 0 when either side is constant."""
    labels, predictions = (x.astype(np.float64) for x in _pair(labels, predictions))
    if len(labels) < 2 or np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return float(stats.pearsonr(labels, predictions)[0])


def spearman(labels: Sequence[float], predictions: Sequence[float]) -> float:
    """Spearman correlation, ties with average ranks; 0 for a constant side."""
    labels, predictions = _pair(labels, predictions)
    if len(labels) < 2:
        return 0.0
    return pearson(stats.rankdata(labels), stats.rankdata(predictions))


def confusion(
    labels: Sequence[int], predictions: Sequence[int], classes: int | None = None
) -> np.ndarray:
    """Counts [true class, predicted class].

    Args:
        labels: class ids from 0 on.
        predictions: class ids from 0 on.
        classes: how many there are; by default up to the largest id.

    Raises:
        ValueError: an id is negative or not below `classes`.
    """
    labels, predictions = (x.astype(np.int64) for x in _pair(labels, predictions))
    largest = int(max(labels.max(initial=0), predictions.max(initial=0)))
    smallest = min(labels.min(initial=0), predictions.min(initial=0))
    if classes is None:
        classes = largest + 1
    if smallest < 0 or largest >= classes:
        raise ValueError(f"class ids {smallest}..{largest} for {classes} classes")
    flat = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return flat.reshape(classes, classes)


def multilabel_f1(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Micro and macro F1 of 0/1 matrices [N, C].

    A class that is neither true nor predicted anywhere has F1 0.
    """
    labels, predictions = (x > 0 for x in _pair(labels, predictions))
    right = np.sum(labels & predictions, axis=0).astype(np.float64)
    total = labels.sum(0) + predictions.sum(0)
    per_class = np.divide(2 * right, total, out=np.zeros_like(right), where=total > 0)
    micro = 2 * right.sum() / total.sum() if total.sum() else 0.0
    return {"micro_f1": float(micro), "macro_f1": float(per_class.mean())}


def _pair(labels, predictions) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape:
        raise ValueError(f"{labels.shape} labels, {predictions.shape} predictions")
    return labels, predictions
