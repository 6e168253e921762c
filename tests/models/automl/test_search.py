import collections
import json
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers import ROOT
from tests.models.automl.searching import outcome, search
from tfdl.engine import errors
from tfdl.models.automl.search import loop
from tfdl.models.automl.search import trials as trials_lib

IN_ORDER = {"order": "proposed", "window": 5}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trials.sqlite"


def test_told_in_order_the_history_is_the_same_for_any_number_of_workers(tmp_path):
    histories = [
        outcome(search(tmp_path / f"{workers}.sqlite", workers=workers, **IN_ORDER))
        for workers in (1, 3, 2)
    ]
    assert histories[0] == histories[1] == histories[2]
    assert [number for number, *_ in histories[0]] == list(range(60))
    other = search(tmp_path / "other.sqlite", seed=1, **IN_ORDER)
    assert outcome(other) != histories[0]
    # Evolution has learned something from what it was told.
    rewards = [reward for *_, reward in histories[0]]
    assert sum(rewards[-20:]) > sum(rewards[:10]) / 10 * 20 + 1


def test_killed_again_and_again_it_ends_like_one_that_was_not(tmp_path):
    expected = outcome(search(tmp_path / "whole.sqlite", **IN_ORDER))
    path, rng = tmp_path / "killed.sqlite", random.Random(5)
    for reached in (1, 13, 25):
        process = _started(path)
        deadline = time.monotonic() + 60
        while _told(path) < reached:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.01))  # anywhere within a trial
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert reached <= _told(path) < 60
    process = _started(path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    rows = trials_lib.read(path)
    assert len(rows) == 60
    assert outcome(sorted(rows, key=lambda row: row.told)) == expected


def _started(path) -> subprocess.Popen:
    """Starts the search of `searching`, or goes on with it, in a process.

    Its children take longer, to be killed in time; that does not change their rewards.
    """
    options = {**IN_ORDER, "children": {"seconds": [0.0, 0.05]}}
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.models.automl.searching"),
            *(str(path), json.dumps(options)),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def _told(path) -> int:
    """Returns how many trials a search has told of, 0 before it has a file."""
    try:
        return sum(trial.told is not None for trial in trials_lib.read(path))
    except errors.UserError:
        return 0


def test_nobody_waits_for_a_slow_child(path):
    children = {"seconds": [0.02, 0.3]}
    search(path, budget=36, workers=3, children=children, order="completed")
    by_worker = collections.defaultdict(list)
    for row in trials_lib.read(path):
        by_worker[row.worker].append((row.started, row.ended))
    assert len(by_worker) == 3
    idle = busy = 0.0
    for spans in by_worker.values():
        spans.sort()
        busy += sum(end - start for start, end in spans)
        idle += sum(b[0] - a[1] for a, b in zip(spans, spans[1:], strict=False))
    assert idle < 0.1 * busy


def test_a_trial_that_loses_its_worker_is_tried_once_more(path):
    children = {"die": 1, "seconds": 0.0}
    told = []
    history = search(
        path, budget=7, children=children, on_trial=told.append, lowest=-1.0
    )
    assert len(history) == 7 and told == history
    failed = [t for t in history if t.architecture.startswith("1")]
    assert failed and all(
        (t.status, t.attempts, t.reward) == ("failed", 2, -1.0) for t in failed
    )
    assert failed[0].error == "died: its worker was ended by signal 9"
    done = [t for t in history if t not in failed]
    assert done and all((t.status, t.attempts) == ("done", 1) for t in done)
    assert trials_lib.read(path) == sorted(history, key=lambda t: t.number)


def test_a_child_that_hangs_costs_its_own_trial_only(path):
    children = {"hang": 1, "seconds": 0.0}
    history = search(path, budget=4, children=children, time_limit=0.7, seed=3)
    errors_ = {t.error for t in history if t.architecture.startswith("1")}
    assert errors_ == {"hung: no report for 0.7 seconds"}
    assert {t.status for t in history} == {"failed", "done"}


def test_children_that_diverge_are_scored(path):
    history = search(path, budget=10, children={"diverge": 1, "seconds": 0.0})
    failed = [t for t in history if t.status == "failed"]
    assert 0 < len(failed) < 10 and {t.reward for t in failed} == {0.0}
    assert {t.error for t in failed} == {"error: the child diverged: its reward is nan"}
    assert {t.attempts for t in history} == {1}


def test_a_search_all_of_whose_children_fail_is_given_up(path):
    children = {"fail": 0, "seconds": 0.0}
    space = {"name": "dag", "nodes": 3, "ops": ["zero"]}
    with pytest.raises(errors.UserError, match="all 10 children failed; error: Value"):
        search(path, budget=500, children=children, space=space)
    assert sum(t.status == "failed" for t in trials_lib.read(path)) == 10
    with pytest.raises(errors.UserError, match="all 1 children failed"):
        search(path.parent / "b", budget=1, children=children, space=space)


@pytest.mark.parametrize("order", loop.ORDERS)
def test_duplicates_are_trained_averaged_or_looked_up(path, order):
    space = {"name": "bits", "bits": 2}
    histories = {
        policy: search(
            path.with_name(policy),
            space=space,
            duplicates=policy,
            order=order,
            budget=30,
            children={"seconds": 0.001},
        )
        for policy in loop.DUPLICATES
    }
    for policy, history in histories.items():
        assert [t.told for t in history] == list(range(30))
        seen = collections.defaultdict(list)
        for t in history:
            seen[t.canonical].append(t.reward)
            if policy == "average":
                mean = sum(seen[t.canonical]) / len(seen[t.canonical])
                assert t.told_reward == pytest.approx(mean)
            else:
                assert t.told_reward == t.reward
        trained = [t for t in history if t.attempts]
        if policy == "cache":
            assert len(trained) == len(seen) <= 4
            assert all(len(set(rewards)) == 1 for rewards in seen.values())
        else:
            assert len(trained) == 30
            assert all(
                len(set(rewards)) > 1 for rewards in seen.values() if rewards[1:]
            )


def test_it_stops_when_told_and_goes_on(path):
    stop = {"stop": lambda: len(seen) >= 20}
    seen = []
    with pytest.raises(loop.Stopped, match="stopped after 2. of 60 trials"):
        search(path, on_trial=seen.append, **stop, **IN_ORDER)
    started = time.time()
    history = search(path, on_trial=seen.append, **IN_ORDER)
    assert sum(t.ended > started for t in history) <= 40
    assert outcome(history) == outcome(search(path.with_name("b"), **IN_ORDER))
    assert [t.number for t in seen] == list(range(60))
    # A search that has ended can be asked for more.
    more = search(path, budget=70, **IN_ORDER)
    assert outcome(more)[:60] == outcome(history) and len(more) == 70


def test_unknown_policies_are_refused(path):
    with pytest.raises(errors.UserError, match="unknown order 'complete'"):
        search(path, order="complete")
    with pytest.raises(errors.UserError, match="unknown duplicates"):
        search(path, duplicates="skip")
