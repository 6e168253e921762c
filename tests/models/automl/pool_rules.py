"""What every pool of workers has to do, on one machine or on many."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tfdl.engine import errors
from tfdl.models.automl.search.pool import Event, Failure, Pool

Make = Callable[..., Pool]
CHILDREN = {"name": "sleep", "hang": 9, "die": 8, "fail": 7}


def collect(pool: Pool, count: int, timeout: float = 60.0) -> dict[int, Event]:
    """Waits for `count` trials to end."""
    events: dict[int, Event] = {}
    deadline = time.monotonic() + timeout
    while len(events) < count:
        assert time.monotonic() < deadline, events
        event = pool.wait(1.0)
        if event is not None:
            assert event.trial not in events
            events[event.trial] = event
    return events


def failure(event: Event) -> tuple[str, str]:
    """Returns the kind and the message of a trial that failed."""
    assert isinstance(event.result, Failure), event
    return event.result.kind, event.result.message


def processes_serve_many_children_and_outlive_their_errors(make: Make) -> None:
    """One error is one trial's; the process goes on."""
    with make(CHILDREN, workers=2) as pool:
        assert (pool.workers, pool.free()) == (2, 2)
        results: dict[int, Any] = {}
        for start in range(0, 10, 2):
            pool.submit(start, (7, 0), 0)
            pool.submit(start + 1, (1, 2), 0)
            assert pool.free() == 0
            results.update(collect(pool, 2))
        failed = {failure(results[i]) for i in range(0, 10, 2)}
        done = [results[i].result for i in range(1, 10, 2)]
    assert failed == {("error", "ValueError: architecture (7, 0) cannot be built")}
    assert {result["reward"] for result in done} == {1.5}
    assert len({result["pid"] for result in done}) <= 2


def dead_and_hanging_workers_are_replaced(make: Make) -> None:
    """Their trials fail; other trials and later ones do not."""
    with make({**CHILDREN, "seconds": 0.2}, workers=3, time_limit=2.0) as pool:
        collect_ready(pool)
        pool.submit(0, (8,), 0)
        pool.submit(1, (9,), 0)
        pool.submit(2, (1,), 0)
        events = collect(pool, 3)
        assert failure(events[0])[0] == "died"
        assert failure(events[1]) == ("hung", "no report for 2 seconds")
        assert events[2].result["reward"] == 1
        for trial in (3, 4, 5):
            pool.submit(trial, (trial,), 0)
        assert [e.result["reward"] for _, e in sorted(collect(pool, 3).items())] == [
            *(3, 4, 5)
        ]


def a_cancelled_trial_is_not_heard_of(make: Make) -> None:
    """Its worker is free for another one."""
    with make(CHILDREN, workers=1) as pool:
        pool.submit(0, (9,), 0)
        pool.cancel(0)
        pool.submit(1, (2,), 0)
        assert collect(pool, 1)[1].result["reward"] == 2


def workers_are_renewed(make: Make) -> None:
    """After so many children."""
    with make(CHILDREN, workers=1, recycle_after=2) as pool:
        pids = []
        for trial in range(5):
            pool.submit(trial, (1,), 0)
            pids.append(collect(pool, 1)[trial].result["pid"])
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


def children_that_cannot_be_made_are_told_in_one_line(make: Make) -> None:
    """A search must not wait for workers that never come."""
    for config, message in (
        ({"name": "slep"}, "did you mean 'sleep'"),
        ({"name": "sleep", "secnods": 1}, "secnods"),
        ({"name": "sleep", "seconds": {"a": 1}}, "seconds has to be a number"),
    ):
        with make(config, workers=1) as pool:
            pool.submit(0, (1,), 0)
            with pytest.raises(errors.UserError, match=message):
                collect(pool, 1)


def collect_ready(pool: Pool) -> None:
    """Waits until the workers can begin at once."""
    for trial in range(pool.workers):
        pool.submit(1000 + trial, (0,), 0)
    collect(pool, pool.workers)


RULES = (
    processes_serve_many_children_and_outlive_their_errors,
    dead_and_hanging_workers_are_replaced,
    a_cancelled_trial_is_not_heard_of,
    workers_are_renewed,
    children_that_cannot_be_made_are_told_in_one_line,
)
