import io
import json

import numpy as np
import pytest
from PIL import Image

from tfdl.engine.errors import UserError
from tfdl.models.automl import proposers
from tfdl.models.automl.spaces.dag import DagSpace
from tfdl.models.automl.tables import compare, comparison, figure, table
from tfdl.models.automl.tables.comparison import Searches

TRIALS = 300


@pytest.fixture
def small():
    """Returns 16 architectures, each trained twice, the second time differently."""
    space = DagSpace(3, ("zero", "identity"))
    rng = np.random.default_rng(0)
    valid = rng.uniform(0.2, 0.9, (space.size, 2))
    return table.Table("small", space, valid, rng.uniform(0.2, 0.9, valid.shape))


def test_rows_are_in_the_order_of_the_decisions(small):
    archs = list(small.space.all())
    assert [small.arch(row) for row in range(len(archs))] == archs
    assert [small.row(arch) for arch in archs] == list(range(len(archs)))


def test_regret_is_of_what_a_search_believes_to_be_best(small):
    own = comparison.search(small, {"name": "random"}, [5, 6], 30)
    proposer = proposers.create({"name": "random"}, small.space, 6)
    columns = np.random.default_rng(6).integers(2, size=30)
    best, reward = None, -1.0
    for t in range(30):
        row = small.row(proposer.ask().arch)
        if small.valid[row, columns[t]] > reward:
            best, reward = row, small.valid[row, columns[t]]
        expected = small.valid.mean(1).max() - small.valid[best].mean()
        np.testing.assert_allclose(own.regret[1, t], expected, atol=1e-12)
        np.testing.assert_allclose(own.test[1, t], small.test[best].mean())
        np.testing.assert_allclose(own.rewards[1, t], small.valid[row].mean())
    # Noise can make a search leave the better for the worse.
    assert np.any(np.diff(own.regret, axis=1) > 0)


def test_summary_counts_and_averages():
    regret = np.array([[0.3, 0.1, 0.0], [0.3, 0.3, 0.1]])
    rewards = np.array([[0.1, 0.2, 0.9], [0.2, 0.3, 0.5]])
    own = comparison.summary(Searches(rewards, regret, 1 - regret), (2, 3, 50))
    assert list(own["regret"]) == [2, 3]
    assert own["regret"][2]["mean"] == pytest.approx(0.2)
    assert own["regret"][3] == {
        "mean": 0.05,
        "median": 0.05,
        "low": 0.025,
        "high": 0.075,
    }
    assert own["found"] == {2: 0.0, 3: 0.5}
    assert own["last_rewards"]["mean"] == pytest.approx(0.7)
    assert own["test"] == pytest.approx(0.95)


def test_proposers_learn_on_the_table():
    found = table.find("digits-729")
    own = {
        name: comparison.search(found, proposers.SMALL_BUDGET[name], range(20), TRIALS)
        for name in ("random", "evolution", "reinforce", "ppo")
    }
    last = {name: one.rewards[:, -60:].mean() for name, one in own.items()}
    assert 0.70 < last["random"] < 0.82
    assert last["reinforce"] >= 0.90 and last["ppo"] >= 0.90
    regret = {name: one.regret[:, -1].mean() for name, one in own.items()}
    assert regret["evolution"] < regret["random"] / 3


def test_processes_change_nothing():
    chosen = {"random": {"name": "random"}, "old": proposers.SMALL_BUDGET["evolution"]}
    names = ["digits-729", "digits-4096"]
    alone = comparison.compare(names, chosen, 2, 30)
    shared = comparison.compare(names, chosen, 2, 30, workers=2)
    assert list(alone) == names and list(alone["digits-729"]) == list(chosen)
    for name in names:
        for label in chosen:
            for field in ("rewards", "regret", "test"):
                first, second = (
                    getattr(one[name][label], field) for one in (alone, shared)
                )
                assert np.array_equal(first, second)


def test_figure_shows_every_table(small):
    own = comparison.search(small, {"name": "random"}, range(3), 30)
    data = figure.draw({"one": {"random": own}, "two": {"random": own}}, 3)
    image = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    half = image.shape[1] // 2
    assert all(
        (part < 128).mean() > 0.005 for part in (image[:, :half], image[:, half:])
    )


def test_command_compares_and_draws(tmp_path, capsys):
    arguments = ["--tables=digits-729", "--seeds=2", "--trials=60", "--workers=1"]
    assert compare.main([*arguments, f"--output={tmp_path}"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {r["proposer"] for r in records[:-1]} == set(compare.LABELS)
    assert all(set(r["regret"]) == {"50", "60"} for r in records[:-1])
    assert Image.open(records[-1]["figure"]).format == "PNG"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tables=digits"], "unknown table 'digits'"),
        (["--tables="], "no table to compare on"),
        (["--proposers={"], "is not JSON"),
        (["--proposers=[1]"], "has to be a JSON object"),
        (['--proposers={"a": {"name": "luck"}}'], "unknown proposer 'luck'"),
        (["--trials=0"], "at least 1 of each"),
        (["--seeds=0"], "at least 1 of each"),
    ],
)
def test_command_says_what_is_wrong(tmp_path, capsys, flags, words):
    base = ["--tables=digits-729", "--seeds=1", "--trials=9", "--workers=1"]
    assert compare.main([*base, f"--output={tmp_path}", *flags]) == 1
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_is_searched_with_no_trials(small):
    with pytest.raises(UserError, match="0 trials"):
        comparison.search(small, {"name": "random"}, [0], 0)
