"""Tasks: what is learned."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from tfdl.engine import model_dir
from tfdl.engine.distribution import Shard
from tfdl.engine.phases import Phase

if TYPE_CHECKING:
    from tfdl.engine.learner import Learner
    from tfdl.engine.trainer import Result

Batch = Mapping[str, tf.Tensor]
Metrics = dict[str, tuple[tf.Tensor, tf.Tensor]]


def plain(metrics: Mapping[str, Any]) -> dict[str, float | str]:
    """Returns metrics as Python's own numbers and texts."""
    return {k: v if isinstance(v, str) else float(v) for k, v in metrics.items()}


class Task:
    """One objective: builds the network, makes the data, computes the loss.

    The engine calls, in this order: `prepare`, `networks` (inside the strategy's
    scope), `phases`, then for every phase `train_data` and, on every replica,
    `train_step`. A task with one network and one optimizer only says what its
    `denominators` and `loss` are; one with several overrides `networks`,
    `optimizers` and `train_step`.

    Args:
        config: the run's configuration.
        workdir: the run's folder, for what the task itself keeps there.

    Attributes:
        replicas: how many replicas train; set before `phases` is called.
        phase: the phase whose result `evaluate` measures; None outside training.
    """

    replicas = 1
    phase: Phase | None = None

    def __init__(self, config: ConfigDict, workdir: pathlib.Path):
        self.config = config
        self.workdir = workdir

    # --- what is learned -------------------------------------------------------

    def prepare(self) -> None:
        """Reads the data and whatever else the network's shape depends on."""

    def prepare_evaluation(self, data: str | None) -> None:
        """Reads what `evaluate` measures on: `data`, or the recipe's own."""
        if data:
            self.config.data = data
        self.prepare()

    def build_model(self) -> keras.Model:
        """Returns the built network; random, or with what `config` starts from."""
        raise NotImplementedError("subclasses define build_model()")

    def networks(self) -> dict[str, keras.Model]:
        """Returns every network by name; the first is the one that is kept."""
        return {"model": self.build_model()}

    def optimizers(self) -> dict[str, Any]:
        """Returns the optimizer configuration of every trained network."""
        return {"model": self.config.optimizer}

    def variable_names(self, name: str, network: keras.Model) -> dict[str, Any]:
        """Returns a network's trainable variables by the names regexes match."""
        return {variable.path: variable for variable in network.trainable_variables}

    def averaged(
        self, network: keras.Model, trained: Sequence[tf.Variable]
    ) -> Sequence[tf.Variable]:
        """Returns what `config.ema_decay` averages of the kept network.

        Args:
            network: the network.
            trained: its trained variables, the default.
        """
        del network
        return trained

    def state(self) -> Sequence[tf.Variable]:
        """Returns variables of the task itself that belong into checkpoints."""
        return ()

    def initialise(self, learner: "Learner", source: str) -> list[str]:
        """Starts from the model directory `source`; returns what stays random."""
        config = model_dir.read_config(source)
        del config
        model_dir.load_weights(source, learner.model)
        return []

    # --- how it is learned -----------------------------------------------------

    def run(self, strategy: tf.distribute.Strategy, name: str) -> "Result":
        """Trains, prepared, in `workdir`, from wherever it stands.

        Overridden by what is no loop of optimizer steps, a search for one.

        Args:
            strategy: where it runs.
            name: what the progress bar calls it.
        """
        from tfdl.engine.trainer import Trainer

        return Trainer(self, self.config, self.workdir, strategy, name).run()

    def phases(self) -> list[Phase]:
        """Returns the phases of the run, in order."""
        raise NotImplementedError("subclasses define phases()")

    def train_data(
        self, phase: Phase, start_step: int, shard: Shard
    ) -> tf.data.Dataset:
        """Returns the batches of a phase from `start_step` on.

        Args:
            phase: the phase.
            start_step: the step within the phase of the first batch. Batches are a
                function of the seed, the phase and the step alone: this is what
                makes an interrupted run end like an uninterrupted one.
            shard: which slice of every global batch this worker has to deliver.

        Returns:
            An endless (or long enough) dataset of dicts of tensors whose first
            dimension is `shard.part(phase.batch_size)`.
        """
        raise NotImplementedError("subclasses define train_data()")

    def denominators(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Returns the weight of every loss term in a (part of a) batch.

        Must depend on the batch alone. The engine sums over all parts of the
        global batch, so that `loss` can divide by the global weight.
        """
        first = next(iter(batch.values()))
        return {"examples": tf.cast(tf.shape(first)[0], tf.float32)}

    def loss(
        self,
        model: keras.Model,
        batch: Batch,
        denominators: Mapping[str, tf.Tensor],
        training: bool = True,
    ) -> tuple[tf.Tensor, Metrics]:
        """Computes this part's share of the global loss.

        Args:
            model: the network.
            batch: this replica's (micro-)batch.
            denominators: the global sums of what `denominators` returned.
            training: whether dropout and the like are on.

        Returns:
            (share, metrics): the share is the sum over this part's examples
            divided by the global denominators, so that shares and gradients ADD
            over replicas and micro-batches. Each metric is (sum, weight).
        """
        raise NotImplementedError("subclasses define loss()")

    def train_step(
        self, learner: "Learner", batch: Batch, phase: Phase, step: tf.Tensor
    ) -> Metrics:
        """Makes one update, in replica context; `step` counts within the phase."""
        return learner.supervised_step(self, batch, phase, step)

    def phase_starts(self, phase: Phase, learner: "Learner") -> None:
        """Called before a phase begins (not when it is resumed)."""

    def before_save(self) -> None:
        """Called before every checkpoint, to bring `state` up to date."""

    def finished(self, metrics: Mapping[str, float]) -> bool:
        """Tells from an evaluation whether the run may end before its last step."""
        return False

    def prepare_plan(self) -> None:
        """Reads what `plan` depends on."""
        self.prepare()

    def plan(self) -> list[str]:
        """Returns a table of the phases, for a person."""
        lines = [f"{'phase':<24} {'steps':>9} {'batch':>7} {'examples':>12}"]
        for phase in self.phases():
            seen = phase.steps * phase.batch_size
            lines.append(
                f"{phase.name:<24} {phase.steps:>9,} {phase.batch_size:>7,} {seen:>12,}"
            )
        return lines

    # --- what came out ---------------------------------------------------------

    def load(self, source: str) -> keras.Model | None:
        """Returns what `evaluate` measures of a model directory: its network."""
        import tfdl

        return tfdl.load(source)

    def evaluate(self, learner: "Learner") -> dict[str, float | str]:
        """Returns the metrics of the network as it stands.

        Texts say how they were measured, where numbers alone would mislead.
        """
        return {}

    def samples(self, learner: "Learner", step: int) -> dict[str, Any]:
        """Returns what a person would look at: name -> text, or image [H, W, C]."""
        return {}

    def kept_model(self, learner: "Learner") -> keras.Model:
        """Returns the model that is written at the end; averages are in place."""
        return learner.model

    def model_config(self) -> dict[str, Any]:
        """Returns `config.json` of the model directory (`"model"` included)."""
        raise NotImplementedError("subclasses define model_config()")

    def assets(self) -> dict[str, bytes | str | pathlib.Path]:
        """Returns the files that travel with the model."""
        return {}

    def score(self, metrics: Mapping[str, float]) -> float:
        """Returns what `restarts` maximises, out of the final metrics."""
        return -metrics.get("loss", 0.0)

    def remarks(self) -> list[str]:
        """Returns lines about the run as a whole, shown with its last metrics."""
        return []

    def summary(self, before: Mapping, after: Mapping, model: str) -> list[str]:
        """Returns lines for the end of the run: what was learned, what to try."""
        return [
            f"tfdl evaluate --model_dir={model}",
            f"tfdl export --model_dir={model}",
        ]
