"""Optimizers with their originals' exact update rules.

Keras's optimizers clip each replica's gradients on its own and differ from the
originals in epsilon, bias correction or momentum; here gradients are reduced over
the replicas first, once, and everything after works on their global sum.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfdl.engine import errors
from tfdl.engine.precision import LossScale


class Optimizer:
    """Base: reduces, unscales, checks, clips and hands to `_update`.

    Args:
        weight_decay: the decay; what it means is said by each optimizer.
        exclude_from_weight_decay: regular expressions; a variable in whose name
            one is found (`re.search`) is not decayed.
        global_clip_norm: gradients are scaled so that their global norm is at most
            this; 0 is off.
        clip_value: every entry of a gradient is clipped to +- this; 0 is off.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(
        self,
        weight_decay: float = 0.0,
        exclude_from_weight_decay: Sequence[str] = (),
        global_clip_norm: float = 0.0,
        clip_value: float = 0.0,
    ):
        self.weight_decay = float(weight_decay)
        self.exclude = tuple(exclude_from_weight_decay)
        self.global_clip_norm = float(global_clip_norm)
        self.clip_value = float(clip_value)
        self.iterations: tf.Variable | None = None
        self._variables: list[tf.Variable] = []
        self._names: dict[Any, str] = {}
        self._slots: dict[Any, list[tf.Variable]] = {}
        self._multiplier: Callable[[str], float] = lambda name: 1.0

    # --- state -----------------------------------------------------------------

    def build(self, variables: Sequence[tf.Variable], names: Sequence[str]) -> None:
        """Makes the slots of all variables, in the current strategy's scope.

        Args:
            variables: everything this optimizer may ever update.
            names: the names that regular expressions are matched against.
        """
        strategy = tf.distribute.get_strategy()
        self.iterations = tf.Variable(0, dtype=tf.int64, trainable=False)
        for variable, name in zip(variables, names, strict=True):
            self._variables.append(variable)
            self._names[variable.ref()] = name
            with strategy.extended.colocate_vars_with(variable):
                self._slots[variable.ref()] = [
                    tf.Variable(self._initial(slot, variable), trainable=False)
                    for slot in self.slot_names
                ]

    def state(self) -> list[tf.Variable]:
        """Returns all state in a fixed order, for checkpoints."""
        slots = [slot for v in self._variables for slot in self._slots[v.ref()]]
        return [self.iterations, *slots]

    def slots(self, variable: tf.Variable) -> dict[str, tf.Variable]:
        """Returns a variable's slots by name."""
        return dict(zip(self.slot_names, self._slots[variable.ref()], strict=True))

    def set_multipliers(self, multiplier: Callable[[str], float]) -> None:
        """Sets each variable's factor on the learning rate, by its name.

        It is read when the step is traced: build the step anew afterwards.
        """
        self._multiplier = multiplier

    # --- one update ------------------------------------------------------------

    def apply(
        self,
        gradients: Sequence[tf.Tensor | tf.IndexedSlices | None],
        variables: Sequence[tf.Variable],
        learning_rate: tf.Tensor | float,
        scale: LossScale | None = None,
    ) -> dict[str, tf.Tensor]:
        """Updates variables; called in replica context by every replica.

        Args:
            gradients: this replica's share; shares add up to the gradient of the
                global loss. A None leaves its variable as it is.
            variables: some or all of those given to `build`.
            learning_rate: the rate, equal on all replicas.
            scale: the loss scale that the gradients carry.

        Returns:
            `grad_norm`, the global norm before clipping, and `finite`, whether
            all gradients were. When not, nothing is updated.
        """
        pairs = [
            (tf.convert_to_tensor(gradient), variable)
            for gradient, variable in zip(gradients, variables, strict=True)
            if gradient is not None
        ]
        if not pairs:
            raise ValueError("no variable has a gradient")
        context = tf.distribute.get_replica_context()
        present = [variable for _, variable in pairs]
        rate = tf.cast(learning_rate, tf.float32)

        def merged(strategy, *local):
            *local_gradients, local_rate = local
            rate = strategy.experimental_local_results(local_rate)[0]
            return self._merged(strategy, local_gradients, present, rate, scale)

        norm, finite = context.merge_call(
            merged, args=(*[gradient for gradient, _ in pairs], rate)
        )
        return {"grad_norm": norm, "finite": finite}

    def _merged(self, strategy, gradients, variables, rate, scale):
        """Reduces and updates, in cross-replica context."""
        reduced = strategy.extended.batch_reduce_to(
            tf.distribute.ReduceOp.SUM, list(zip(gradients, variables, strict=True))
        )
        first = [strategy.experimental_local_results(g)[0] for g in reduced]
        unscale = tf.constant(1.0) if scale is None else 1.0 / scale.value()
        norm = tf.linalg.global_norm(first) * unscale
        finite = tf.math.is_finite(norm)
        factor = unscale
        if self.global_clip_norm:
            factor *= self.global_clip_norm / tf.maximum(norm, self.global_clip_norm)
        t = tf.cast(self.iterations + 1, tf.float32)

        def update_all():
            for gradient, variable in zip(reduced, variables, strict=True):
                key = variable.ref()
                strategy.extended.update(
                    variable,
                    self._one_update(self._names[key]),
                    args=(gradient, rate, factor, t, *self._slots[key]),
                    group=False,
                )
            self.iterations.assign_add(1)
            return tf.constant(True)

        tf.cond(finite, update_all, lambda: tf.constant(False))
        if scale is not None:
            scale.update(finite)
        return norm, finite

    def _one_update(self, name: str):
        multiplier = float(self._multiplier(name))
        decay = self.weight_decay
        if any(re.search(pattern, name) for pattern in self.exclude):
            decay = 0.0

        def update(variable, gradient, rate, factor, t, *slots):
            gradient = tf.cast(gradient, variable.dtype) * factor
            if self.clip_value:
                gradient = tf.clip_by_value(gradient, -self.clip_value, self.clip_value)
            self._update(variable, gradient, rate * multiplier, decay, t, *slots)

        return update

    def _initial(self, slot: str, variable: tf.Variable) -> tf.Tensor:
        del slot
        return tf.zeros(variable.shape, variable.dtype)

    def _update(self, variable, gradient, rate, decay: float, t, *slots) -> None:
        raise NotImplementedError("subclasses define _update()")


class SGD(Optimizer):
    """SGD with momentum in torch's form: `v = mu v + g; w -= lr v`.

    The velocity is in units of the gradient, so that a changed rate acts at once
    (Keras keeps `lr * g`). Weight decay is L2: `g += wd * w` before the momentum.
    """

    slot_names = ("velocity",)

    def __init__(self, momentum: float = 0.0, nesterov: bool = False, **options):
        super().__init__(**options)
        self.momentum, self.nesterov = float(momentum), nesterov
        if not self.momentum:
            self.slot_names = ()

    def _update(self, variable, gradient, rate, decay, t, *slots):
        if decay:
            gradient += decay * variable
        if not slots:
            variable.assign_sub(rate * gradient)
            return
        velocity = slots[0].assign(self.momentum * slots[0] + gradient)
        step = gradient + self.momentum * velocity if self.nesterov else velocity
        variable.assign_sub(rate * step)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2014, algorithm 1).

    `w -= lr * m^ / (sqrt(v^) + eps)` with bias correction. `epsilon_hat` uses the
    paper's other form instead, `lr_t * m / (sqrt(v) + eps)` (TensorFlow's Adam).
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
        self.beta_1, self.beta_2 = float(beta_1), float(beta_2)
        self.epsilon, self.epsilon_hat = float(epsilon), epsilon_hat

    def _update(self, variable, gradient, rate, decay, t, m, v):
        if decay:
            gradient += decay * variable
        self._step(variable, gradient, rate, t, m, v)

    def _step(self, variable, gradient, rate, t, m, v):
        correction_1 = 1.0 - tf.pow(self.beta_1, t)
        correction_2 = 1.0 - tf.pow(self.beta_2, t)
        if self.epsilon_hat:
            rate = rate * tf.sqrt(correction_2) / correction_1
            _fused_adam(variable, gradient, rate, m, v, self, self.epsilon)
            return
        # m^/(sqrt(v^) + eps) = (sqrt(c2)/c1) m / (sqrt(v) + eps sqrt(c2)).
        root = tf.sqrt(correction_2)
        _fused_adam(
            variable,
            gradient,
            rate * root / correction_1,
            m,
            v,
            self,
            self.epsilon * root,
        )


class AdamW(Adam):
    """Adam with decoupled decay: first `w -= lr * wd * w` (Loshchilov & Hutter)."""

    def _update(self, variable, gradient, rate, decay, t, m, v):
        if decay:
            variable.assign_sub(rate * decay * variable)
        self._step(variable, gradient, rate, t, m, v)


class BertAdam(Adam):
    """BERT's AdamWeightDecay (google-research/bert, optimization.py).

    `u = m / (sqrt(v) + eps) + wd * w; w -= lr * u`, without bias correction;
    `bias_correction=True` adds it, which steadies fine-tuning on small sets
    (Zhang et al. 2020, Mosbach et al. 2020).
    """

    def __init__(self, epsilon: float = 1e-6, bias_correction: bool = False, **options):
        super().__init__(epsilon=epsilon, **options)
        self.bias_correction = bias_correction

    def _update(self, variable, gradient, rate, decay, t, m, v):
        if decay:
            # The decay reads the weight before the step; the rest does not read it.
            variable.assign_sub(rate * decay * variable)
        if self.bias_correction:
            self._step(variable, gradient, rate, t, m, v)
        else:
            _fused_adam(variable, gradient, rate, m, v, self, self.epsilon)


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
        self.exclude_adaptation = self.exclude if given is None else tuple(given)

    def _one_update(self, name: str):
        update = super()._one_update(name)
        adapt = not any(re.search(pattern, name) for pattern in self.exclude_adaptation)

        def with_adaptation(variable, gradient, rate, factor, t, *slots):
            self._adapt = adapt
            update(variable, gradient, rate, factor, t, *slots)

        return with_adaptation

    def _update(self, variable, gradient, rate, decay, t, m, v):
        m = m.assign(self.beta_1 * m + (1.0 - self.beta_1) * gradient)
        v = v.assign(self.beta_2 * v + (1.0 - self.beta_2) * tf.square(gradient))
        m_hat = m / (1.0 - tf.pow(self.beta_1, t))
        v_hat = v / (1.0 - tf.pow(self.beta_2, t))
        u = m_hat / (tf.sqrt(v_hat) + self.epsilon)
        if decay:
            u += decay * variable
        ratio = _trust_ratio(variable, u) if self._adapt else 1.0
        variable.assign_sub(rate * ratio * u)


class Lars(SGD):
    """LARS (You et al. 2017): SGD with momentum and a trust ratio per layer.

    `g += wd * w; r = eta |w| / (|g| + wd |w| + eps)`; `v = mu v + lr * r * g;
    w -= v`. Names excluded from the decay have r = 1.
    """

    def __init__(
        self, momentum: float = 0.9, eta: float = 1e-3, epsilon: float = 0.0, **options
    ):
        super().__init__(momentum=momentum, **options)
        self.eta, self.epsilon = float(eta), float(epsilon)

    def _update(self, variable, gradient, rate, decay, t, velocity):
        ratio = 1.0
        if decay:
            weight_norm, gradient_norm = tf.norm(variable), tf.norm(gradient)
            scale = gradient_norm + decay * weight_norm + self.epsilon
            usable = tf.logical_and(weight_norm > 0, gradient_norm > 0)
            ratio = tf.where(
                usable, self.eta * weight_norm / tf.where(usable, scale, 1.0), 1.0
            )
            gradient += decay * variable
        velocity = velocity.assign(self.momentum * velocity + rate * ratio * gradient)
        step = velocity
        if self.nesterov:
            step = self.momentum * velocity + rate * ratio * gradient
        variable.assign_sub(step)


class RMSprop(Optimizer):
    """RMSprop in TensorFlow's form, epsilon inside the root.

    `s = rho s + (1 - rho) g^2; v = mu v + lr g / sqrt(s + eps); w -= v`; s starts
    at 1 (TensorFlow 1) unless `initial_square` says otherwise. Weight decay is L2.
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
        self.rho, self.momentum, self.epsilon = float(rho), float(momentum), epsilon
        self.epsilon_inside, self.initial_square = epsilon_inside, initial_square

    def _initial(self, slot, variable):
        zeros = tf.zeros(variable.shape, variable.dtype)
        return zeros + self.initial_square if slot == "square" else zeros

    def _update(self, variable, gradient, rate, decay, t, square, velocity):
        if decay:
            gradient += decay * variable
        square = square.assign(
            self.rho * square + (1.0 - self.rho) * tf.square(gradient)
        )
        if self.epsilon_inside:
            root = tf.sqrt(square + self.epsilon)
        else:
            root = tf.sqrt(square) + self.epsilon
        velocity = velocity.assign(self.momentum * velocity + rate * gradient / root)
        variable.assign_sub(velocity)


class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011): `s += g^2; w -= lr g / (sqrt(s) + eps)`.

    TensorFlow 1 starts s at 0.1 and has no epsilon. Weight decay is L2.
    """

    slot_names = ("square",)

    def __init__(self, initial_square: float = 0.1, epsilon: float = 0.0, **options):
        super().__init__(**options)
        self.initial_square, self.epsilon = float(initial_square), float(epsilon)

    def _initial(self, slot, variable):
        return tf.zeros(variable.shape, variable.dtype) + self.initial_square

    def _update(self, variable, gradient, rate, decay, t, square):
        if decay:
            gradient += decay * variable
        square = square.assign_add(tf.square(gradient))
        variable.assign_sub(rate * gradient / (tf.sqrt(square) + self.epsilon))


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "bert_adam": BertAdam,
    "lamb": Lamb,
    "lars": Lars,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
}


def create(options: Mapping[str, Any]) -> Optimizer:
    """Returns the optimizer that `options["name"]` names, with the other options.

    Fields that say how the rate moves (`learning_rate`, `schedule`, `warmup`...)
    belong to schedules and are left out by the tasks before they call this.

    Raises:
        UserError: an unknown name or option.
    """
    arguments = dict(options)
    name = arguments.pop("name")
    if name not in OPTIMIZERS:
        raise errors.unknown("optimizer", name, OPTIMIZERS)
    try:
        return OPTIMIZERS[name](**arguments)
    except TypeError as error:
        raise errors.UserError(f"optimizer {name!r}: {error}") from None


def _fused_adam(variable, gradient, rate, m, v, optimizer: Adam, epsilon) -> None:
    """One pass over the memory: m, v, then `w -= rate * m / (sqrt(v) + eps)`.

    Beta powers of 0 switch the kernel's own bias correction off.
    """
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=m.handle,
        v=v.handle,
        beta1_power=0.0,
        beta2_power=0.0,
        lr=rate,
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        epsilon=epsilon,
        grad=gradient,
    )


def _trust_ratio(weight, update) -> tf.Tensor:
    weight_norm, update_norm = tf.norm(weight), tf.norm(update)
    both = tf.logical_and(weight_norm > 0, update_norm > 0)
    return tf.where(both, weight_norm / tf.where(both, update_norm, 1.0), 1.0)
