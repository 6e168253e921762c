"""SGD, LARS, RMSprop and Adagrad, each in the form of its original."""

from collections.abc import Sequence

import tensorflow as tf

from tfdl.engine.optimizers.base import Optimizer, found, with_l2
from tfdl.engine.options import number, patterns


class SGD(Optimizer):
    """SGD with momentum in torch's form: `v = mu v + g; w -= lr v`.

    The velocity is in units of the gradient, so that a changed rate acts at once
    (Keras keeps `lr * g`). `nesterov` uses `w -= lr (g + mu v)`. Weight decay is
    L2: `g += wd * w` before the momentum.
    """

    slot_names = ("velocity",)

    def __init__(self, momentum: float = 0.0, nesterov: bool = False, **options):
        super().__init__(**options)
        self.momentum = number("momentum", momentum, below=1.0)
        self.nesterov = bool(nesterov)
        if not self.momentum:
            self.slot_names = ()

    def _update(self, variable, gradient, step, *slots):
        gradient = with_l2(gradient, variable, step.decay)
        if not slots:
            variable.assign_sub(step.rate * gradient)
            return
        momentum = self.momentum if step.momentum is None else step.momentum
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=slots[0].handle,
            lr=step.rate,
            grad=gradient,
            momentum=tf.cast(momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )


class Lars(Optimizer):
    """LARS (You et al. 2017): SGD with momentum and a trust ratio per layer.

    `r = eta |w| / (|g| + wd |w| + eps)` where both norms are positive, else 1;
    `v = mu v + lr * r * (g + wd * w); w -= v`. Names excluded from the decay also
    have r = 1, unless `exclude_from_layer_adaptation` names its own.
    """

    slot_names = ("velocity",)

    def __init__(
        self,
        momentum: float = 0.9,
        nesterov: bool = False,
        eta: float = 1e-3,
        epsilon: float = 0.0,
        exclude_from_layer_adaptation: Sequence[str] | None = None,
        **options,
    ):
        super().__init__(**options)
        self.momentum = number("momentum", momentum, below=1.0)
        self.nesterov = bool(nesterov)
        self.eta, self.epsilon = number("eta", eta), number("epsilon", epsilon)
        given = exclude_from_layer_adaptation
        self.exclude_adaptation = (
            self.exclude
            if given is None
            else patterns("exclude_from_layer_adaptation", given)
        )

    def _update(self, variable, gradient, step, velocity):
        rate = step.rate
        if not found(self.exclude_adaptation, step.name):
            rate *= self._trust_ratio(variable, gradient, step.decay)
        push = rate * with_l2(gradient, variable, step.decay)
        momentum = self.momentum if step.momentum is None else step.momentum
        momentum = tf.cast(momentum, variable.dtype)
        velocity = velocity.assign(momentum * velocity + push)
        variable.assign_sub(momentum * velocity + push if self.nesterov else velocity)

    def _trust_ratio(self, variable, gradient, decay: float) -> tf.Tensor:
        weight_norm, gradient_norm = tf.norm(variable), tf.norm(gradient)
        both = tf.logical_and(weight_norm > 0, gradient_norm > 0)
        below = gradient_norm + decay * weight_norm + self.epsilon
        return tf.where(both, self.eta * weight_norm / tf.where(both, below, 1.0), 1.0)


class RMSprop(Optimizer):
    """RMSprop in TensorFlow 1's form, epsilon inside the root.

    `s = rho s + (1 - rho) g^2; v = mu v + lr g / sqrt(s + eps); w -= v`, with s
    starting at 1. `epsilon_inside=False` divides by `sqrt(s) + eps` (torch, where
    s starts at 0). Weight decay is L2.
    """

    slot_names = ("square", "velocity")

    def __init__(
        self,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-10,
        epsilon_inside: bool = True,
        initial_square: float = 1.0,
        **options,
    ):
        super().__init__(**options)
        self.rho = number("rho", rho, below=1.0)
        self.momentum = number("momentum", momentum, below=1.0)
        self.epsilon = number("epsilon", epsilon)
        self.epsilon_inside = bool(epsilon_inside)
        self.initial_square = number("initial_square", initial_square)

    def _initial(self, slot, variable):
        first = self.initial_square if slot == "square" else 0.0
        return tf.fill(variable.shape, tf.cast(first, variable.dtype))

    def _update(self, variable, gradient, step, square, velocity):
        gradient = with_l2(gradient, variable, step.decay)
        momentum = self.momentum if step.momentum is None else step.momentum
        momentum = tf.cast(momentum, variable.dtype)
        if self.epsilon_inside:
            tf.raw_ops.ResourceApplyRMSProp(
                var=variable.handle,
                ms=square.handle,
                mom=velocity.handle,
                lr=step.rate,
                rho=self.rho,
                momentum=momentum,
                epsilon=self.epsilon,
                grad=gradient,
            )
            return
        square = square.assign(
            self.rho * square + (1.0 - self.rho) * tf.square(gradient)
        )
        push = step.rate * gradient / (tf.sqrt(square) + self.epsilon)
        variable.assign_sub(velocity.assign(momentum * velocity + push))


class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011): `s += g^2; w -= lr g / (sqrt(s) + eps)`.

    TensorFlow 1 starts s at 0.1 and has no epsilon. Weight decay is L2.
    """

    slot_names = ("square",)

    def __init__(self, initial_square: float = 0.1, epsilon: float = 0.0, **options):
        super().__init__(**options)
        self.initial_square = number("initial_square", initial_square)
        self.epsilon = number("epsilon", epsilon)

    def _initial(self, slot, variable):
        return tf.fill(variable.shape, tf.cast(self.initial_square, variable.dtype))

    def _update(self, variable, gradient, step, square):
        tf.raw_ops.ResourceApplyAdagradV2(
            var=variable.handle,
            accum=square.handle,
            lr=step.rate,
            epsilon=self.epsilon,
            grad=with_l2(gradient, variable, step.decay),
        )
