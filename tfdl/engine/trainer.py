"""The outer loop: phases, evaluations, checkpoints, and how a run ends."""

import dataclasses
import functools
import gc
import pathlib
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from absl import logging
from ml_collections import ConfigDict

from tfdl.engine import checkpoints, distribution, errors, model_dir
from tfdl.engine import phases as phases_lib
from tfdl.engine.learner import Learner
from tfdl.engine.phases import Phase
from tfdl.engine.progress import Progress
from tfdl.engine.task import Task, plain
from tfdl.engine.writers import Writers


class Preempted(Exception):
    """The run was told to stop; it has saved a checkpoint and can go on."""


@dataclasses.dataclass
class Result:
    """What a run ended with."""

    before: dict[str, float]
    after: dict[str, float]
    model: pathlib.Path
    task: Task


class Trainer:
    """Trains one task in one folder, from wherever it stands.

    Args:
        task: the objective, prepared.
        config: the run's configuration.
        workdir: the folder of checkpoints, events, metrics and samples.
        strategy: where it runs.
        name: what the progress bar calls the run.
    """

    def __init__(
        self,
        task: Task,
        config: ConfigDict,
        workdir: pathlib.Path,
        strategy: tf.distribute.Strategy,
        name: str,
    ):
        self.task, self.config, self.workdir = task, config, workdir
        self.strategy, self.name = strategy, name
        self.chief = distribution.is_chief(strategy)
        task.replicas = strategy.num_replicas_in_sync
        self.learner = Learner(task, strategy, config)
        self.phases = task.phases()
        for phase in self.phases:
            distribution.check_batch_size(
                strategy,
                phase.batch_size,
                phase.gradient_accumulation or config.gradient_accumulation,
            )
        self.checkpoints = checkpoints.Checkpoints(
            workdir / "checkpoints",
            self.learner.state(),
            strategy,
            config.keep_checkpoints,
        )
        self._stop = threading.Event()

    def run(self) -> Result:
        """Trains all phases and writes `WORKDIR/model`.

        Raises:
            UserError: a loss or gradient became NaN or Inf, a worker was lost, the
                disk is full. The last good checkpoint stays.
            Preempted: a SIGTERM came; everything is saved.
        """
        info = self.checkpoints.restore_latest()
        step = 0 if info is None else info["step"]
        previous = self._listen()
        self.writers = Writers(self.workdir, self.chief, step)
        self.progress = Progress(
            phases_lib.total_steps(self.phases), step, self.name, self.chief
        )
        try:
            for line in self.task.plan():
                self.progress.message(f"{self.name}: {line}")
            if info is None:
                self._start_from_model()
                before = self._evaluate(0)
            else:
                before = info["before"]
                self.progress.message(f"{self.name}: goes on at step {step}")
            finished = info is not None and info.get("finished", False)
            after = None if finished else self._train(step, before)
            if after is None:
                after = self._evaluate(step)
        except tf.errors.UnavailableError as error:
            raise distribution.lost_worker(error) from None
        except tf.errors.OpError as error:
            raise _readable(error) from None
        finally:
            self.progress.close()
            self.writers.close()
            if previous is not None:
                signal.signal(signal.SIGTERM, previous)
        model = self.workdir / "model"
        if self.chief:
            self._save_model(model)
        return Result(before, after, model, self.task)

    # --- the loop --------------------------------------------------------------

    def _train(self, step: int, before: dict[str, float]) -> dict[str, float] | None:
        """Trains all phases; returns the last evaluation, None without training."""
        after = None
        while after is None or not self.task.finished(after):
            where = phases_lib.position(self.phases, step)
            if where.phase == len(self.phases):
                break
            phase = self.phases[where.phase]
            if where.phase_step == 0:
                self._announce(phase)
                self.task.phase_starts(phase, self.learner)
            step, after = self._phase(phase, step, where.phase_step, before)
            gc.collect()
        return after

    def _phase(
        self, phase: Phase, step: int, phase_step: int, before: dict[str, float]
    ) -> tuple[int, dict[str, float] | None]:
        """Trains the rest of a phase; returns the step and the last evaluation."""
        config, offset = self.config, step - phase_step
        shard = distribution.shard(self.strategy)
        dataset = self.task.train_data(phase, phase_step, shard)
        iterator = iter(distribution.distribute(self.strategy, dataset))
        train = self.learner.train_function(phase)
        metrics: dict[str, float] | None = None
        while phase_step < phase.steps:
            count = self._steps_until_a_look(phase, offset, phase_step)
            clock = time.monotonic()
            report = train(iterator, phase_step, count)
            if report["bad"] is not None:
                self._refuse(phase, offset, report["bad"])
            phase_step, metrics = phase_step + count, None
            step = offset + phase_step
            self._show(
                phase, step, report["metrics"], count / (time.monotonic() - clock)
            )
            ends = phase_step == phase.steps
            if ends or (phase.eval_every and phase_step % phase.eval_every == 0):
                metrics = self._evaluate(step)
            finished = metrics is not None and self.task.finished(metrics)
            stop = self._told_to_stop()
            if ends or stop or finished or step % config.checkpoint_every == 0:
                self.task.before_save()
                info = {"phase": phase.name, "before": before, "finished": finished}
                self.checkpoints.save(step, info)
            if finished:
                break
            if stop and step < phases_lib.total_steps(self.phases):
                raise Preempted(
                    f"stopped at step {step}; run the same command to go on"
                )
        return step, metrics

    def _steps_until_a_look(self, phase: Phase, offset: int, phase_step: int) -> int:
        """Returns how many steps to make before coming back to Python."""
        step, config = offset + phase_step, self.config
        count = min(config.steps_per_loop, phase.steps - phase_step)
        for every in (config.log_every, config.checkpoint_every):
            count = min(count, every - step % every)
        if phase.eval_every:
            count = min(count, phase.eval_every - phase_step % phase.eval_every)
        return count

    def _show(self, phase: Phase, step: int, metrics: dict, rate: float) -> None:
        show = step % self.config.log_every == 0
        if show:
            values = {
                "phase": phase.name,
                **metrics,
                "steps_per_second": round(rate, 3),
            }
            self.writers.scalars(step, "train", values)
        self.progress.update(step, {"loss": metrics["loss"]} if show else None)

    def _evaluate(self, step: int) -> dict[str, float]:
        last = phases_lib.position(self.phases, max(step - 1, 0))
        self.task.phase = self.phases[last.phase]
        averages = self.learner.ema
        if averages is None:
            metrics, samples = self._measure(step)
        else:
            with averages.swapped():
                metrics, samples = self._measure(step)
        if metrics:
            self.writers.scalars(step, "eval", metrics)
            shown = "  ".join(
                f"{name} {value:.4g}"
                for name, value in metrics.items()
                if not isinstance(value, str)
            )
            self.progress.message(f"{self.name}: step {step}: {shown}")
        self.writers.samples(step, samples)
        return metrics

    def _measure(self, step: int) -> tuple[dict[str, float], dict[str, Any]]:
        metrics = plain(self.task.evaluate(self.learner))
        return metrics, self.task.samples(self.learner, step)

    # --- beginning and end -----------------------------------------------------

    def _start_from_model(self) -> None:
        source = self.config.init_from
        if not source:
            return
        fresh = self.task.initialise(self.learner, source)
        if fresh:
            self.progress.message(
                f"{self.name}: not in {source}, starts at random: {', '.join(fresh)}"
            )

    def _announce(self, phase: Phase) -> None:
        self.progress.message(
            f"{self.name}: phase {phase.name}: {phase.steps} steps of "
            f"{phase.batch_size} examples"
        )

    def _save_model(self, model: pathlib.Path) -> None:
        task = self.task

        def save():
            kept = task.kept_model(self.learner)
            model_dir.save(model, task.model_config(), kept, task.assets())

        if self.learner.ema is None:
            save()
        else:
            with self.learner.ema.swapped():
                save()

    def _refuse(self, phase: Phase, offset: int, bad: Sequence[Any]) -> None:
        phase_step, where = bad
        steps = self.checkpoints.steps()
        kept = f"; the checkpoint of step {steps[-1]} is kept" if steps else ""
        raise errors.UserError(
            f"NaN or Inf in {where} at step {offset + phase_step} (phase "
            f"{phase.name!r}){kept}"
        )

    def _listen(self):
        """Lets SIGTERM ask for a stop; returns the handler that was there."""
        if threading.current_thread() is not threading.main_thread():
            return None
        return signal.signal(signal.SIGTERM, lambda *_: self._stop.set())

    def _told_to_stop(self) -> bool:
        """Tells whether any worker was asked to stop; all get the same answer."""
        mine = self._stop.is_set()
        if not distribution.is_multi_worker(self.strategy):
            return mine

        return float(self._any_worker(tf.constant(float(mine)))) > 0

    @functools.cached_property
    def _any_worker(self):
        strategy = self.strategy
        return tf.function(
            lambda flag: strategy.reduce("SUM", strategy.run(lambda: flag), axis=None)
        )


def _readable(error: tf.errors.OpError) -> Exception:
    """Returns a one-line error for what data or disk did; others as they are."""
    told = errors.raised_within(error)
    if told is not None:
        return told
    if isinstance(error, tf.errors.DataLossError | tf.errors.NotFoundError):
        return errors.UserError(" ".join(str(error.message).split())[:300])
    if "No space left" in str(error):
        return errors.UserError("no space left on the disk; the last checkpoint stays")
    logging.debug("%s", error)
    return error
