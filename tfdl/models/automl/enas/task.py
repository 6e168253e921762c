"""Searching with shared weights: child and controller take turns (ENAS, section 2.2).

One program does both, and the architecture is a tensor in it: nothing is compiled
again, however many architectures are tried.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdl.engine import errors, options, schedules
from tfdl.engine.learner import first_bad
from tfdl.engine.phases import Phase
from tfdl.engine.task import Batch, Task
from tfdl.models.automl import spaces
from tfdl.models.automl.enas import reinforce
from tfdl.models.automl.enas.controller import Controller
from tfdl.models.automl.enas.controller import number_of as whole
from tfdl.models.automl.enas.selection import Selection
from tfdl.models.automl.enas.steps import Steps
from tfdl.models.automl.search import result
from tfdl.models.automl.search.task import plain
from tfdl.models.automl.spaces.space import Space

# Updates in a row that may be left out because a gradient was not finite: an
# architecture that diverges on a batch is no fault of the others'.
MOST_SKIPPED = 10
# What seeds are for.
_ARC, _DROPOUT, _LOOK = 0, 1, 2
LOOKS = 10  # architectures that every evaluation looks at


class EnasTask(Task):
    """Base of the searches with shared weights; see `recipes` for their fields."""

    # What architectures are compared by, higher being better, and what a batch's
    # measure of the training is called.
    measure, trained = "accuracy", "train_accuracy"

    def __init__(self, config, workdir: pathlib.Path):
        super().__init__(config, workdir)
        self.result: result.SearchResult | None = None
        self.selection: Selection | None = None

    # --- what subclasses define ------------------------------------------------

    def create_network(self) -> keras.Model:
        """Returns the network of shared weights."""
        raise NotImplementedError("subclasses define create_network()")

    def create_controller(self) -> Controller:
        """Returns the controller."""
        raise NotImplementedError("subclasses define create_controller()")

    def create_steps(self) -> Steps:
        """Returns the table of all steps."""
        raise NotImplementedError("subclasses define create_steps()")

    def child_loss(
        self, batch: Batch, arc: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns what is minimised, the plain loss, and a measure, all scalars."""
        raise NotImplementedError("subclasses define child_loss()")

    def reward(self, batch: Batch, arc: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns an architecture's reward on a validation batch, and its loss."""
        raise NotImplementedError("subclasses define reward()")

    def look(self, arcs: tf.Tensor, number: int) -> list[float]:
        """Returns rewards of architectures [m, n], on a validation batch each."""
        raise NotImplementedError("subclasses define look()")

    def full(self, arc: tf.Tensor) -> float:
        """Returns an architecture's reward on all validation data."""
        raise NotImplementedError("subclasses define full()")

    # --- the engine's questions ------------------------------------------------

    def prepare(self) -> None:
        """Makes the space, so that errors come before any work."""
        config = self.config
        self.space: Space = spaces.create(plain(config.space))
        whole("epochs", config.epochs, 1)
        whole("controller_steps", config.controller_steps, 1)
        whole("aggregate", config.aggregate, 1)
        whole("samples", config.samples, 1)
        whole("rescore", config.rescore, 1)
        options.number("entropy_weight", config.entropy_weight)
        options.number("baseline_decay", config.baseline_decay, below=1.0)
        options.number("controller_rate", config.controller_rate)

    def networks(self) -> dict[str, keras.Model]:
        """Returns the shared network and the controller, and makes its state."""
        self.network, self.controller = self.create_network(), self.create_controller()
        self.baseline = tf.Variable(0.0, trainable=False)
        self.skipped = tf.Variable(0, trainable=False)
        self._sums = [
            tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False)
            for v in self.controller.trainable_variables
        ]
        return {"shared": self.network, "controller": self.controller}

    def optimizers(self) -> dict[str, Any]:
        """Returns those of both networks."""
        config = self.config
        return {
            "shared": config.optimizer,
            "controller": config.controller_optimizer,
        }

    def state(self) -> Sequence[tf.Variable]:
        """Returns the baseline and the controller's gradients so far."""
        return [self.baseline, self.skipped, *self._sums]

    def phases(self) -> list[Phase]:
        """Returns the one phase.

        Raises:
            UserError: there are several replicas.
        """
        if self.replicas > 1:
            raise errors.UserError(
                f"{self.config.task} trains on one device, not on {self.replicas}: "
                "every batch has an architecture of its own; leave out --strategy"
            )
        config, self.steps = self.config, self.create_steps()
        rates = schedules.create(plain(config.schedule), config.epochs)
        epochs = tf.constant(self.steps.epoch)
        last = len(self.steps) - 1

        def rate(step):
            return rates(epochs[tf.minimum(tf.cast(step, tf.int64), last)])

        frozen = not config.get("train_aux_head", True)
        return [
            Phase(
                name="search",
                steps=len(self.steps),
                batch_size=config.batch_size,
                learning_rate=rate,
                trainable=lambda name: not (frozen and "aux_head" in name),
                eval_every=config.eval_every or -(-len(self.steps) // config.epochs),
            )
        ]

    def plan(self) -> list[str]:
        """Returns lines about what would be done."""
        self.phases()
        config, judged = self.config, int(self.steps.judges.sum())
        return [
            f"space {self.space.name}: {len(self.space.decisions)} decisions, one "
            "network that all architectures share",
            f"{config.epochs} epochs: {len(self.steps) - judged:,} steps of the shared "
            f"weights, {judged:,} of the controller ({judged // config.aggregate:,} "
            f"updates), batches of {config.batch_size}",
            f"then {config.samples} architectures are drawn, the best {config.rescore} "
            "measured on all validation data",
        ]

    def seed(self, step: tf.Tensor | int, what: int) -> tf.Tensor:
        """Returns a seed int32 [2] that depends on the run's, the step and a use."""
        step = tf.cast(step, tf.int32)
        first = tf.constant([self.config.seed % 2**31, 0xE4A5], tf.int32)
        return tf.random.experimental.stateless_fold_in(
            tf.random.experimental.stateless_fold_in(first, step), what
        )

    # --- a step ----------------------------------------------------------------

    def train_step(self, learner, batch, phase, step):
        """Trains the shared weights or the controller, as the batch says."""
        rate = phase.learning_rate(step)
        names = {name: learner.trained(name, phase) for name in learner.networks}
        outcome = tf.cond(
            batch["judges"],
            lambda: self._judge(
                learner, batch, step, list(names["controller"].values())
            ),
            lambda: self._train(
                learner, batch, step, list(names["shared"].values()), rate
            ),
        )
        for name in names:
            mine = tf.equal(outcome["judges"], float(name == "controller"))
            stop = tf.logical_and(outcome["stop"], mine)
            learner.watch(stop, outcome["guilty"], name, list(names[name]))
        one, judges = tf.constant(1.0), outcome["judges"]
        return {
            "loss": (outcome["loss"], one),
            "learning_rate": (rate, one),
            self.trained: (outcome["measure"] * (one - judges), one - judges),
            "reward": (outcome["measure"] * judges, judges),
            "baseline": (self.baseline.read_value(), one),
            "entropy": (outcome["entropy"], one),
            "skip_rate": (outcome["skip_rate"], one),
            "grad_norm": (outcome["norm"] * (one - judges), one - judges),
        }

    def _train(self, learner, batch, step, variables, rate) -> dict[str, tf.Tensor]:
        """Updates the shared weights by one architecture."""
        drawn = self.controller.sample(1, self.seed(step, _ARC))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            total, loss, measure = self.child_loss(
                batch, drawn.arcs[0], self.seed(step, _DROPOUT)
            )
        gradients = tape.gradient(total, variables)
        report = learner.optimizers["shared"].apply(
            gradients, variables, rate * self.rate_factor(batch)
        )
        return self._outcome(drawn, report, gradients, loss, measure, 0.0)

    def _judge(self, learner, batch, step, variables) -> dict[str, tf.Tensor]:
        """Judges one architecture; the last of several updates the controller."""
        config = self.config
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            drawn = self.controller.sample(1, self.seed(step, _ARC))
            with tape.stop_recording():
                reward, loss = self.reward(batch, drawn.arcs[0])
                # Of an architecture that diverged, the lowest.
                reward = tf.where(tf.math.is_finite(reward), reward, 0.0)
            judged = reinforce.judge(
                drawn,
                reward[None],
                self.baseline.read_value(),
                config.entropy_weight,
                config.baseline_decay,
                config.get("skip_weight", 0.0),
            )
            cost = judged.loss[0] / config.aggregate
        gradients = tape.gradient(cost, variables)
        self.baseline.assign(judged.baseline)
        sums = [
            total.assign_add(tf.convert_to_tensor(gradient))
            for total, gradient in zip(self._sums, gradients, strict=True)
        ]

        def update():
            report = learner.optimizers["controller"].apply(
                [tf.identity(total) for total in sums],
                variables,
                tf.constant(config.controller_rate, tf.float32),
            )
            with tf.control_dependencies([report["grad_norm"], report["finite"]]):
                for total in self._sums:
                    total.assign(tf.zeros_like(total))
            return report["grad_norm"], report["finite"]

        complete = (batch["number"] + 1) % config.aggregate == 0
        norm, finite = tf.cond(
            complete, update, lambda: (tf.constant(0.0), tf.constant(True))
        )
        report = {"grad_norm": norm, "finite": finite}
        return self._outcome(drawn, report, gradients, loss, reward, 1.0)

    def rate_factor(self, batch: Batch) -> tf.Tensor | float:
        """Returns what the rate of a batch is multiplied by."""
        del batch
        return 1.0

    def _outcome(self, drawn, report, gradients, loss, measure, judges):
        """Returns what a step of either kind tells."""
        skipped = tf.where(report["finite"], 0, self.skipped + 1)
        self.skipped.assign(skipped)
        stop = skipped >= MOST_SKIPPED
        return {
            "judges": tf.constant(judges),
            "loss": tf.where(tf.math.is_finite(loss), loss, 0.0),
            "measure": tf.where(tf.math.is_finite(measure), measure, 0.0),
            "entropy": drawn.entropies[0],
            "skip_rate": drawn.skip_rates[0],
            "norm": tf.where(report["finite"], report["grad_norm"], 0.0),
            "stop": stop,
            "guilty": first_bad(stop, gradients),
        }

    # --- what came out ---------------------------------------------------------

    def prepare_evaluation(self, data: str | None) -> None:
        """Reads the result that `evaluate` was given."""
        if data:
            raise errors.UserError("the result of a search is not measured on --data")
        self.result = result.read(self.config.init_from)

    def load(self, source: str) -> None:
        """The result of a search has no network to load."""
        del source

    def evaluate(self, learner) -> dict[str, float | str]:
        """Looks at a few architectures; in the end, chooses one."""
        if self.result is not None:
            best = self.result.winners[0]
            return {"winner_reward": best["mean"], "winner": best["architecture"]}
        step = int(learner.step.numpy())
        drawn = self.controller.sample(LOOKS, self.seed(step, _LOOK))
        self._seen = drawn.arcs.numpy()
        self._rewards = self.look(drawn.arcs, step)
        metrics = {
            "sampled_reward": sum(self._rewards) / LOOKS,
            "best_sampled_reward": max(self._rewards),
            "entropy": float(tf.reduce_mean(drawn.entropies)),
            "baseline": float(self.baseline.numpy()),
        }
        if step == len(self.steps):
            self.selection = Selection(self, self.config.samples, self.config.rescore)
            metrics.update(self.selection.metrics())
        return metrics

    def samples(self, learner, step: int) -> dict[str, Any]:
        """Shows the architectures that were looked at, in the end the winner."""
        del learner, step
        if self.selection is not None:
            return self.selection.samples()
        rows = sorted(zip(self._rewards, self._seen.tolist(), strict=True))[::-1]
        lines = [f"{reward:.4f}  {self.space.format(arc)}" for reward, arc in rows]
        return {"architectures": "\n".join(lines) + "\n"}

    def model_config(self) -> dict[str, Any]:
        """Returns the result, in the form that every search's has."""
        return {
            "model": "automl",
            "kind": result.KIND,
            "task": self.config.task,
            "space": plain(self.config.space),
            **self.selection.config(),
        }

    def assets(self) -> dict[str, Any]:
        """Returns the candidates as a file of trials, and the winners."""
        return self.selection.assets()

    def score(self, metrics: Mapping[str, float]) -> float:
        """Returns what `restarts` maximises."""
        return metrics["winner_reward"]

    def remarks(self) -> list[str]:
        """Returns what the winner is."""
        return self.selection.lines() if self.selection is not None else []

    def summary(self, before: Mapping, after: Mapping, model: str) -> list[str]:
        """Returns what to do with the result."""
        del before, after
        return [f"tfdl predict --model_dir={model} --option=top=5"]
