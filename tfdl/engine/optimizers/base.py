"""What all optimizers share: the reduction over replicas, clipping, guards, slots."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfdl.engine import errors
from tfdl.engine.options import number, patterns
from tfdl.engine.precision import LossScale

Gradient = tf.Tensor | tf.IndexedSlices | None


class Step(NamedTuple):
    """What an update rule is told beside the gradient and the slots.

    Attributes:
        name: the variable's name.
        rate: the learning rate of this variable, of its dtype.
        t: the number of this update, counted from 1, float32.
        decay: the weight decay; 0 for an excluded variable.
        momentum: used instead of the optimizer's own momentum (Adam's beta_1) in
            this update; None keeps its own.
    """

    name: str
    rate: tf.Tensor
    t: tf.Tensor
    decay: float
    momentum: tf.Tensor | None


class Optimizer:
    """Base: reduces, unscales, checks, clips and hands to `_update`.

    Args:
        weight_decay: the decay; what it means is said by each optimizer.
        exclude_from_weight_decay: regular expressions; a variable in whose name
            one is found (`re.search`) is not decayed.
        decay_vectors: whether variables of rank 0 and 1 are decayed.
        global_clip_norm: gradients are scaled so that their global norm is at most
            this; 0 is off.
        clip_value: every entry of a gradient is clipped to +- this; 0 is off.

    Raises:
        UserError: a number out of its range or a malformed expression.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(
        self,
        weight_decay: float = 0.0,
        exclude_from_weight_decay: Sequence[str] = (),
        decay_vectors: bool = True,
        global_clip_norm: float = 0.0,
        clip_value: float = 0.0,
    ):
        self.weight_decay = number("weight_decay", weight_decay)
        self.exclude = patterns("exclude_from_weight_decay", exclude_from_weight_decay)
        self.decay_vectors = bool(decay_vectors)
        self.global_clip_norm = number("global_clip_norm", global_clip_norm)
        self.clip_value = number("clip_value", clip_value)
        self.iterations: tf.Variable | None = None
        self._variables: list[tf.Variable] = []
        self._names: dict[Any, str] = {}
        self._slots: dict[Any, list[tf.Variable]] = {}
        self._multiplier: Callable[[str], float] = lambda name: 1.0

    # --- state -----------------------------------------------------------------

    def build(
        self,
        variables: Sequence[tf.Variable | keras.Variable],
        names: Sequence[str],
    ) -> None:
        """Makes the slots of all variables, in the current strategy's scope.

        Args:
            variables: everything this optimizer may ever update.
            names: the names that regular expressions are matched against.
        """
        if self.iterations is not None:
            raise ValueError("the optimizer is built already")
        strategy = tf.distribute.get_strategy()
        self.iterations = tf.Variable(0, dtype=tf.int64, trainable=False)
        for variable, name in zip(map(raw, variables), names, strict=True):
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

    def slots(self, variable: tf.Variable | keras.Variable) -> dict[str, tf.Variable]:
        """Returns a variable's slots by name."""
        slots = self._slots[raw(variable).ref()]
        return dict(zip(self.slot_names, slots, strict=True))

    def set_multipliers(
        self, multipliers: Mapping[str, float] | Callable[[str], float]
    ) -> None:
        """Sets each variable's factor on the learning rate, by its name.

        It is read when the step is traced: build the step anew afterwards.

        Args:
            multipliers: name -> factor, 1 for names that are not there; or a
                function of the name.
        """
        if callable(multipliers):
            self._multiplier = multipliers
            return
        known = set(self._names.values())
        for name in multipliers:
            if name not in known:
                raise errors.unknown("variable", name, known)
        self._multiplier = lambda name: multipliers.get(name, 1.0)

    # --- one update ------------------------------------------------------------

    def apply(
        self,
        gradients: Sequence[Gradient],
        variables: Sequence[tf.Variable | keras.Variable],
        learning_rate: tf.Tensor | float,
        scale: LossScale | None = None,
        momentum: tf.Tensor | float | None = None,
        strict: bool = False,
    ) -> dict[str, tf.Tensor]:
        """Updates variables; called in replica context by every replica.

        Args:
            gradients: this replica's share; shares add up to the gradient of the
                global loss. A None leaves its variable as it is.
            variables: some or all of those given to `build`.
            learning_rate: the rate, equal on all replicas.
            scale: the loss scale that the gradients carry.
            momentum: this update's momentum (Adam's beta_1) in place of the
                optimizer's own, equal on all replicas.
            strict: a None among the gradients is an error.

        Returns:
            `grad_norm`, the global norm before clipping; `finite`, whether it is
            (when not, nothing is updated); `stop`, whether it is not and no dynamic
            loss scale is left to lower, so that going on is pointless.

        Raises:
            ValueError: no variable has a gradient, one has none although `strict`,
                or one was not given to `build`.
        """
        pairs = self._pairs(gradients, variables, strict)
        present = [variable for _, variable in pairs]
        scalars = [tf.cast(learning_rate, tf.float32)]
        if momentum is not None:
            scalars.append(tf.cast(momentum, tf.float32))

        def merged(strategy, local_gradients, local_scalars):
            rate, *rest = (
                strategy.experimental_local_results(scalar)[0]
                for scalar in local_scalars
            )
            step = Step("", rate, tf.constant(0.0), 0.0, rest[0] if rest else None)
            return self._merged(strategy, local_gradients, present, step, scale)

        context = tf.distribute.get_replica_context()
        gradients = [gradient for gradient, _ in pairs]
        norm, finite, stop = context.merge_call(merged, args=(gradients, scalars))
        return {"grad_norm": norm, "finite": finite, "stop": stop}

    def _pairs(self, gradients, variables, strict: bool):
        pairs, missing = [], []
        for gradient, variable in zip(gradients, map(raw, variables), strict=True):
            name = self._names.get(variable.ref())
            if name is None:
                raise ValueError(f"{variable.name!r} was not given to build()")
            if gradient is None:
                missing.append(name)
            else:
                pairs.append((tf.convert_to_tensor(gradient), variable))
        if not pairs or (strict and missing):
            raise ValueError(f"no gradient for {', '.join(missing) or 'anything'}")
        return pairs

    def _merged(self, strategy, gradients, variables, step: Step, scale):
        """Reduces and updates, in cross-replica context."""
        reduced = strategy.extended.batch_reduce_to(
            tf.distribute.ReduceOp.SUM, list(zip(gradients, variables, strict=True))
        )
        # Every replica holds the same sums: one replica's tell for all.
        first = [strategy.experimental_local_results(g)[0] for g in reduced]
        norm, factor, stop = tf.linalg.global_norm(first), None, tf.constant(True)
        if scale is not None and scale.active:
            value = scale.value()
            factor, stop = 1.0 / value, scale.at_minimum()
            norm *= factor
        finite = tf.math.is_finite(norm)
        if self.global_clip_norm:
            clip = self.global_clip_norm / tf.maximum(norm, self.global_clip_norm)
            factor = clip if factor is None else factor * clip
        step = step._replace(t=tf.cast(self.iterations + 1, tf.float32))

        def update_all():
            for gradient, variable in zip(reduced, variables, strict=True):
                key = variable.ref()
                strategy.extended.update(
                    variable,
                    self._one_update(self._names[key], step, factor),
                    args=(gradient, *self._slots[key]),
                    group=False,
                )
            self.iterations.assign_add(1)
            return tf.constant(True)

        tf.cond(finite, update_all, lambda: tf.constant(False))
        if scale is not None:
            scale.update(finite)
        return norm, finite, tf.logical_and(stop, tf.logical_not(finite))

    def _one_update(self, name: str, step: Step, factor: tf.Tensor | None):
        multiplier = float(self._multiplier(name))

        def update(variable, gradient, *slots):
            dtype = variable.dtype
            gradient = tf.cast(gradient, dtype)
            if factor is not None:
                gradient *= tf.cast(factor, dtype)
            if self.clip_value:
                gradient = tf.clip_by_value(gradient, -self.clip_value, self.clip_value)
            own = step._replace(
                name=name,
                rate=tf.cast(step.rate * multiplier, dtype),
                decay=self._decay(name, variable),
            )
            self._update(variable, gradient, own, *slots)

        return update

    def _decay(self, name: str, variable: tf.Variable) -> float:
        if found(self.exclude, name):
            return 0.0
        if not self.decay_vectors and variable.shape.rank < 2:
            return 0.0
        return self.weight_decay

    def _initial(self, slot: str, variable: tf.Variable) -> tf.Tensor:
        """Returns what a slot starts with."""
        del slot
        return tf.zeros(variable.shape, variable.dtype)

    def _update(self, variable, gradient, step: Step, *slots) -> None:
        """Updates one replica's copy of a variable and its slots."""
        raise NotImplementedError("subclasses define _update()")


def raw(variable: tf.Variable | keras.Variable) -> tf.Variable:
    """Returns the TensorFlow variable behind a Keras one."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def found(expressions: Sequence[str], name: str) -> bool:
    """Tells whether one of the regular expressions is found in a name."""
    return any(re.search(expression, name) for expression in expressions)


def with_l2(gradient: tf.Tensor, variable: tf.Variable, decay: float) -> tf.Tensor:
    """Returns the gradient plus that of `decay / 2 * |w|^2`."""
    return gradient + decay * variable if decay else gradient
