import json
import pathlib

import numpy as np
import pytest

from tfdl.engine import errors
from tfdl.models.automl import proposers, rewards, spaces

TABLE = pathlib.Path(__file__).parents[2] / "goldens/automl/digits729_seed0.npz"
NAMES = sorted(proposers.PROPOSERS)
# Small, so that a few dozen proposals make updates and change populations.
SMALL = {
    "evolution": {"population": 6, "sample": 3},
    "ppo": {"batch": 5, "units": 6, "scale_rewards": True},
    "reinforce": {"batch": 4, "units": 6},
    "tournament": {"population": 6, "sample": 3},
}
GROWING = {
    "name": "zoph_conv",
    "layers": 2,
    "grow_by": 1,
    "grow_every": 13,
    "max_layers": 4,
}


def create(name, space, seed=0):
    config = {"name": name, **SMALL.get(name, {})}
    return proposers.create(config, spaces.create(space), seed)


def reward_of(proposal):
    return (hash(proposal.arch) % 1000) / 1000


def work(proposer, out, steps):
    """Asks and tells with three proposals out, the newest told first."""
    asked = []
    for _ in range(steps):
        while len(out) < 3:
            out.append(proposer.ask())
            asked.append(out[-1])
        proposal = out.pop()
        proposer.tell(proposal, reward_of(proposal))
        out.reverse()
    return asked


def as_json(state):
    """Returns a state as JSON gives it back, arrays as lists."""

    def plain(value):
        return value.tolist() if isinstance(value, np.ndarray) else value

    return json.loads(json.dumps(state, default=plain))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("space", [GROWING, {"name": "amoeba"}], ids=["conv", "cells"])
def test_goes_on_from_a_state(name, space):
    proposer, out = create(name, space), []
    first = work(proposer, out, 23)
    state, kept = proposer.state(), list(out)
    expected = work(proposer, out, 30)
    assert [p.number for p in first + expected] == list(range(len(first + expected)))
    for stored in (state, as_json(state)):
        again = create(name, space, seed=1)
        again.restore(stored)
        assert work(again, list(kept), 30) == expected
        assert again.scalars() == proposer.scalars()


@pytest.mark.parametrize("name", NAMES)
def test_seed_decides(name):
    def proposals(seed):
        return [p.arch for p in work(create(name, {"name": "dag"}, seed), [], 40)]

    assert proposals(3) == proposals(3)
    assert proposals(3) != proposals(4)


@pytest.mark.parametrize("name", NAMES)
def test_space_grows(name):
    proposer = create(name, GROWING)
    depths = []
    for _ in range(45):
        proposal = proposer.ask()
        depths.append(len(proposer.space.decode(proposal.arch).layers))
        proposer.tell(proposal, 0.5 + 0.01 * len(depths))
    if name in ("evolution", "tournament"):
        assert set(depths) == {2}  # children of the first population
    else:
        assert depths == [2] * 13 + [3] * 13 + [4] * 19


@pytest.mark.parametrize("name", ["factorised", "ppo", "reinforce"])
def test_one_choice_is_no_choice(name):
    space = {"name": "amoeba", "blocks": 1, "ops": ["identity"]}
    proposer = create(name, space)
    assert work(proposer, [], 20)[-1].arch[2:4] == (0, 0)
    assert np.all(np.isfinite(proposer.policy.parameters.flat))


def test_controller_that_diverges():
    config = {"name": "factorised", "learning_rate": 1e308}
    proposer = proposers.create(config, spaces.create({"name": "dag"}), -1)
    with pytest.raises(errors.UserError, match="diverged after .* lower proposer.lear"):
        for reward in (0.0, 1e3, 0.0, 1e3):
            proposer.tell(proposer.ask(), reward)


def table():
    stored = np.load(TABLE)
    return dict(
        zip(map(tuple, stored["codes"]), stored["valid_correct"] / 400, strict=True)
    )


def searches(name, scores, seeds, trials=300):
    """Returns the rewards of searches [seeds, trials]."""
    found = np.zeros((seeds, trials))
    for seed in range(seeds):
        config = proposers.SMALL_BUDGET[name]
        proposer = proposers.create(config, spaces.create({"name": "dag"}), seed)
        for trial in range(trials):
            proposal = proposer.ask()
            found[seed, trial] = scores[proposal.arch]
            proposer.tell(proposal, found[seed, trial])
    return found


def test_every_cell_of_digits():
    scores = table()
    best = max(scores.values())
    assert best == pytest.approx(0.99)
    late, regret = {}, {}
    for name in ("random", "evolution", "reinforce", "ppo"):
        learned = name in ("reinforce", "ppo")
        found = searches(name, scores, seeds=10 if learned else 40)
        late[name] = found[:, -60:].mean()
        regret[name] = np.mean(best - found.max(1))
    assert late["random"] == pytest.approx(0.77, abs=0.02)
    assert late["reinforce"] > 0.90
    assert late["ppo"] > 0.90
    assert late["evolution"] > 0.90
    assert regret["evolution"] < regret["random"] / 3


def test_rewards():
    accuracies = [0.1, 0.5, 0.62, 0.61, 0.64, 0.66, 0.65, 0.63]
    assert rewards.reward("cubed", accuracies) == pytest.approx(0.66**3, rel=1e-12)
    assert rewards.reward("cubed", [0.9, *[0.5] * 5]) == pytest.approx(0.125)
    assert rewards.reward("accuracy", accuracies) == 0.63
    assert rewards.reward("inverse_square", [9e9, 95.5]) == pytest.approx(
        0.008771689372550094, rel=1e-12
    )
    assert rewards.reward("inverse", [95.5]) == pytest.approx(
        0.837696335078534, rel=1e-12
    )
    assert rewards.reward("inverse", [95.5], c=955.0) == pytest.approx(10.0)
    for history in ([], [0.5, float("nan")], [float("inf"), 90.0]):
        assert rewards.reward("inverse", history) == rewards.LOWEST
    with pytest.raises(errors.UserError, match="did you mean 'cubed'"):
        rewards.reward("cube", accuracies)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"name": "ppo", "clip": -0.1}, "clip has to be at least 0"),
        ({"name": "ppo", "epochs": 0}, "epochs has to be 1 or more"),
        ({"name": "reinforce", "batch": 0}, "batch has to be 1 or more"),
        ({"name": "reinforce", "units": 0}, "units has to be 1 or more"),
        ({"name": "reinforce", "layers": 0}, "layers has to be 1 or more"),
        ({"name": "reinforce", "learning_rate": "x"}, "learning_rate has to be a num"),
        ({"name": "reinforce", "baseline_decay": 1.0}, "at least 0 and below 1"),
        ({"name": "reinforce", "baseline_start": "one"}, "unknown start of the base"),
        ({"name": "ppo", "shared": "all"}, "unknown sharing of a controller's"),
        ({"name": "factorised", "units": 3}, "unknown option of proposer"),
    ],
)
def test_refuses(config, message):
    with pytest.raises(errors.UserError, match=message):
        proposers.create(config, spaces.create({"name": "dag"}), 0)
