"""Metrics of classification, against golden values and their definitions."""

import json
import math

import numpy as np
import pytest

from tests.helpers import golden
from tfdl.metrics import classification as metrics

CASES = json.loads(golden("bert", "glue_metrics.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_reference(case):
    labels, guesses = case["labels"], case["preds"]
    assert metrics.accuracy(labels, guesses) == pytest.approx(
        case["accuracy"], abs=1e-12
    )
    assert metrics.f1(labels, guesses) == pytest.approx(case["f1"], abs=1e-12)
    assert metrics.matthews(labels, guesses) == pytest.approx(
        case["matthews"], abs=1e-12
    )


@pytest.mark.parametrize("case", [case for case in CASES if "reg_labels" in case])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_correlations_equal_the_reference(case, dtype):
    labels = np.array(case["reg_labels"], dtype)
    guesses = np.array(case["reg_preds"], dtype)
    # The numbers have one decimal: float32 keeps seven digits of them.
    tolerance = 1e-7 if dtype is np.float32 else 1e-12
    assert metrics.pearson(labels, guesses) == pytest.approx(
        case["pearson"], abs=tolerance
    )
    assert metrics.spearman(labels, guesses) == pytest.approx(
        case["spearman"], abs=1e-12
    )


def test_no_true_positive_has_f1_zero():
    assert metrics.f1([0, 0, 1], [1, 0, 0]) == 0.0
    assert metrics.f1([0, 0], [0, 0]) == 0.0


@pytest.mark.parametrize("labels, guesses", [([1, 1], [0, 1]), ([0, 1], [1, 1])])
def test_an_empty_marginal_has_matthews_zero(labels, guesses):
    assert metrics.matthews(labels, guesses) == 0.0


def test_matthews_of_two_classes_is_the_phi_coefficient():
    labels = [1] * 9 + [0] * 11
    guesses = [1] * 6 + [0] * 3 + [1] * 2 + [0] * 9
    expected = (6 * 9 - 2 * 3) / math.sqrt((6 + 2) * (6 + 3) * (9 + 2) * (9 + 3))
    assert metrics.matthews(labels, guesses) == pytest.approx(expected, abs=1e-15)


def test_matthews_of_three_classes_is_a_correlation_of_indicators():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 60)
    guesses = np.where(generator.random(60) < 0.6, labels, (labels + 1) % 3)
    x, y = np.eye(3)[labels], np.eye(3)[guesses]
    x, y = x - x.mean(0), y - y.mean(0)
    expected = (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum())
    assert metrics.matthews(labels, guesses) == pytest.approx(expected, abs=1e-12)


def test_constant_sides_have_no_correlation():
    assert metrics.pearson([1.0, 1.0, 1.0], [0.0, 1.0, 2.0]) == 0.0
    assert metrics.spearman([0.0, 1.0], [3.0, 3.0]) == 0.0
    assert metrics.pearson([1.0], [2.0]) == 0.0


def test_spearman_gives_ties_the_average_rank():
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4.
    expected = np.corrcoef([1, 2.5, 2.5, 4], [1, 2, 3, 4])[0, 1]
    assert metrics.spearman([0, 5, 5, 9], [1, 2, 3, 4]) == pytest.approx(expected)


def test_confusion_counts_by_true_and_predicted_class():
    matrix = metrics.confusion([0, 0, 1, 2], [0, 2, 1, 1], 4)
    expected = [[1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(matrix, expected)
    assert metrics.confusion([0, 1], [1, 1]).shape == (2, 2)


@pytest.mark.parametrize("labels, guesses", [([0, 3], [0, 0]), ([0, -1], [0, 0])])
def test_confusion_refuses_classes_that_are_not_there(labels, guesses):
    with pytest.raises(ValueError, match="class ids"):
        metrics.confusion(labels, guesses, 3)


def test_macro_f1_is_the_mean_over_classes():
    labels, guesses = [0, 0, 1, 2], [0, 1, 1, 1]
    expected = (2 / 3 + 1 / 2 + 0) / 3
    assert metrics.macro_f1(labels, guesses) == pytest.approx(expected)


def test_multilabel_f1():
    labels = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0]])
    guesses = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]])
    # Per class: 4/5, 0, 2/3, 0 (never true, never predicted); 3 hits, 5 + 5 marks.
    found = metrics.multilabel_f1(labels, guesses)
    assert found["micro_f1"] == pytest.approx(2 * 3 / 10)
    assert found["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 4)
    assert metrics.multilabel_f1(labels * 0, guesses * 0)["micro_f1"] == 0.0


def test_lengths_have_to_agree():
    with pytest.raises(ValueError, match=r"\(2,\) labels, \(3,\) predictions"):
        metrics.accuracy([0, 1], [0, 1, 1])
    with pytest.raises(ValueError):
        metrics.multilabel_f1(np.ones([2, 3]), np.ones([3, 3]))
