"""Schedules against the originals' rates and their equations."""

import math
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden
from tfdl.engine import errors, schedules


def rates(schedule, total):
    """Returns the rates of steps 0 to total - 1, as a graph computes them."""
    step = tf.function(lambda i: schedule(i))
    values = [step(tf.constant(i, tf.int64)) for i in range(total)]
    assert all(value.dtype == tf.float32 and value.shape == [] for value in values)
    return np.array([value.numpy() for value in values])


def test_bert_equals_the_original():
    file = np.load(golden("bert", "io_optimizer.npz"))
    expected = file["lr_per_step"]
    ours = rates(schedules.bert(1e-3, 10, 2), len(expected))
    np.testing.assert_allclose(ours, expected, rtol=1.2e-7)  # one unit of float32
    assert ours[0] == 0.0


def test_bert_does_not_restart_the_decay():
    schedule = schedules.bert(1e-4, 1000, 100)
    np.testing.assert_allclose(float(schedule(99)), 0.99e-4, rtol=1e-6)
    np.testing.assert_allclose(float(schedule(100)), 0.9e-4, rtol=1e-6)
    assert float(schedule(1000)) == float(schedule(2000)) == 0.0
    np.testing.assert_allclose(float(schedules.bert(1.0, 4)(1)), 0.75)


@pytest.mark.parametrize(
    "key, total, cut, ratio, peak",
    [
        ("stlr_T100_cf0.1_ratio32_max0.01", 100, 0.1, 32, 0.01),
        ("stlr_T37_cf0.1_ratio32_max0.01", 37, 0.1, 32, 0.01),
        ("stlr_T1000_cf0.1_ratio32_max0.004", 1000, 0.1, 32, 0.004),
    ],
)
def test_slanted_triangular_equals_the_paper(key, total, cut, ratio, peak):
    expected = np.load(golden("ulmfit", "io_schedules.npz"))[key]
    ours = rates(schedules.slanted_triangular(peak, total, cut, ratio), total)
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-7 * peak)


def test_slanted_triangular_with_a_floor():
    plain = rates(schedules.slanted_triangular(1.0, 37), 37)
    floored = rates(schedules.slanted_triangular(1.0, 37, floor=True), 37)
    assert plain[-1] < 0
    np.testing.assert_allclose(floored, np.maximum(plain, 1 / 32), rtol=1e-6)


def test_slanted_triangular_of_few_steps():
    for total in (1, 2, 5, 9):
        ours = rates(schedules.slanted_triangular(1.0, total), total)
        np.testing.assert_allclose(ours[0], 1.0)
        assert np.all(np.diff(ours) < 0) and np.all(ours >= 1 / 32)


def test_circular_equals_fastai():
    file = np.load(golden("ulmfit", "io_schedules.npz"))
    checked = 0
    for key in file.files:
        found = re.fullmatch(r"clr_nb(\d+)_div(\d+)_cut(\d+)", key)
        if found:
            total, div, cut = map(int, found.groups())
            for i, peak in enumerate(file[f"{key}_lrs"]):
                ours = rates(schedules.circular(float(peak), total, div, cut), total)
                np.testing.assert_allclose(ours, file[key][:, i], rtol=1e-6)
            checked += 1
    assert checked
    few = rates(schedules.circular(1.0, 5, 8, 10), 5)
    assert few[0] == 1.0 and np.all(np.diff(few) < 0)


def test_segments_equal_imagenet_in_18_minutes():
    expected = np.load(golden("imagenet18", "schedules_lr.npz"))["lr_i18_8"]
    # Eight machines: (first epoch, last, steps per epoch, first rate, last rate).
    pieces, step = [], 0
    for first, last, steps, start, end in (
        (0, 6, 157, 1.92, 3.84),
        (6, 11, 79, 3.84, 3.84),
        (11, 14, 79, 3.84, 1.92),
        (14, 17, 157, 1.92, 1.92),
        (17, 23, 90, 1.92, 0.336),
        (23, 29, 90, 0.336, 0.0336),
        (29, 36, 157, 0.0192, 0.00192),
    ):
        pieces.append((step, step + (last - first) * steps, start, end))
        step = pieces[-1][1]
    assert step == len(expected)
    ours = rates(schedules.segments(pieces), step)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    assert float(schedules.segments(pieces)(step + 5)) == ours[-1]


def test_piecewise_linear_equals_ffcv():
    file = np.load(golden("imagenet18", "ffcv_schedule.npz"))
    expected, epochs = file["lr_E16"], 16
    steps = len(expected) // epochs
    peak = 1.7
    # Between epochs the original interpolates between the epochs' own rates.
    points = [(0, 1e-4 * peak), (2 * steps, peak), (epochs * steps, 0.0)]
    ours = rates(schedules.piecewise_linear(points), len(expected))
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6 * peak)


def test_piecewise_linear_outside_and_at_a_jump():
    schedule = schedules.piecewise_linear([(2, 1.0), (4, 3.0), (4, 10.0), (6, 0.0)])
    ours = [float(schedule(step)) for step in range(8)]
    np.testing.assert_allclose(ours, [1, 1, 1, 2, 10, 5, 0, 0])


def test_inverse_sqrt_equals_xlm():
    expected = np.load(golden("xlm", "io_optimizer.npz"))["inv_sqrt|lr"]
    ours = rates(schedules.inverse_sqrt(1e-3, 3), len(expected))
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_equations():
    steps = np.arange(40, dtype="float64")
    warm = (steps + 1) / 10
    t = np.clip((steps - 10) / 30, 0, 1)

    def check(schedule, expected):
        np.testing.assert_allclose(rates(schedule, 40), expected, rtol=1e-5, atol=1e-7)

    check(
        schedules.cosine(2.0, 40, end=0.5, warmup=10),
        np.where(steps < 10, 2 * warm, 0.5 + 1.5 * 0.5 * (1 + np.cos(math.pi * t))),
    )
    check(
        schedules.polynomial(2.0, 40, power=2.0, end=0.1, warmup=10),
        np.where(steps < 10, 2 * warm, 1.9 * (1 - t) ** 2 + 0.1),
    )
    s = steps + 1
    check(
        schedules.noam(2.0, 64, 8),
        2 * 64**-0.5 * np.minimum(s**-0.5, s * 8**-1.5),
    )
    check(
        schedules.one_cycle(1.0, 40, rise=0.25),
        np.where(
            steps < 10,
            1 + (0.04 - 1) * 0.5 * (1 + np.cos(np.pi * steps / 10)),
            4e-6 + (1 - 4e-6) * 0.5 * (1 + np.cos(np.pi * (steps - 10) / 30)),
        ),
    )
    check(
        schedules.linear_warmup(schedules.constant(0.01), 10, start=0.002),
        np.where(steps < 10, 0.002 + 0.008 * steps / 10, 0.01),
    )
    check(schedules.constant(0.3), np.full(40, 0.3))


def test_momentum_goes_down_while_the_rate_goes_up():
    momentum = rates(schedules.cycle(0.8, 0.7, 0.8, 20), 20)
    rate = rates(schedules.one_cycle(1.0, 20), 20)
    assert momentum.argmin() == rate.argmax() == 6
    np.testing.assert_allclose([momentum[0], momentum[6]], [0.8, 0.7], rtol=1e-6)


def test_a_shifted_schedule_goes_on():
    schedule = schedules.bert(1.0, 20, 5)
    whole = rates(schedule, 20)
    parts = [rates(schedule, 8), rates(schedules.shifted(schedule, 8), 12)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_create_by_name():
    schedule = schedules.create({"name": "bert", "rate": 1.0, "warmup": 2}, 10)
    np.testing.assert_array_equal(
        rates(schedule, 10), rates(schedules.bert(1.0, 10, 2), 10)
    )
    assert float(schedules.create({"name": "constant", "rate": 0.5}, 10)(3)) == 0.5
    points = [(0, 0.0), (10, 1.0)]
    line = schedules.create({"name": "piecewise_linear", "points": points}, 10)
    np.testing.assert_allclose(float(line(5)), 0.5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rate": 1.0}, "the schedule has no name"),
        ({"name": "cosin", "rate": 1.0}, "unknown schedule 'cosin'; did you mean"),
        ({"name": "bert", "warm": 1}, "unknown option of schedule 'bert' 'warm'"),
        ({"name": "bert", "rate": 1.0, "total": 5}, "unknown option .* 'total'"),
        ({"name": "bert"}, "schedule 'bert' needs rate"),
        ({"name": "piecewise_linear", "points": [(5, 1.0), (1, 2.0)]}, "in order"),
        ({"name": "piecewise_linear", "points": []}, "in order"),
        ({"name": "segments", "pieces": [(0, 5, 1, 1), (6, 7, 1, 1)]}, "gaps"),
        ({"name": "segments", "pieces": [(5, 5, 1, 1)]}, "need steps"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(errors.UserError, match=message):
        schedules.create(options, 10)
