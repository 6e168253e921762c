"""Losses and counts against torch, and mixtures of neighbours."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden
from tfdl.classifiers import losses
from tfdl.engine.errors import UserError
from tfdl.models.imagenet18 import mixing

IO = dict(np.load(golden("imagenet18", "io_losses_metrics.npz")))
CLASSES = IO["logits"].shape[1]


def mean(values):
    return float(tf.reduce_mean(values))


@pytest.mark.parametrize("smoothing", ["0.0", "0.1"])
def test_cross_entropy(smoothing):
    soft = losses.targets(IO["y"], CLASSES, float(smoothing))
    assert mean(losses.softmax(IO["logits"], soft)) == pytest.approx(
        float(IO[f"ce_ls{smoothing}"]), rel=1e-6
    )


def test_soft_targets_and_their_losses():
    soft = losses.targets(IO["y"], CLASSES, 0.1)
    np.testing.assert_allclose(soft, IO["smoothed_targets"], rtol=1e-6)
    lam = np.float32(IO["lam"])
    mixed = lam * soft + (1 - lam) * tf.gather(soft, IO["perm"])
    np.testing.assert_allclose(mixed, IO["mixed_targets"], rtol=1e-6)
    for name, value in (
        ("soft_ce", losses.softmax(IO["logits"], mixed)),
        ("bce_smooth", losses.binary(IO["logits"], soft)),
        ("bce_mix", losses.binary(IO["logits"], mixed)),
        ("bce_mix_thresh0.2", losses.binary(IO["logits"], mixed, 0.2)),
    ):
        assert mean(value) == pytest.approx(float(IO[name]), rel=1e-6), name


@pytest.mark.parametrize("k", [1, 5])
def test_counts(k):
    right = losses.correct(IO["logits"], IO["y"].astype("int32"), k)
    assert float(tf.reduce_sum(right)) == IO[f"top{k}_correct"]


def test_fewer_classes_than_k():
    assert losses.correct(tf.zeros([2, 3]), tf.constant([0, 2]), 5).numpy().all()


def batch(rows, size, **alphas):
    """Returns pictures of one colour each and what a batch is mixed by."""
    columns = mixing.Mixing(**alphas).draw(tf.constant(3, tf.int64), 7, rows, size)
    images = tf.range(rows, dtype=tf.float32)[:, None, None, None]
    return tf.tile(images, [1, size, size, 3]), columns


def test_mixup_mixes_neighbours():
    images, columns = batch(5, 4, mixup=0.4)
    share = columns["mix"].numpy()[0]
    assert 0 < share < 1 and (columns["box"].numpy() == 0).all()
    mixed = mixing.mix_images(images, columns).numpy()[:, 0, 0, 0]
    other = np.array([1, 0, 3, 2, 4])
    np.testing.assert_allclose(
        mixed, share * np.arange(5) + (1 - share) * other, rtol=1e-6
    )
    soft = mixing.mix_targets(tf.eye(5), columns).numpy()
    np.testing.assert_allclose(soft[0], [share, 1 - share, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(soft[4], [0, 0, 0, 0, 1], rtol=1e-6)


def test_cutmix_pastes_a_patch_and_counts_what_is_left_of_it():
    for seed in range(20):
        columns = mixing.Mixing(cutmix=1.0).draw(tf.constant(0, tf.int64), seed, 4, 16)
        images = tf.tile(
            tf.range(4, dtype=tf.float32)[:, None, None, None], [1, 16, 16, 3]
        )
        mixed = mixing.mix_images(images, columns).numpy()
        assert set(np.unique(mixed[0])) <= {0.0, 1.0}
        pasted = (mixed[0] == 1.0).all(-1)
        share = columns["mix"].numpy()[0]
        assert pasted.mean() == pytest.approx(1 - share, abs=1e-6)
        if pasted.any():
            top, left, bottom, right = columns["box"].numpy()[0]
            assert pasted[top:bottom, left:right].all()


def test_a_step_decides_what_is_drawn():
    both = mixing.Mixing(mixup=0.2, cutmix=1.0)
    drawn = [
        both.draw(tf.constant(step, tf.int64), 1, 2, 32)["mix"].numpy()[0]
        for step in (*range(40), 0)
    ]
    assert drawn[0] == drawn[-1] and len(set(drawn)) > 30
    cut = [
        bool(both.draw(tf.constant(step, tf.int64), 1, 2, 32)["box"].numpy().any())
        for step in range(40)
    ]
    assert 8 < sum(cut) < 32


def test_beta_has_the_right_spread():
    mix = mixing.Mixing(mixup=0.4)
    drawn = np.array(
        [
            mix.draw(tf.constant(i, tf.int64), 0, 1, 8)["mix"].numpy()[0]
            for i in range(400)
        ]
    )
    assert drawn.mean() == pytest.approx(0.5, abs=0.06)
    # Var of Beta(a, a) is 1 / (4 (2a + 1)).
    assert drawn.var() == pytest.approx(1 / (4 * 1.8), rel=0.15)


def test_refusals():
    with pytest.raises(UserError, match="mixup has to be at least 0"):
        mixing.Mixing(mixup=-1)
    with pytest.raises(UserError, match="did you mean 'softmax'"):
        losses.check("softmx")
