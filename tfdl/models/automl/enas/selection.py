"""Which architecture a trained controller ends with.

Many are drawn, each scored on one validation batch as during the search, and the best
of them on all validation data: one batch tells little.
"""

import json
import time
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfdl.models.automl.search import drawing, rescoring, result
from tfdl.models.automl.search.rescoring import Winner
from tfdl.models.automl.search.trials import Trial, Trials

if TYPE_CHECKING:
    from tfdl.models.automl.enas.task import EnasTask

_DRAW = 3


class Selection:
    """Draws, scores, scores the best again.

    Args:
        task: whose controller draws; measures by `look` and `full`.
        samples: how many are drawn.
        rescore: how many of them are measured on all validation data.
    """

    def __init__(self, task: "EnasTask", samples: int, rescore: int):
        self._task, space = task, task.space
        drawn = task.controller.sample(samples, task.seed(0, _DRAW))
        distinct: dict[Any, tuple[int, ...]] = {}
        for arc in drawn.arcs.numpy().tolist():
            distinct.setdefault(space.canonical(tuple(arc)), tuple(arc))
        arcs = list(distinct.values())
        rewards = task.look(tf.constant(arcs, tf.int32), _DRAW)
        self.drawn = [
            _trial(space, number, arc, reward)
            for number, (arc, reward) in enumerate(zip(arcs, rewards, strict=True))
        ]
        best = rescoring.best(self.drawn, rescore)
        again = []
        for number, winner in enumerate(best):
            arc = space.parse(winner.architecture)
            reward = task.full(tf.constant(arc, tf.int32))
            again.append(_trial(space, number, arc, reward))
        self.rescored = again
        self.winners: list[Winner] = rescoring.ranked(best, again)
        self.arc = space.parse(self.winners[0].architecture)

    def metrics(self) -> dict[str, float]:
        """Returns the winner's score and those of what was drawn."""
        rewards = [trial.reward for trial in self.drawn]
        return {
            "winner_reward": self.winners[0].mean,
            "drawn_reward": sum(rewards) / len(rewards),
            "distinct": float(len(rewards)),
        }

    def config(self) -> dict[str, Any]:
        """Returns the fields of a search's result."""
        return {
            "architecture": self.winners[0].architecture,
            "genotype": self._task.space.genotype(self.arc),
            "winners": [winner.to_dict() for winner in self.winners],
        }

    def assets(self) -> dict[str, Any]:
        """Returns the files of a search's result."""
        path = self._task.workdir / result.TRIALS
        path.unlink(missing_ok=True)
        for label, rows in (("search", self.drawn), ("rescored", self.rescored)):
            with Trials(path, label, {"task": self._task.config.task}) as trials:
                for trial in rows:
                    with trials.transaction():
                        trials.write(trial)
        winners = json.dumps(self.config()["winners"], indent=2) + "\n"
        drawn = drawing.draw(self.config()["genotype"])
        return {result.TRIALS: path, result.WINNERS: winners, "cell.png": drawn}

    def samples(self) -> dict[str, Any]:
        """Returns the winners as text, and what the first one is as a picture."""
        lines = [f"{winner.mean:.4f}  {winner.architecture}" for winner in self.winners]
        drawn = drawing.draw(self.config()["genotype"])
        cell = tf.io.decode_png(drawn, channels=3).numpy()
        return {"winners": "\n".join(lines) + "\n", "cell": cell}

    def lines(self) -> list[str]:
        """Returns what the winner is, for a person."""
        best = self.winners[0]
        return [
            f"winner: {best.architecture} ({best.reward:.4f} on a batch, "
            f"{best.mean:.4f} on all validation data, with shared weights)",
            *(f"  {line}" for line in self._task.space.describe(self.arc)),
        ]


def _trial(space, number: int, arc, reward: float) -> Trial:
    """Returns a scored architecture as a row of the file of trials."""
    now = time.time()
    return Trial(
        number=number,
        architecture=space.format(arc),
        canonical=space.format(space.canonical(arc)),
        parent=None,
        seed=0,
        status="done",
        attempts=1,
        reward=reward,
        told=number,
        told_reward=reward,
        started=now,
        ended=now,
    )
