import json
import random

import ml_collections
import pytest

from tfdl.engine import errors
from tfdl.models.automl import spaces
from tfdl.models.automl.spaces.cells import Block, Cell, CellGenotype

SMALL = {
    "amoeba": {},
    "bits": {"bits": 12},
    "dag": {},
    "enas_macro": {"layers": 5},
    "enas_micro": {},
    "enas_rnn": {},
    "graph_networks": {},
    "nasnet": {},
    "zoph_conv": {"strides": True},
    "zoph_rnn": {},
}


@pytest.fixture(params=sorted(SMALL), name="space")
def fixture_space(request):
    return spaces.create({"name": request.param, **SMALL[request.param]})


def test_every_space_is_tried():
    assert sorted(SMALL) == sorted(spaces.SPACES)


def test_samples_are_uniform_and_valid(space):
    rng = random.Random(0)
    drawn = [space.sample(rng) for _ in range(300)]
    for d, decision in enumerate(space.decisions):
        values = [arch[d] for arch in drawn]
        count = len(decision.choices)
        for value in range(count):  # within 5 standard deviations
            expected = 300 / count
            assert abs(values.count(value) - expected) < 5 * expected**0.5
    for arch in drawn:
        assert space.check(arch) == arch
        assert space.parse(space.format(arch)) == arch
        assert space.describe(arch)
        assert json.loads(json.dumps(space.genotype(arch)))["kind"]


def test_canonical_form_is_its_own(space):
    rng = random.Random(1)
    for _ in range(100):
        form = space.canonical(space.sample(rng))
        assert space.canonical(form) == form
        assert space.check(form) == form


def test_mutations_stay_inside_and_reach_everything(space):
    rng = random.Random(2)
    arch = space.sample(rng)
    seen = [set() for _ in space.decisions]
    unchanged = 0
    for _ in range(10_000):
        child = space.mutate(arch, rng)
        assert space.check(child) == child
        changed = sum(a != b for a, b in zip(arch, child, strict=True))
        assert changed <= 1
        unchanged += not changed
        arch = child
        for d, value in enumerate(arch):
            seen[d].add(value)
    for d, decision in enumerate(space.decisions):
        assert len(seen[d]) == len(decision.choices)
    if space.name in ("amoeba", "enas_micro", "nasnet"):
        # Nothing changes in 5 %, or where an op is replaced by itself.
        share = {"amoeba": 1 / 2 / 8, "enas_micro": 1 / 2 / 5, "nasnet": 1 / 3 / 13}
        expected = 0.05 + 0.95 * share[space.name]
        assert unchanged / 10_000 == pytest.approx(expected, abs=0.01)
    else:
        assert unchanged == 0


@pytest.mark.parametrize("name", ["amoeba", "enas_micro", "nasnet"])
def test_cells_never_have_cycles(name):
    space = spaces.create({"name": name})
    rng = random.Random(3)
    arch = space.sample(rng)
    for _ in range(2000):
        arch = space.mutate(arch, rng)
        genotype = space.decode(arch)
        for cell in (genotype.normal, genotype.reduction):
            read = set()
            for k, block in enumerate(cell.blocks):
                assert max(block.input1, block.input2) < k + 2
                read |= {block.input1, block.input2}
            assert set(cell.used) == set(range(7)) - read
        assert space.encode(genotype) == arch
        again = CellGenotype.from_dict(genotype.to_dict())
        assert again == genotype


def test_kinds_of_mutations_are_as_probable_as_published():
    space = spaces.create({"name": "amoeba"})
    rng = random.Random(4)
    arch = space.sample(rng)
    kinds, places = [], []
    for _ in range(10_000):
        mutation = space.mutation(arch, rng)
        kinds.append(mutation.kind)
        places.append((mutation.cell, mutation.block, mutation.element))
        if mutation.kind == "hidden_state":
            # Real et al. take another state; block 0 has only one other.
            place = (mutation.cell * 5 + mutation.block) * 4 + mutation.element
            assert mutation.value != arch[place]
    assert kinds.count("identity") / 10_000 == pytest.approx(0.05, abs=0.01)
    assert kinds.count("op") / 10_000 == pytest.approx(0.475, abs=0.02)
    assert kinds.count("hidden_state") / 10_000 == pytest.approx(0.475, abs=0.02)
    places = [p for p, kind in zip(places, kinds, strict=True) if kind != "identity"]
    counts = [places.count(place) for place in sorted(set(places))]
    assert len(counts) == 2 * 5 * 2
    assert min(counts) > 0.8 * len(places) / 20


@pytest.mark.parametrize("name", ["amoeba", "enas_micro", "nasnet"])
def test_equal_cells_have_one_canonical_form(name):
    space = spaces.create({"name": name, "blocks": 4})
    rng = random.Random(5)
    different = 0
    for _ in range(200):
        genotype = space.decode(space.sample(rng))
        other = CellGenotype(
            shuffled(genotype.normal, rng), shuffled(genotype.reduction, rng)
        )
        one, two = space.encode(genotype), space.encode(other)
        different += one != two
        assert space.canonical(one) == space.canonical(two)
    assert different > 150
    changed = (*one[:-1], (one[-1] + 1) % len(space.decisions[-1].choices))
    assert space.canonical(changed) != space.canonical(one)


def shuffled(cell, rng):
    """Returns the same cell, its blocks in another order and halves swapped."""
    left, order = list(range(len(cell.blocks))), []
    while left:
        ready = [
            k
            for k in left
            if {cell.blocks[k].input1, cell.blocks[k].input2}
            <= {0, 1, *(i + 2 for i in order)}
        ]
        order.append(rng.choice(ready))
        left.remove(order[-1])
    new = {0: 0, 1: 1, **{k + 2: i + 2 for i, k in enumerate(order)}}
    blocks = []
    for k in order:
        block = cell.blocks[k]
        halves = [(new[block.input1], block.op1), (new[block.input2], block.op2)]
        rng.shuffle(halves)
        blocks.append(Block(*halves[0], *halves[1], block.combine))
    return Cell.of(blocks)


def test_nodes_in_another_order_have_one_canonical_form():
    space = spaces.create({"name": "enas_rnn", "nodes": 4})
    # 1 reads 0, 2 reads 0, 3 reads 2, 4 reads 1; and the two branches swapped.
    one = (0, 0, 0, 1, 2, 2, 1, 3)
    two = (0, 1, 0, 0, 1, 2, 2, 3)
    assert space.canonical(one) == space.canonical(two)
    other = (0, 1, 0, 0, 2, 2, 1, 3)
    assert space.canonical(other) != space.canonical(one)


def test_sizes():
    assert spaces.create({"name": "zoph_rnn"}).size == pytest.approx(6e16, rel=0.1)
    assert spaces.create({"name": "dag"}).size == 729
    blocks = [(2 * 3 * 4 * 5 * 6) ** 2 * (13 * 13 * 2) ** 5] * 2
    assert spaces.create({"name": "nasnet"}).size == blocks[0] * blocks[1]
    assert len(spaces.create({"name": "nasnet"}).decisions) == 50


def test_what_no_network_is_built_of_can_be_stored():
    dag = spaces.create({"name": "dag"}).genotype((2, 0, 1, 0, 2, 0))
    edges = [[0, 1, "conv_3x3"], [1, 2, "identity"], [1, 3, "conv_3x3"]]
    assert dag == {"kind": "dag", "nodes": 4, "edges": edges}
    bits = spaces.create({"name": "bits", "bits": 2}).genotype((1, 0))
    assert bits == {"kind": "choices", "chosen": [["bit 0", "1"], ["bit 1", "0"]]}


def test_depth_grows_during_a_search():
    config = {"name": "zoph_conv", "layers": 6, "grow_every": 1600, "max_layers": 11}
    space = spaces.create(config)
    numbers = (0, 1599, 1600, 3200, 4800, 10**6)
    assert [space.depth(n) for n in numbers] == [6, 6, 8, 10, 11, 11]
    rng = random.Random(0)
    for number in numbers:
        smaller = space.at(number)
        arch = smaller.sample(rng)
        assert space.check(arch) == smaller.check(arch) == arch
        net = space.decode(arch)
        assert len(net.layers) == space.depth(number)
        assert space.parse(space.format(arch)) == arch
        assert space.check(space.mutate(arch, rng)) != arch
    with pytest.raises(errors.UserError, match=r"33 \(6 layers\), 52 \(8 layers\)"):
        space.check(arch[:-1])


def test_options_may_come_from_a_recipe():
    config = ml_collections.ConfigDict({"name": "amoeba", "ops": ("identity",)})
    assert spaces.create(config).ops == ("identity",)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"name": "nasnet", "blocks": 0}, "blocks .* has to be 1 or more, got 0"),
        ({"name": "nasnet", "blocks": True}, "1 or more, got True"),
        ({"name": "nasnet", "ops": []}, "one name or more, each once"),
        ({"name": "amoeba", "ops": "identity"}, "has to be a list of names"),
        ({"name": "amoeba", "ops": ["sep_3x4"]}, "did you mean 'sep_3x3'"),
        ({"name": "amoeba", "ops": ["identity"] * 2}, "each once"),
        ({"name": "amoebae"}, "did you mean 'amoeba'"),
        ({"name": "amoeba", "layers": 3}, "unknown option of space 'amoeba' 'layers'"),
        ({}, "the space has no name"),
        (None, "given as options"),
        ({"name": "zoph_conv", "filters": []}, "layer 0 filters has no choices"),
        ({"name": "zoph_conv", "heights": [0]}, "choice of height has to be 1"),
        ({"name": "zoph_conv", "layers": 8, "max_layers": 6}, "max_layers=6 is less"),
        ({"name": "zoph_rnn", "base": 1}, "base has to be 2 or more"),
        ({"name": "enas_rnn", "nodes": 0}, "nodes has to be 1 or more"),
        ({"name": "enas_macro", "layers": "6"}, "1 or more, got '6'"),
        ({"name": "bits", "bits": -1}, "1 or more"),
    ],
)
def test_refuses_spaces_without_children(config, message):
    with pytest.raises(errors.UserError, match=message) as info:
        spaces.create(config)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("0 1 x 0", "position 3 .* is 'x', not a number"),
        ("0 1 0", "has 6 values, not 3"),
        ("0 1 0 0 3 0", r"position 5 .*\(edge 1 to 3\) is 3; allowed are 0 to 2"),
        ("0,1,0,-1,0,0", "position 4 .* is -1"),
        ("", "has 6 values, not 0"),
        ("0 1 0 0 1.5 0", "position 5 .* is '1.5', not a number"),
    ],
)
def test_names_the_position_that_does_not_parse(text, message):
    with pytest.raises(errors.UserError, match=message):
        spaces.create({"name": "dag"}).parse(text)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"normal": {}}, "needs reduction"),
        ({"normal": {}, "reduction": {}}, "a cell has to be"),
        ({"blocks": [[0, "identity", 2, "identity"]]}, "block 1 .* reads state 2"),
        ({"blocks": [[0, "identity", 1, "sep"]]}, "unknown op in block 1"),
        ({"blocks": [[0, "identity", 1, "identity", "mix"]]}, "unknown combination"),
        ({"blocks": [], "used": [0]}, "a cell needs a block"),
        ({"used": [4]}, "allowed are states 0 to 2"),
        ({"used": []}, "one or more"),
    ],
)
def test_refuses_cells_that_cannot_be(given, message):
    good = {"blocks": [[0, "identity", 1, "identity", "add"]], "used": [2]}
    if "normal" not in given:
        given = {"normal": good, "reduction": good | given}
    with pytest.raises(errors.UserError, match=message):
        CellGenotype.from_dict(given)
