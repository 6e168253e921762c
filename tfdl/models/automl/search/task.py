"""The task `search`: finds an architecture; the next stage trains it in full."""

import json
import math
import pathlib
import signal
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from tfdl.engine import config as config_lib
from tfdl.engine import distribution, errors, options
from tfdl.engine.phases import Phase
from tfdl.engine.progress import Progress
from tfdl.engine.task import Task
from tfdl.engine.trainer import Preempted, Result
from tfdl.engine.writers import Writers
from tfdl.models.automl import proposers, rewards, spaces
from tfdl.models.automl.proposers.proposer import Proposer
from tfdl.models.automl.search import drawing, pictures, report, rescoring, result
from tfdl.models.automl.search.loop import DUPLICATES, ORDERS, Search, Stopped
from tfdl.models.automl.search.pool import LocalPool, Pool
from tfdl.models.automl.search.ray_pool import RayPool
from tfdl.models.automl.search.rescoring import Winner
from tfdl.models.automl.search.trials import Trial, Trials
from tfdl.models.automl.spaces.space import Space

POOLS = {"local": LocalPool, "ray": RayPool}
# Of the log's lines about trials, in a whole search.
LINES = 20
# Children that are compiled for all architectures of a space: they have to know it.
OF_A_SPACE = ("image", "language", "zoph_conv")


class SearchTask(Task):
    """Searches; see `recipe.stage` for its configuration."""

    def prepare(self) -> None:
        """Makes the space and the proposer, so that errors come before any work.

        Raises:
            UserError: an option makes no sense.
        """
        config = self.config
        self.space: Space = spaces.create(plain(config.space))
        self.proposer: Proposer = self.create_proposer(plain(config.proposer))
        for name, low in (("budget", 1), ("window", 1)):
            options.number(name, config[name], low)
        for name, allowed in (("order", ORDERS), ("duplicates", DUPLICATES)):
            if config[name] not in allowed:
                raise errors.unknown(name, config[name], allowed)
        for name in ("top", "seeds"):
            options.number(f"rescore.{name}", config.rescore[name])
        needed = getattr(self.proposer, "capacity", 0)
        if config.budget <= needed and config.proposer.name != "random":
            raise errors.UserError(
                f"budget={config.budget} ends the search before its population of "
                f"{needed} has a child; raise it, or lower proposer.population"
            )
        if config.compare_with:
            self.create_proposer({"name": config.compare_with})

    def prepare_evaluation(self, data: str | None) -> None:
        """Reads the result that `evaluate` was given."""
        if data:
            raise errors.UserError("the trials of a search are not measured on --data")
        self.result = result.read(self.config.init_from)

    def create_proposer(self, config: Mapping[str, Any], shift: int = 0) -> Proposer:
        """Returns a proposer that begins at the run's seed."""
        return proposers.create(config, self.space, self.config.seed + shift)

    def create_pool(self, children: Mapping[str, Any]) -> Pool:
        """Returns the workers, beginning to start."""
        config = plain(self.config.pool)
        if not config.get("address"):
            config.pop("address", None)
        for name, low in (("workers", 0), ("threads", 1), ("recycle_after", 0)):
            if name in config:
                options.number(f"pool.{name}", config[name], low)
        if options.number("pool.time_limit", config.get("time_limit", 600.0)) == 0.0:
            raise errors.UserError("pool.time_limit=0: every child would be late")
        return options.construct(
            "pool",
            POOLS,
            config,
            children=children,
            gpus=len(tf.config.list_physical_devices("GPU")),
            logs=self.workdir / "workers",
        )

    def phases(self) -> list[Phase]:
        """A search has no phases of optimizer steps."""
        return []

    def plan(self) -> list[str]:
        """Returns lines about what would be searched and how."""
        config, size = self.config, self.space.size
        about = f"{size:,}" if size < 10**7 else f"about 10^{math.log10(size):.0f}"
        lines = [
            f"space {self.space.name}: {len(self.space.decisions)} decisions, {about} "
            "architectures",
            f"proposer {config.proposer.name}: {config.budget} trials, order "
            f"{config.order}, duplicates {config.duplicates}",
        ]
        if config.compare_with:
            lines.append(f"compared with {config.compare_with}: as many trials")
        if config.rescore.top and config.rescore.seeds:
            lines.append(
                f"the best {config.rescore.top} again with {config.rescore.seeds} "
                "other seeds each"
            )
        return lines

    def run(self, strategy: tf.distribute.Strategy, name: str) -> Result:
        """Searches; see `Task`."""
        if distribution.is_multi_worker(strategy):
            raise errors.UserError(
                "a search spreads its children by pool.name=ray, not by --strategy="
                "multi_worker; train its winner with that strategy (--init_from)"
            )
        return SearchRun(self, name).run()

    # --- what came out ---------------------------------------------------------

    def load(self, source: str) -> None:
        """A search has no network to load."""
        del source

    def evaluate(self, learner: Any) -> dict[str, float | str]:
        """Returns the numbers of all trials."""
        from tfdl.models.automl.search import trials as trials_lib

        path, metrics = self.result.trials, {}
        for name in trials_lib.searches(path):
            if name == "rescored":
                continue
            history = report.told(trials_lib.read(path, name))
            prefix = "" if name == "search" else f"{name}_"
            if history:
                numbers = report.metrics(history)
                metrics.update({f"{prefix}{k}": v for k, v in numbers.items()})
        if self.result.winners:
            metrics["winner_reward"] = self.result.winners[0]["mean"]
        return metrics

    def score(self, metrics: Mapping[str, float]) -> float:
        """Returns what `restarts` maximises."""
        return metrics["winner_reward"]

    def remarks(self) -> list[str]:
        """Returns what the winner is."""
        return getattr(self, "lines", [])

    def summary(self, before: Mapping, after: Mapping, model: str) -> list[str]:
        """Returns what to do with the result."""
        return [
            f"tfdl predict --model_dir={model} --option=top=5",
            f"tfdl evaluate --model_dir={model}",
        ]


class SearchRun:
    """A search from wherever its file of trials stands, to its model directory.

    Args:
        task: prepared.
        name: what the progress bar calls it.
    """

    def __init__(self, task: SearchTask, name: str):
        self.task, self.config, self.name = task, task.config, name
        self.workdir = task.workdir
        self.path = self.workdir / result.TRIALS
        self._stop = threading.Event()

    def run(self) -> Result:
        """Searches, compares, scores the best again, and writes `WORKDIR/model`.

        Raises:
            UserError: nothing can be searched, see `Search`.
            Preempted: a SIGTERM came; the file has everything.
        """
        config, task = self.config, self.task
        listening = threading.current_thread() is threading.main_thread()
        previous = None
        if listening:
            previous = signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        children = plain(config.children)
        if children.get("name") in OF_A_SPACE:
            children = {"space": plain(config.space), **children}
        again = {**children, **plain(config.rescore.children)}
        histories: dict[str, list[Trial]] = {}
        try:
            with task.create_pool(children) as pool:
                histories["search"] = self._search("search", task.proposer, pool)
                if config.compare_with:
                    other = task.create_proposer({"name": config.compare_with}, 1)
                    histories[config.compare_with] = self._search(
                        config.compare_with, other, pool
                    )
                if again == children:
                    winners = self._rescore(histories["search"], pool, again)
            if again != children:
                with task.create_pool(again) as pool:
                    winners = self._rescore(histories["search"], pool, again)
        except Stopped as stopped:
            raise Preempted(f"{stopped}; run the same command to go on") from None
        finally:
            if listening:
                signal.signal(signal.SIGTERM, previous)
        return self._finish(histories, winners)

    def _search(self, label: str, proposer: Proposer, pool: Pool) -> list[Trial]:
        """Runs one of the searches, shown and written as it goes."""
        config = self.config
        frozen = {
            "space": plain(config.space),
            "proposer": plain(config.proposer) if label == "search" else label,
            "children": plain(config.children),
            "seed": config.seed,
            "order": config.order,
            "duplicates": config.duplicates,
        }
        if config.order == "proposed":
            frozen["window"] = config.window
        with Trials(self.path, label, frozen) as trials:
            return self._run_one(label, proposer, pool, trials, config.budget)

    def _rescore(
        self, history: list[Trial], pool: Pool, children: Mapping[str, Any]
    ) -> list[Winner]:
        """Trains the best ones with further seeds."""
        rescore = self.config.rescore
        winners = rescoring.best(history, max(1, rescore.top))
        if not rescore.top or not rescore.seeds:
            return winners
        texts = [winner.architecture for winner in winners] * rescore.seeds
        proposer = rescoring.Listed(
            self.task.space, [self.task.space.parse(text) for text in texts]
        )
        frozen = {"architectures": texts, "children": children}
        with Trials(self.path, "rescored", frozen) as trials:
            again = self._run_one("rescored", proposer, pool, trials, len(texts))
        return rescoring.ranked(winners, again)

    def _run_one(
        self, label: str, proposer: Proposer, pool: Pool, trials: Trials, budget: int
    ) -> list[Trial]:
        config = self.config
        done = sum(trial.told is not None for trial in trials.all())
        folder = self.workdir if label == "search" else self.workdir / label
        folder.mkdir(parents=True, exist_ok=True)
        writers = Writers(folder, True, done)
        name = self.name if label == "search" else f"{self.name}: {label}"
        progress = Progress(budget, done, name, unit="trial")
        shown = _Shown(trials.all(), budget, progress, writers, proposer, label)
        if done:
            progress.message(f"{name}: goes on after {done} of {budget} trials")
        try:
            return Search(
                self.task.space,
                proposer,
                pool,
                trials,
                budget,
                seed=config.seed if label == "search" else f"{config.seed} {label}",
                order=config.order if label != "rescored" else "completed",
                window=config.window,
                duplicates=config.duplicates if label != "rescored" else "train",
                lowest=rewards.LOWEST,
                on_trial=shown,
                stop=self._stop.is_set,
            ).run()
        finally:
            progress.close()
            writers.close()

    # --- the end -------------------------------------------------------------------

    def _finish(
        self, histories: dict[str, list[Trial]], winners: list[Winner]
    ) -> Result:
        metrics = report.metrics(histories["search"])
        metrics["winner_reward"] = winners[0].mean
        for label, history in list(histories.items())[1:]:
            numbers = report.metrics(history)
            for key in ("best_reward", "last_fifth_reward"):
                metrics[f"{label}_{key}"] = numbers[key]
        space = self.task.space
        arch = space.parse(winners[0].architecture)
        named = {
            self.config.proposer.name if label == "search" else label: history
            for label, history in histories.items()
        }
        assets = {"scores.png": pictures.scores(named)}
        genotype = space.genotype(arch)
        drawn = drawing.draw(genotype)
        if drawn is not None:
            assets["cell.png"] = drawn
        self.task.lines = self._remarks(winners, arch, assets)
        self._samples(assets, winners)
        config = {
            "space": plain(self.config.space),
            "architecture": winners[0].architecture,
            "genotype": genotype,
            "proposer": plain(self.config.proposer),
            "children": plain(self.config.children),
            "winners": [winner.to_dict() for winner in winners],
        }
        model = self.workdir / "model"
        result.save(model, config, self.path, assets)
        return Result({}, metrics, model, self.task)

    def _remarks(
        self, winners: Sequence[Winner], arch: Sequence[int], assets: Mapping[str, Any]
    ) -> list[str]:
        folder = self.workdir / "model" / "assets"
        best = winners[0]
        scored = ""
        if best.rescored:
            scored = f", {best.mean:.4f} with {len(best.rescored)} other seeds"
        return [
            f"winner: {best.architecture} ({best.reward:.4f} in the search{scored})",
            *(f"  {line}" for line in self.task.space.describe(tuple(arch))),
            f"pictures: {', '.join(str(folder / name) for name in sorted(assets))}",
        ]

    def _samples(self, assets: Mapping[str, bytes], winners: Sequence[Winner]) -> None:
        """Shows the pictures and the winners in TensorBoard and `samples/`."""
        writers = Writers(self.workdir, True, self.config.budget)
        samples: dict[str, Any] = {
            pathlib.Path(name).stem: tf.io.decode_png(data, channels=3).numpy()
            for name, data in assets.items()
        }
        samples["winners"] = "".join(
            f"{winner.mean:.4f}  {winner.architecture}\n" for winner in winners
        )
        writers.samples(self.config.budget, samples)
        writers.close()


class _Shown:
    """Shows and writes every trial as its proposer is told of it."""

    def __init__(
        self,
        trials: Sequence[Trial],
        budget: int,
        progress: Progress,
        writers: Writers,
        proposer: Proposer,
        label: str,
    ):
        told = [trial.told_reward for trial in trials if trial.told is not None]
        self._best = max(told, default=-math.inf)
        self._every = max(1, budget // LINES)
        self._budget, self._progress, self._writers = budget, progress, writers
        self._proposer, self._label = proposer, label

    def __call__(self, trial: Trial) -> None:
        count = trial.told + 1
        better = trial.told_reward > self._best
        self._best = max(self._best, trial.told_reward)
        values: dict[str, Any] = {
            "reward": trial.reward,
            "best": self._best,
            **self._proposer.scalars(),
            "architecture": trial.architecture,
        }
        self._writers.scalars(count, self._label, values)
        show = better or count % self._every == 0 or count == self._budget
        shown = {"best": self._best, "reward": trial.reward} if show else None
        self._progress.update(count, shown)


def plain(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Returns a group of fields as JSON's types, which cross processes."""
    return json.loads(config_lib.to_json(ConfigDict(config)))
