import hashlib
import json
import pathlib
import random

import pytest

from tfdl.engine import errors
from tfdl.models.automl import proposers, spaces
from tfdl.models.automl.proposers import Proposal
from tfdl.models.automl.spaces.cells import CellMutation

GOLDENS = pathlib.Path(__file__).parents[2] / "goldens/automl/aging_evolution.json"
RUNS = json.loads(GOLDENS.read_text())
CELL = {"normal": 0, "reduction": 1}


def fitness_of_bits(arch, noise, rng):
    value = sum(arch) / len(arch) + rng.gauss(0, noise)
    return min(max(value, 0.0), 1.0)


@pytest.mark.parametrize("run", RUNS["bitstring"], ids=lambda r: f"{r['dim']}")
def test_published_algorithm_on_bits(run):
    space = spaces.create({"name": "bits", "bits": run["dim"]})
    name = "evolution" if run["aging"] else "tournament"
    config = {"name": name, "population": run["P"], "sample": run["S"]}
    proposer = proposers.create(config, space, run["seed"])
    told, dead = {}, {}
    for number in range(run["C"]):
        before = [member.number for member in proposer.population]
        proposal = proposer.ask()
        reward = fitness_of_bits(proposal.arch, run["noise"], proposer.random)
        proposer.tell(proposal, reward)
        told[number] = (proposal, reward)
        now = {member.number for member in proposer.population}
        dead[number] = next((m for m in before if m not in now), None)
    for i, expected in enumerate(run["init"]):
        assert str(space.to_number(told[i][0].arch)) == expected["arch"]
        assert told[i][1] == pytest.approx(expected["fitness"], rel=1e-12)
    for expected in run["cycles"]:
        proposal, reward = told[expected["child_id"]]
        assert proposal.parent == expected["parent_id"]
        assert str(space.to_number(proposal.arch)) == expected["child"]
        assert reward == pytest.approx(expected["fitness"], rel=1e-12)
        assert dead[proposal.number] == expected["dead_id"]
    numbers = [member.number for member in proposer.population]
    assert numbers == run["final_population_ids"]
    best = max(told, key=lambda number: told[number][1])
    assert best == run["best_of_history_id"]


def cells_space():
    space = spaces.create({"name": "amoeba"})
    return space, len(space.ops)


def to_arch(cells):
    values = []
    for name in ("normal", "reduction"):
        for in1, op1, in2, op2 in cells[name]:
            values += [in1, in2, op1, op2]
    return tuple(values)


def pseudo_fitness(cells):
    text = json.dumps(cells, separators=(",", ":"))
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


class Script:
    """Random choices that are given, in the order in which they are drawn."""

    def __init__(self, values):
        self.values = list(values)

    def choice(self, sequence):
        value = self.values.pop(0)
        return sequence[value] if isinstance(value, int) else value[0]

    def randrange(self, stop):
        value = self.values.pop(0)
        assert 0 <= value < stop
        return value

    def random(self):
        return self.values.pop(0)


def draws(event):
    """Returns the draws of a recorded event: members, then the mutation."""
    mutation = event["mutation"]
    if mutation["type"] == "identity":
        return [*event["sample_positions"], 0.01]
    value = mutation["value"]
    if mutation["type"] == "hidden_state":
        value = [value]  # drawn from the states that are left
    return [
        *event["sample_positions"],
        0.9,
        ["hidden_state", "op"].index(mutation["type"]),
        CELL[mutation["cell"]],
        mutation["block"],
        mutation["element"],
        value,
    ]


def replay(proposer, event):
    proposer.random = Script(draws(event))
    proposal = proposer.ask()
    assert proposer.random.values == []
    assert proposal.parent == event["parent"]
    assert proposal.arch == to_arch(event["arch"])
    return proposal


def evolution(run):
    config = {"name": "evolution", "population": run["P"], "sample": run["S"]}
    return proposers.create(config, cells_space()[0], 0)


def enter(proposer, number, event):
    """Tells what a recorded random architecture was worth."""
    assert pseudo_fitness(event["arch"]) == event["fitness"]
    proposer.tell(Proposal(number, to_arch(event["arch"])), event["fitness"])


def test_cells_with_given_choices():
    run = RUNS["nasnet_space"]
    proposer = evolution(run)
    space = proposer.space
    for event in run["events"]:
        if event["op"] == "init":
            assert proposer.ask().number == event["id"]
            enter(proposer, event["id"], event)
            continue
        oldest = proposer.population[0].number
        proposal = replay(proposer, event)
        mutation = event["mutation"]
        if mutation["type"] != "identity":
            parent = next(m for m in proposer.population if m.number == event["parent"])
            fields = {k: mutation[k] for k in ("block", "element", "value")}
            change = CellMutation(mutation["type"], CELL[mutation["cell"]], **fields)
            assert space.apply(parent.arch, change) == proposal.arch
        proposer.tell(proposal, pseudo_fitness(event["arch"]))
        assert proposer.population[-1].reward == event["fitness"]
        assert oldest == event["dead"]
    numbers = [member.number for member in proposer.population]
    assert numbers == run["final_population"]
    for member in proposer.population:
        decoded = space.decode(member.arch)
        expected = run["loose_ends_of_final"][str(member.number)]
        assert list(decoded.normal.used) == expected["normal"]
        assert list(decoded.reduction.used) == expected["reduction"]


def test_cells_completed_out_of_order():
    run = RUNS["asynchronous"]
    proposer = evolution(run)
    # Every child was proposed when its parents were known and its worker free.
    events = run["completions"]
    first = [event for event in events if event["op"] == "init"]
    rest = [event for event in events if event["op"] == "child"]
    for event in first:
        proposer.ask()
        reward = 0.0 if event["fails"] else pseudo_fitness(event["arch"])
        assert reward == event["fitness"]
        proposer.tell(Proposal(event["id"], to_arch(event["arch"])), reward)
    waiting = sorted(rest, key=lambda event: event["id"])
    out = {}
    for event in rest:
        while event["id"] not in out:
            started = waiting.pop(0)
            seen = [member.number for member in proposer.population]
            assert seen == started["population_at_proposal"]
            out[started["id"]] = replay(proposer, started)
            assert out[started["id"]].number == started["id"]
        while waiting and waiting[0]["population_at_proposal"] == [
            member.number for member in proposer.population
        ]:
            started = waiting.pop(0)
            out[started["id"]] = replay(proposer, started)
        oldest = proposer.population[0].number
        reward = 0.0 if event["fails"] else pseudo_fitness(event["arch"])
        assert reward == event["fitness"]
        proposer.tell(out.pop(event["id"]), reward)
        assert oldest == event["dead"]
    numbers = [member.number for member in proposer.population]
    assert numbers == run["final_population"]


def test_first_best_wins_a_tie():
    space = spaces.create({"name": "bits", "bits": 4})
    config = {"name": "evolution", "population": 3, "sample": 3}
    proposer = proposers.create(config, space, 0)
    for _ in range(3):
        proposer.tell(proposer.ask(), 0.5)
    proposer.random = random.Random(0)
    drawn = random.Random(0).choice([0, 1, 2])
    assert proposer.ask().parent == drawn


def test_tournament_removes_worst_that_is_left():
    space = spaces.create({"name": "bits", "bits": 8})
    config = {"name": "tournament", "population": 4, "sample": 30}
    proposer = proposers.create(config, space, 0)
    for reward in (0.4, 0.1, 0.3, 0.2):
        proposer.tell(proposer.ask(), reward)
    first, second = proposer.ask(), proposer.ask()
    proposer.tell(first, 0.9)
    assert [member.number for member in proposer.population] == [0, 2, 3, 4]
    # The worst of those that the second one drew is gone; the next worst leaves.
    proposer.tell(second, 0.8)
    assert [member.number for member in proposer.population] == [0, 2, 4, 5]


def test_more_workers_than_members():
    space = spaces.create({"name": "bits", "bits": 8})
    config = {"name": "evolution", "population": 2, "sample": 2}
    proposer = proposers.create(config, space, 0)
    out = [proposer.ask() for _ in range(5)]
    assert all(proposal.parent is None for proposal in out)
    for proposal in reversed(out):
        proposer.tell(proposal, 0.1)
    assert [member.number for member in proposer.population] == [1, 0]
    assert proposer.ask().parent in (0, 1)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"name": "evolution", "population": 0}, "population has to be 1 or more"),
        ({"name": "evolution", "sample": 2.5}, "sample has to be 1 or more, got 2.5"),
        ({"name": "evolutoin"}, "did you mean 'evolution'"),
        ({"name": "random", "population": 3}, "unknown option of proposer 'random'"),
        ({}, "the proposer has no name"),
    ],
)
def test_refuses(config, message):
    with pytest.raises(errors.UserError, match=message):
        proposers.create(config, spaces.create({"name": "bits"}), 0)
