"""REINFORCE as ENAS's controllers use it: a moving baseline, entropy in the reward."""

from typing import NamedTuple

import tensorflow as tf

from tfdl.models.automl.enas.controller import Samples


class Judgement(NamedTuple):
    """What an architecture was worth.

    Attributes:
        reward: float32 [m], with the entropy bonus.
        baseline: float32 [], after these rewards.
        loss: float32 [m]; its gradient is the update's.
    """

    reward: tf.Tensor
    baseline: tf.Tensor
    loss: tf.Tensor


def judge(
    samples: Samples,
    rewards: tf.Tensor,
    baseline: tf.Tensor,
    entropy_weight: float,
    decay: float,
    skip_weight: float = 0.0,
) -> Judgement:
    """Returns the loss of m architectures, judged one after the other.

    The baseline moves first, `b += (1 - decay) (R - b)`; the advantage is what R is
    above the moved one. The entropy bonus is part of R, for the baseline too.

    Args:
        samples: the architectures.
        rewards: float32 [m].
        baseline: float32 [], so far.
        entropy_weight: of the bonus.
        decay: of the baseline.
        skip_weight: of the penalty on the number of skip connections.
    """
    total = tf.stop_gradient(rewards + entropy_weight * samples.entropies)
    after = []
    for reward in tf.unstack(total):
        baseline = baseline + (1.0 - decay) * (reward - baseline)
        after.append(baseline)
    advantages = tf.stop_gradient(total - tf.stack(after))
    loss = samples.neg_log_probs * advantages
    if skip_weight:
        loss += skip_weight * samples.skip_penalties
    return Judgement(total, baseline, loss)
