"""The search: ask for an architecture, train it, tell what it was worth."""

import collections
import hashlib
import math
import time
from collections.abc import Callable

from tfdl.engine import errors
from tfdl.models.automl.proposers.proposer import Proposal, Proposer
from tfdl.models.automl.search.pool import Event, Failure, Pool
from tfdl.models.automl.search.trials import Trial, Trials
from tfdl.models.automl.spaces.space import Space

ORDERS = ("completed", "proposed")
DUPLICATES = ("train", "average", "cache")
# A trial whose worker died or hung is given to another one once.
ATTEMPTS = 2
# So many failures with nothing else before them, and the search is given up.
GIVE_UP = 10


class Stopped(Exception):
    """The search was told to stop; its file has all that is needed to go on."""


class Search:
    """One proposer's search, from wherever its file of trials stands.

    Args:
        space: what is searched.
        proposer: decides what is tried; new, its state comes from the file.
        pool: trains the children.
        trials: the file.
        budget: trials until the end, those of an interrupted run included.
        seed: of the children's seeds.
        order: `"completed"`: the proposer learns of trials as they end, and no worker
            waits. `"proposed"`: in the order of the proposals, with `window`
            of them out at once, so that the history is the same for any number of
            workers, for as long as the children are a function of their seeds.
        window: see `order`.
        duplicates: of architectures that make the same network: `"train"` each
            again, as evolution's noise needs it; `"average"`: train again, and tell
            the mean of all; `"cache"`: train the first only.
        lowest: the reward of a child that fails.
        on_trial: called with every trial that the proposer was told.
        stop: tells whether to stop now.
    """

    def __init__(
        self,
        space: Space,
        proposer: Proposer,
        pool: Pool,
        trials: Trials,
        budget: int,
        *,
        seed: int | str = 0,
        order: str = "completed",
        window: int = 8,
        duplicates: str = "train",
        lowest: float = 0.0,
        on_trial: Callable[[Trial], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ):
        for name, value, allowed in (
            ("order", order, ORDERS),
            ("duplicates", duplicates, DUPLICATES),
        ):
            if value not in allowed:
                raise errors.unknown(name, value, allowed)
        self._space, self._proposer, self._pool = space, proposer, pool
        self._trials, self._budget, self._seed = trials, budget, seed
        self._in_order, self._window = order == "proposed", window
        self._duplicates, self._lowest = duplicates, lowest
        self._on_trial, self._stop = on_trial, stop
        self._rows: list[Trial] = []
        self._history: list[Trial] = []  # those told, in that order
        self._failed = self._done = 0
        # Numbers of trials: to be given to a worker; with one; ended and not yet
        # told, in the order of their ends.
        self._queue: collections.deque[int] = collections.deque()
        self._running: set[int] = set()
        self._ended: collections.deque[int] = collections.deque()
        self._failures: collections.Counter[int] = collections.Counter()
        # By canonical architecture: the trial that is trained, those that wait for
        # its reward, and all rewards of which the proposer was told.
        self._first: dict[str, int] = {}
        self._waiting: dict[int, list[int]] = collections.defaultdict(list)
        self._rewards: dict[str, list[float]] = collections.defaultdict(list)

    def run(self) -> list[Trial]:
        """Searches to the end; returns the trials in the order they were told.

        Raises:
            Stopped: `stop` said so.
            UserError: workers cannot work, or every child fails.
        """
        self._resume()
        self._advance(None)
        while len(self._history) < self._budget:
            if self._stop():
                raise Stopped(
                    f"stopped after {len(self._history)} of {self._budget} trials"
                )
            self._submit()
            event = self._pool.wait(0.5)
            if event is not None:
                self._advance(event)
        if not self._done:
            raise self._all_failed()
        return self._history

    # --- beginning -----------------------------------------------------------------

    def _resume(self) -> None:
        """Takes up what the file has."""
        state = self._trials.state()
        if state is not None:
            self._proposer.restore(state)
        self._rows = self._trials.all()
        told = [row for row in self._rows if row.told is not None]
        self._history = sorted(told, key=lambda row: row.told)
        for row in self._history:
            self._rewards[row.canonical].append(row.reward)
        ended = [r for r in self._rows if r.told is None and r.ended is not None]
        ended.sort(key=lambda row: (row.ended, row.number))
        self._ended.extend(row.number for row in ended)
        for row in self._rows:
            self._count(row)
            if row.ended is None:
                self._enqueue(row)
            elif row.status == "done" and "duplicate_of" not in row.metrics:
                self._first.setdefault(row.canonical, row.number)

    # --- the loop ------------------------------------------------------------------

    def _advance(self, event: Event | None) -> None:
        """Takes what ended, tells and asks as far as the order allows: all or none."""
        shown = len(self._history)
        with self._trials.transaction():
            if event is not None:
                self._end(event)
            while self._tell() or self._ask():
                pass
            self._trials.save_state(self._proposer.state())
        if self._on_trial:
            for row in self._history[shown:]:
                self._on_trial(row)
        if self._failed >= GIVE_UP and not self._done:
            raise self._all_failed()

    def _submit(self) -> None:
        """Gives what waits to the free workers."""
        count = min(len(self._queue), self._pool.free())
        if not count:
            return
        numbers = [self._queue.popleft() for _ in range(count)]
        with self._trials.transaction():
            for number in numbers:
                row = self._rows[number]
                row.status, row.started = "running", time.time()
                row.attempts += 1
                self._trials.write(row)
        for number in numbers:
            row = self._rows[number]
            self._running.add(number)
            self._pool.submit(number, self._space.parse(row.architecture), row.seed)

    def _end(self, event: Event) -> None:
        """Notes how a trial ended, or sends it to another worker."""
        if event.trial not in self._running:
            return
        self._running.remove(event.trial)
        row, result = self._rows[event.trial], event.result
        row.worker = event.worker
        if not isinstance(result, Failure):
            result = _checked(result)
        if isinstance(result, Failure):
            self._failures[row.number] += 1
            if result.kind != "error" and self._failures[row.number] < ATTEMPTS:
                row.error = f"{result.kind}: {result.message}; tried again"
                self._trials.write(row)
                self._queue.appendleft(row.number)
                return
            row.status, row.reward = "failed", self._lowest
            row.error = f"{result.kind}: {result.message}"
        else:
            row.status, row.reward, row.error = "done", result.pop("reward"), None
            row.metrics = result
        self._close(row)
        for number in self._waiting.pop(row.number, ()):
            self._enqueue(self._rows[number])

    def _tell(self) -> bool:
        """Tells the proposer of one trial; returns False when there is none."""
        if not self._ended:
            return False
        number = self._ended[0]
        if self._in_order:
            # Only with all of the window out: what the proposer knows when it
            # proposes must not depend on who was fast.
            number = len(self._history)
            full = len(self._rows) - number == self._window
            if number not in self._ended or not (full or self._all_asked()):
                return False
        self._ended.remove(number)
        row = self._rows[number]
        rewards = self._rewards[row.canonical]
        rewards.append(row.reward)
        row.told_reward = row.reward
        if self._duplicates == "average":
            row.told_reward = math.fsum(rewards) / len(rewards)
        arch = self._space.parse(row.architecture)
        self._proposer.tell(Proposal(number, arch, row.parent), row.told_reward)
        row.told = len(self._history)
        self._history.append(row)
        self._trials.write(row)
        return True

    def _ask(self) -> bool:
        """Asks for one proposal; returns False when enough are out."""
        out = len(self._queue) + len(self._running)
        enough = out >= self._pool.workers
        if self._in_order:
            enough = len(self._rows) - len(self._history) >= self._window
        if enough or self._all_asked():
            return False
        proposal = self._proposer.ask()
        row = Trial(
            number=len(self._rows),
            architecture=self._space.format(proposal.arch),
            canonical=self._space.format(self._space.canonical(proposal.arch)),
            parent=proposal.parent,
            seed=child_seed(self._seed, len(self._rows)),
        )
        if proposal.number != row.number:
            raise ValueError(f"proposal {proposal.number} is not {row.number}")
        self._rows.append(row)
        self._trials.write(row)
        self._enqueue(row)
        return True

    def _enqueue(self, row: Trial) -> None:
        """Lets a trial wait for a worker, or for the trial it is a duplicate of."""
        first = self._first.get(row.canonical)
        failed = first is None or self._rows[first].status == "failed"
        if self._duplicates != "cache" or failed:
            self._first[row.canonical] = row.number
            self._queue.append(row.number)
        elif self._rows[first].ended is None:
            self._waiting[first].append(row.number)
        else:
            row.status, row.reward = "done", self._rows[first].reward
            row.metrics = {"duplicate_of": first}
            row.started = time.time()
            self._close(row)

    def _close(self, row: Trial) -> None:
        row.ended = time.time()
        self._count(row)
        self._trials.write(row)
        self._ended.append(row.number)

    def _count(self, row: Trial) -> None:
        self._done += row.status == "done"
        self._failed += row.status == "failed"

    def _all_asked(self) -> bool:
        return len(self._rows) >= self._budget

    def _all_failed(self) -> errors.UserError:
        last = max(self._rows, key=lambda row: row.ended or 0.0)
        return errors.UserError(f"all {self._failed} children failed; {last.error}")


def child_seed(seed: int | str, number: int) -> int:
    """Returns the seed of a trial's child, from the search's seed and its number."""
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def value(trial: Trial) -> float:
    """Returns what a trial is ranked by: what its proposer was told."""
    return trial.reward if trial.told_reward is None else trial.told_reward


def _checked(result: dict) -> dict | Failure:
    """Returns a child's result, or why its reward is none."""
    result = dict(result)
    reward = result.get("reward")
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        return Failure("error", f"the child's reward is {reward!r}, not a number")
    if not math.isfinite(reward):
        return Failure("error", f"the child diverged: its reward is {reward}")
    result["reward"] = float(reward)
    return result
