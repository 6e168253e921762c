"""The inner loop: networks, optimizers and the steps that run on the device."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from tfdl.engine import errors, micro_batches, optimizers, precision
from tfdl.engine.ema import ExponentialMovingAverage
from tfdl.engine.phases import Phase
from tfdl.engine.task import Batch, Metrics, Task

# Rows of the table in which a step returns its metrics; a table of fixed size can
# be carried through the device's loop before the metrics' names are known.
CAPACITY = 64


class Learner:
    """Holds what is trained and builds the function that trains it.

    Args:
        task: the objective.
        strategy: where it runs.
        config: the run's configuration.
    """

    def __init__(
        self, task: Task, strategy: tf.distribute.Strategy, config: ConfigDict
    ):
        self.task, self.strategy, self.config = task, strategy, config
        self._trace = threading.local()
        keras.utils.set_random_seed(config.seed)
        precision.set_policy(config.precision)
        with strategy.scope():
            self.networks = task.networks()
            self.optimizers: dict[str, optimizers.Optimizer] = {}
            self._names: dict[str, dict[str, tf.Variable]] = {}
            for name, options in task.optimizers().items():
                named = {
                    key: _raw(variable)
                    for key, variable in task.variable_names(
                        name, self.networks[name]
                    ).items()
                }
                optimizer = optimizers.create(options)
                optimizer.build(list(named.values()), list(named))
                self.optimizers[name], self._names[name] = optimizer, named
            # One per optimizer: what the first update of a step does to its scale
            # must not touch gradients that were scaled before it.
            self.loss_scales = {
                name: precision.LossScale.for_precision(config.precision)
                for name in self.optimizers
            }
            self.ema = self._averages()
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")

    @property
    def model(self) -> keras.Model:
        """The network that is kept: the task's first."""
        return next(iter(self.networks.values()))

    def state(self) -> dict[str, Sequence[tf.Variable]]:
        """Returns every variable of the run in groups of a fixed order."""
        groups: dict[str, Sequence[tf.Variable]] = {"step": [self.step]}
        for name, network in self.networks.items():
            groups[f"network_{name}"] = [_raw(v) for v in network.variables]
        for name, optimizer in self.optimizers.items():
            groups[f"optimizer_{name}"] = list(optimizer.state())
        for name, scale in self.loss_scales.items():
            groups[f"loss_scale_{name}"] = list(scale.variables)
        if self.ema is not None:
            groups["averages"] = list(self.ema.variables)
        groups["task"] = list(self.task.state())
        return groups

    def trained(self, name: str, phase: Phase) -> dict[str, tf.Variable]:
        """Returns the variables of a network that a phase trains, by name."""
        chosen = {
            key: variable
            for key, variable in self._names[name].items()
            if phase.trainable is None or phase.trainable(key)
        }
        if not chosen:
            raise errors.UserError(
                f"phase {phase.name!r} trains no variable of {name!r}"
            )
        return chosen

    # --- one step, in replica context ------------------------------------------

    def all_reduce(self, values: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Sums scalars over the replicas (replica context)."""
        if self.strategy.num_replicas_in_sync == 1:
            return dict(values)
        context = tf.distribute.get_replica_context()
        names = sorted(values)
        stacked = tf.stack([tf.cast(values[name], tf.float32) for name in names])
        return dict(
            zip(names, tf.unstack(context.all_reduce("SUM", stacked)), strict=True)
        )

    def apply(
        self,
        name: str,
        gradients: Sequence[tf.Tensor],
        variables: Mapping[str, tf.Variable],
        learning_rate: tf.Tensor,
        scaled: bool = True,
        momentum: tf.Tensor | None = None,
        judge: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> dict[str, tf.Tensor]:
        """Updates a network's variables from this replica's gradients.

        Args:
            name: the network.
            gradients: shares of the global gradient; they add over replicas.
            variables: what `trained` returned, in the gradients' order.
            learning_rate: this step's rate.
            scaled: the gradients carry the loss scale.
            momentum: this step's, in place of the optimizer's own.
            judge: decides from `stop` whether the run has to stop indeed.

        Returns:
            `grad_norm` (global, before clipping), `finite`, and `stop`: not finite
            although no loss scale is left to lower.
        """
        report = self.optimizers[name].apply(
            gradients,
            list(variables.values()),
            learning_rate,
            scale=self.loss_scales[name] if scaled else None,
            momentum=momentum,
        )
        if judge is not None:
            report["stop"] = judge(report["stop"])
        guilty = first_bad(report["stop"], gradients)
        self.watch(report["stop"], guilty, name, list(variables))
        return report

    def watch(
        self, stop: tf.Tensor, guilty: tf.Tensor, name: str, variables: Sequence[str]
    ) -> None:
        """Stops the run after this step where `stop`; `apply` calls it.

        A step that updates by the optimizers themselves, within a `tf.cond`, tells
        here from outside of it.

        Args:
            stop: whether.
            guilty: what `first_bad` returned.
            name: the network.
            variables: the names of its variables, in the gradients' order.
        """
        self._trace.stops.append((stop, guilty, name, list(variables)))

    def supervised_step(
        self, task: Task, batch: Batch, phase: Phase, step: tf.Tensor
    ) -> Metrics:
        """One update of the one network of a task that defines `loss`."""
        denominators = self.all_reduce(task.denominators(batch))
        variables = self.trained("model", phase)
        micro = phase.gradient_accumulation or self.config.gradient_accumulation
        compute = self._compiled(self._gradient_function(task, variables, micro))
        if micro == 1:
            gradients, share, metrics = compute(batch, denominators, tf.constant(0))
        else:
            gradients, share, metrics = _accumulate(compute, batch, denominators, micro)
        rate = phase.learning_rate(step)
        report = self.apply("model", gradients, variables, rate)
        one = tf.constant(1.0)
        replicas = float(self.strategy.num_replicas_in_sync)
        return {
            "loss": (share, one / replicas),
            **metrics,
            "learning_rate": (rate, one),
            "grad_norm": (report["grad_norm"], one),
        }

    def _gradient_function(
        self, task: Task, variables: Mapping[str, tf.Variable], micro: int
    ) -> Callable[..., Any]:
        watched = list(variables.values())

        def compute(batch, denominators, index):
            with micro_batches.part(index, micro), tf.GradientTape() as tape:
                share, metrics = task.loss(
                    self.networks["model"], batch, denominators, training=True
                )
                scaled = self.loss_scales["model"].scale(share)
            return tape.gradient(scaled, watched), share, metrics

        return compute

    def _compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        # Forward and backward alone: the update all-reduces, which XLA refuses on
        # several CPUs, and the fused update kernels are faster outside it.
        return tf.function(function, jit_compile=True) if self.config.xla else function

    # --- many steps, on the device ---------------------------------------------

    def train_function(self, phase: Phase) -> Callable[..., dict[str, Any]]:
        """Builds `train(iterator, first_step, count)` for a phase.

        It makes `count` steps without coming back to Python and returns the means
        of the metrics, as Python floats, under `"metrics"`; `"bad"` is None, or
        (step within the phase, where) of the first NaN or Inf.
        """
        names: list[str] = []
        suspects: list[str] = []

        def replica_step(batch, step):
            self._trace.stops = []
            metrics = self.task.train_step(self, batch, phase, step)
            if len(metrics) > CAPACITY:
                raise ValueError(f"{len(metrics)} metrics, at most {CAPACITY}")
            names[:] = list(metrics)
            rows = tf.stack(
                [
                    tf.stack([tf.cast(x, tf.float32) for x in m])
                    for m in metrics.values()
                ]
            )
            table = tf.pad(rows, [[0, CAPACITY - len(metrics)], [0, 0]])
            return table, self._culprit(suspects)

        def one_step(iterator, step):
            table, culprit = self.strategy.run(
                replica_step, args=(next(iterator), step)
            )
            self.step.assign_add(1)
            if self.ema is not None:
                self.ema.update()
            local = self.strategy.experimental_local_results(culprit)
            table = self.strategy.reduce("SUM", table, axis=None)
            return table, tf.reduce_max(tf.stack(local))

        @tf.function
        def train(iterator, first_step, count):
            def body(i, tables, bad_step, culprit):
                table, found = one_step(iterator, first_step + i)
                is_first = tf.logical_and(found > 0, bad_step < 0)
                bad_step = tf.where(is_first, first_step + i, bad_step)
                culprit = tf.where(is_first, found, culprit)
                return i + 1, tables + table, bad_step, culprit

            return tf.while_loop(
                lambda i, *_: i < count,
                body,
                (
                    tf.constant(0, tf.int64),
                    tf.zeros([CAPACITY, 2]),
                    tf.constant(-1, tf.int64),
                    tf.constant(0, tf.int32),
                ),
                parallel_iterations=1,
            )[1:]

        def run(iterator, first_step: int, count: int) -> dict[str, Any]:
            table, bad_step, culprit = train(
                iterator,
                tf.constant(first_step, tf.int64),
                tf.constant(count, tf.int64),
            )
            table = table.numpy()
            # Of what only some steps measure, there may be nothing.
            means = {
                name: float(table[i, 0] / table[i, 1])
                for i, name in enumerate(names)
                if table[i, 1]
            }
            bad = None
            if int(bad_step) >= 0:
                bad = (int(bad_step), suspects[int(culprit) - 1])
            return {"metrics": means, "bad": bad}

        return run

    def _culprit(self, suspects: list[str]) -> tf.Tensor:
        """Returns 0, or 1 + the index into `suspects` of the first bad tensor."""
        result = tf.constant(0, tf.int32)
        offset = 0
        labels: list[str] = []
        for stop, guilty, network, variables in self._trace.stops:
            where = tf.where(stop, 1 + offset + guilty, 0)
            result = tf.where(result > 0, result, where)
            labels.append(f"the update of {network!r}")
            labels.extend(f"the gradient of {name}" for name in variables)
            offset = len(labels)
        suspects[:] = labels
        return result

    def _averages(self) -> ExponentialMovingAverage | None:
        if not self.config.ema_decay:
            return None
        name = next(iter(self.optimizers))
        trained = list(self._names[name].values())
        variables = [_raw(v) for v in self.task.averaged(self.networks[name], trained)]
        return ExponentialMovingAverage(
            self.config.ema_decay, variables, self.config.get("ema_start", 0)
        )


def _accumulate(compute, batch, denominators, micro: int):
    """Sums gradients, share and metrics over `micro` slices of the batch."""

    def slices(tensor):
        size = tf.shape(tensor)[0] // micro
        static = tensor.shape[0] // micro if tensor.shape[0] else None
        parts = tf.reshape(
            tensor, tf.concat([[micro, size], tf.shape(tensor)[1:]], axis=0)
        )
        return tf.ensure_shape(parts, [micro, static, *tensor.shape[1:]])

    parts = tf.nest.map_structure(slices, batch)

    def run(i):
        part = tf.nest.map_structure(lambda tensor: tensor[i], parts)
        gradients, share, metrics = compute(part, denominators, i)
        dense = [
            tf.convert_to_tensor(gradient)
            for gradient in gradients
            if gradient is not None
        ]
        present = [gradient is not None for gradient in gradients]
        return present, dense, share, metrics

    present, dense, share, metrics = run(tf.constant(0))

    def body(i, sums):
        _, *values = run(i)
        return i + 1, tf.nest.map_structure(tf.add, sums, values)

    _, (dense, share, metrics) = tf.while_loop(
        lambda i, _: i < micro,
        body,
        (tf.constant(1), [dense, share, metrics]),
        parallel_iterations=1,
    )
    rest = iter(dense)
    gradients = [next(rest) if there else None for there in present]
    return gradients, share, metrics


def first_bad(stop: tf.Tensor, gradients: Sequence[tf.Tensor | None]) -> tf.Tensor:
    """Returns 1 + the index of the first gradient with a NaN or Inf where `stop`."""
    return tf.cond(
        stop, lambda: _first_bad(gradients), lambda: tf.constant(0, tf.int32)
    )


def _first_bad(gradients: Sequence[tf.Tensor | None]) -> tf.Tensor:
    """Returns 1 + the index of the first gradient with a NaN or Inf, else 0."""
    flags = []
    for gradient in gradients:
        if gradient is None:
            flags.append(tf.constant(False))
            continue
        values = getattr(gradient, "values", gradient)
        flags.append(tf.logical_not(tf.reduce_all(tf.math.is_finite(values))))
    flags = tf.stack(flags)
    first = tf.argmax(tf.cast(flags, tf.int32), output_type=tf.int32)
    return tf.where(tf.reduce_any(flags), 1 + first, 0)


def _raw(variable: Any) -> tf.Variable:
    return variable.value if isinstance(variable, keras.Variable) else variable
