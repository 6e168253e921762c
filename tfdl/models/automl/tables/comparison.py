"""Proposers against one another on a table, where a trial costs nothing."""

import concurrent.futures
import dataclasses
import multiprocessing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdl.engine import errors
from tfdl.models.automl import proposers
from tfdl.models.automl.tables import table as tables
from tfdl.models.automl.tables.table import Table

# Of the searches, the share at whose end proposals are averaged.
LAST = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class Searches:
    """What a proposer did on a table, once for every seed.

    Attributes:
        rewards: validation accuracy of each proposal, the mean over the table's
            seeds, [searches, trials].
        regret: by how much the best architecture so far falls short of the table's
            best, both in mean validation accuracy, [searches, trials]. The best so
            far is the one whose reward, that of one training, was the highest.
        test: test accuracy of the best so far, the mean over the table's seeds.
    """

    rewards: np.ndarray
    regret: np.ndarray
    test: np.ndarray


def search(
    table: Table, proposer: Mapping[str, Any], seeds: Sequence[int], trials: int
) -> Searches:
    """Runs a proposer on a table, one proposal at a time.

    Args:
        table: the table.
        proposer: its configuration, see `proposers.create`.
        seeds: of the searches. A search's seed also decides which training of an
            architecture a proposal is told, a new one each time.
        trials: proposals of a search.

    Raises:
        UserError: no searches or no trials, or the proposer cannot be made.
    """
    if trials < 1 or not seeds:
        raise errors.UserError(
            f"{len(seeds)} searches of {trials} trials: at least 1 of each is needed"
        )
    rows = np.empty((len(seeds), trials), np.int64)
    told = np.empty((len(seeds), trials))
    for i, seed in enumerate(seeds):
        own = proposers.create(proposer, table.space, seed)
        columns = np.random.default_rng(seed).integers(table.seeds, size=trials)
        for t in range(trials):
            proposal = own.ask()
            row = table.row(proposal.arch)
            told[i, t] = table.valid[row, columns[t]]
            own.tell(proposal, told[i, t])
            rows[i, t] = row
    best = _first_best(told)
    chosen = np.take_along_axis(rows, best, 1)
    return Searches(
        table.mean_valid[rows],
        table.mean_valid.max() - table.mean_valid[chosen],
        table.mean_test[chosen],
    )


def _first_best(told: np.ndarray) -> np.ndarray:
    """Returns for every trial the first of the best trials until then."""
    best = np.zeros(told.shape, np.int64)
    for i, rewards in enumerate(told):
        at = 0
        for t, reward in enumerate(rewards):
            if reward > rewards[at]:
                at = t
            best[i, t] = at
    return best


def summary(searches: Searches, at: Sequence[int]) -> dict[str, Any]:
    """Returns regret after some numbers of trials, and the last proposals' reward.

    Each is the mean over searches, with their median and quartiles; `found` is the
    share of searches whose best is the table's best.
    """
    trials = searches.regret.shape[1]
    last = searches.rewards[:, -max(1, round(trials * LAST)) :].mean(1)
    points = sorted({min(t, trials) for t in at})
    return {
        "regret": {t: _spread(searches.regret[:, t - 1]) for t in points},
        "found": {t: float(np.mean(searches.regret[:, t - 1] <= 1e-9)) for t in points},
        "last_rewards": _spread(last),
        "test": round(float(searches.test[:, -1].mean()), 6),
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    spread = {"mean": values.mean(), "median": median, "low": low, "high": high}
    return {name: round(float(value), 6) for name, value in spread.items()}


def compare(
    names: Sequence[str],
    chosen: Mapping[str, Mapping[str, Any]],
    seeds: int,
    trials: int,
    workers: int = 1,
) -> dict[str, dict[str, Searches]]:
    """Runs all proposers on all tables.

    Args:
        names: of the tables.
        chosen: the proposers' configurations by a name of one's choice.
        seeds: searches of each proposer on each table.
        trials: of a search.
        workers: processes.

    Returns:
        Table -> proposer -> what it did.
    """
    jobs = [(name, label) for name in names for label in chosen]
    arguments = [
        (name, dict(chosen[label]), range(seeds), trials) for name, label in jobs
    ]
    if workers == 1:
        found = [_search(*own) for own in arguments]
    else:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
            found = list(pool.map(_search, *zip(*arguments, strict=True)))
    results: dict[str, dict[str, Searches]] = {name: {} for name in names}
    for (name, label), searches in zip(jobs, found, strict=True):
        results[name][label] = searches
    return results


def _search(name: str, proposer: Mapping[str, Any], seeds: Sequence[int], trials: int):
    return search(tables.find(name), proposer, seeds, trials)
