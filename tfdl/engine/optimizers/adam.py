"""Adam and its kin, each in the form of its original."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfdl.engine.optimizers.base import Optimizer, Step, found, with_l2
from tfdl.engine.options import number, patterns


class Adam(Optimizer):
    """Adam (Kingma & Ba 2014, algorithm 1), as in torch.

    `w -= lr * m^ / (sqrt(v^) + eps)` with bias correction. `epsilon_hat` uses the
    form at the end of the paper's section 2 instead, `lr_t * m / (sqrt(v) + eps)`
    with `lr_t = lr * sqrt(1 - beta_2^t) / (1 - beta_1^t)`: TensorFlow's Adam.
    Weight decay is L2 (added to the gradient).
    """

    slot_names = ("m", "v")

    def __init__(
        self,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        epsilon_hat: bool = False,
        **options,
    ):
        super().__init__(**options)
        exact = number("beta_1", beta_1, below=1.0), number("beta_2", beta_2, below=1.0)
        # The float32 nearest to each beta: 1 - beta_2, which the kernel computes in
        # float32, and 1 - beta_2^t are then of one and the same beta.
        self.beta_1, self.beta_2 = (float(np.float32(beta)) for beta in exact)
        # What the kernel's m and v have to be multiplied by to be those of the betas
        # given: 1 - 0.999 is 1.3e-5 off in float32.
        self._m_factor = (1.0 - exact[0]) / (1.0 - self.beta_1)
        self._v_factor = (1.0 - exact[1]) / (1.0 - self.beta_2)
        self.epsilon = number("epsilon", epsilon)
        self.epsilon_hat = bool(epsilon_hat)

    def _update(self, variable, gradient, step, m, v):
        gradient = with_l2(gradient, variable, step.decay)
        self._corrected(variable, gradient, step, m, v)

    def _corrected(self, variable, gradient, step: Step, m, v) -> None:
        """The step with bias correction."""
        rate, root = self._corrections(step, variable.dtype)
        # m^/(sqrt(v^) + eps) = (root/c1) m / (sqrt(v) + eps root), root = sqrt(c2).
        epsilon = self.epsilon if self.epsilon_hat else self.epsilon * root
        self._fused(variable, gradient, step, m, v, rate, epsilon)

    def _corrections(self, step: Step, dtype) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the corrected rate `lr sqrt(c2) / c1`, and `sqrt(c2)`."""
        root = tf.sqrt(_bias(self.beta_2, step.t))
        rate = step.rate * tf.cast(root / _bias(self._beta_1(step), step.t), dtype)
        return rate, tf.cast(root, dtype)

    def _beta_1(self, step: Step) -> float | tf.Tensor:
        return self.beta_1 if step.momentum is None else step.momentum

    def _fused(self, variable, gradient, step: Step, m, v, rate, epsilon) -> None:
        """One pass over the memory: m, v, then `w -= rate * m / (sqrt(v) + eps)`.

        Beta powers of 0 switch the kernel's own bias correction off.
        """
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=tf.zeros([], variable.dtype),
            beta2_power=tf.zeros([], variable.dtype),
            lr=rate,
            beta1=tf.cast(self._beta_1(step), variable.dtype),
            beta2=self.beta_2,
            epsilon=epsilon,
            grad=gradient,
        )


class AdamW(Adam):
    """Adam with decoupled decay: first `w -= lr * wd * w` (Loshchilov & Hutter)."""

    def _update(self, variable, gradient, step, m, v):
        if step.decay:
            variable.assign_sub(step.rate * step.decay * variable)
        self._corrected(variable, gradient, step, m, v)


class OpenAIAdam(Adam):
    """The Adam of GPT (openai/finetune-transformer-lm, opt.py).

    `lr_t = lr * sqrt(1 - beta_2^t) / (1 - beta_1^t)` multiplies the decay as well:
    `w -= lr_t * (m / (sqrt(v) + eps) + wd * w)`. Vectors are not decayed.
    """

    def __init__(self, decay_vectors: bool = False, **options):
        super().__init__(decay_vectors=decay_vectors, **options)

    def _update(self, variable, gradient, step, m, v):
        rate, _ = self._corrections(step, variable.dtype)
        if step.decay:
            variable.assign_sub(rate * step.decay * variable)
        self._fused(variable, gradient, step, m, v, rate, self.epsilon)


class BertAdam(Adam):
    """BERT's AdamWeightDecay (google-research/bert, optimization.py).

    `u = m / (sqrt(v) + eps) + wd * w; w -= lr * u`, without bias correction;
    `bias_correction=True` adds it, which steadies fine-tuning on small sets
    (Zhang et al. 2020, Mosbach et al. 2020).
    """

    def __init__(self, epsilon: float = 1e-6, bias_correction: bool = False, **options):
        super().__init__(epsilon=epsilon, **options)
        self.bias_correction = bool(bias_correction)

    def _update(self, variable, gradient, step, m, v):
        if step.decay:
            # The decay reads the weight before the step; the rest does not read it.
            variable.assign_sub(step.rate * step.decay * variable)
        if self.bias_correction:
            self._corrected(variable, gradient, step, m, v)
        else:
            root = math.sqrt(self._v_factor)
            rate, epsilon = step.rate * (self._m_factor / root), self.epsilon / root
            self._fused(variable, gradient, step, m, v, rate, epsilon)


class Lamb(Adam):
    """LAMB (You et al. 2019, algorithm 2), as in tensorflow-addons.

    `u = m^ / (sqrt(v^) + eps) + wd * w; r = |w| / |u|` where both are positive,
    else 1; `w -= lr * r * u`. Names excluded from the decay also have r = 1,
    unless `exclude_from_layer_adaptation` names its own.
    """

    def __init__(
        self,
        epsilon: float = 1e-6,
        exclude_from_layer_adaptation: Sequence[str] | None = None,
        **options,
    ):
        super().__init__(epsilon=epsilon, **options)
        given = exclude_from_layer_adaptation
        self.exclude_adaptation = (
            self.exclude
            if given is None
            else patterns("exclude_from_layer_adaptation", given)
        )

    def _update(self, variable, gradient, step, m, v):
        beta_1 = tf.cast(self._beta_1(step), variable.dtype)
        m = m.assign(beta_1 * m + (1.0 - beta_1) * gradient)
        v = v.assign(self.beta_2 * v + (1.0 - self.beta_2) * tf.square(gradient))
        rate, root = self._corrections(step._replace(rate=1.0), variable.dtype)
        epsilon = self.epsilon if self.epsilon_hat else self.epsilon * root
        u = rate * m / (tf.sqrt(v) + epsilon)
        if step.decay:
            u += step.decay * variable
        if not found(self.exclude_adaptation, step.name):
            u *= _trust_ratio(variable, u)
        variable.assign_sub(step.rate * u)


def _bias(beta: float | tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """Returns `1 - beta^t`, without the cancellation that float32 suffers there."""
    if not isinstance(beta, float):
        return 1.0 - tf.pow(beta, t)
    return -tf.math.expm1(t * math.log(beta)) if beta else tf.ones_like(t)


def _trust_ratio(weight, update) -> tf.Tensor:
    weight_norm, update_norm = tf.norm(weight), tf.norm(update)
    both = tf.logical_and(weight_norm > 0, update_norm > 0)
    return tf.where(both, weight_norm / tf.where(both, update_norm, 1.0), 1.0)
