"""The signs of a collapse, on made-up runs."""

import math

import pytest

from tfdl.engine import errors
from tfdl.models.biggan.collapse import Detector, Signs


def run(signs, **columns):
    """Returns at which evaluation a run counts as collapsed, None for never."""
    detector = Detector(signs)
    for i, values in enumerate(zip(*columns.values(), strict=True)):
        detector.see(dict(zip(columns, values, strict=True)))
        if detector.collapsed:
            return i
    return None


def test_a_healthy_run():
    distance = [300, 120, 60, 40, 45, 38, 41]
    sigma = [1.0, 1.2, 1.9, 2.8, 3.5, 4.1, 4.5]
    loss = [1.0, -0.4, 0.3, 2.0, -1.0, 0.2, 0.1]
    signs = Signs()
    assert run(signs, distance=distance, sigma0=sigma, generator_loss=loss) is None


def test_the_distance_rises_for_good():
    distance = [300, 100, 40, 90, 42, 95, 120, 200]
    assert run(Signs(), distance=distance) == 6  # 90 alone was no collapse
    assert run(Signs(patience=1), distance=distance) == 3
    assert run(Signs(distance=0.0), distance=distance) is None


def test_the_first_layers_singular_value_explodes():
    sigma = [2.0, 2.1, 2.2, 12.0, 80.0]
    assert run(Signs(), sigma0=sigma) == 4
    assert run(Signs(sigma=0.0), sigma0=sigma) is None


@pytest.mark.parametrize("bad", [-900.0, 1e6, math.nan, math.inf])
def test_losses_run_away(bad):
    losses = [0.1, 0.3, bad, bad]
    assert run(Signs(), discriminator_real_loss=losses) == 3
    assert run(Signs(loss=0.0), discriminator_real_loss=losses) is None


def test_the_best_and_the_reasons():
    detector = Detector(Signs())
    better = [detector.see({"distance": x}) for x in (50.0, 20.0, 30.0, 10.0, 99.0)]
    assert better == [True, True, False, True, False]
    assert detector.best == 10.0
    assert detector.reasons == ["FID is 99, the best was 10"]


@pytest.mark.parametrize("field", ["sigma", "distance", "loss", "patience"])
def test_signs_that_make_no_sense(field):
    value = {"sigma": 0.5, "distance": 1.0, "loss": -1.0, "patience": 0}[field]
    with pytest.raises(errors.UserError, match=f"collapse.{field}"):
        Signs(**{field: value})
