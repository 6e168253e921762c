"""Moving averages over the parts of a step."""

import numpy as np
import pytest
import tensorflow as tf

from tfdl.engine import micro_batches


@pytest.mark.parametrize("count", [1, 2, 5])
def test_parts_move_an_average_like_the_whole(count):
    new = np.random.default_rng(0).normal(size=count)
    average = 3.0
    for index, value in enumerate(new):
        with micro_batches.part(tf.constant(index), count):
            keep = float(micro_batches.momentum(0.9))
        average = keep * average + (1 - keep) * value
    assert average == pytest.approx(0.9 * 3.0 + 0.1 * new.mean(), rel=1e-6)


def test_outside_of_parts_the_momentum_is_its_own():
    with micro_batches.part(0, 3):
        pass
    assert micro_batches.momentum(0.9) == 0.9
