import dataclasses
import importlib.util
import json
import pathlib
import random
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import stats

from tests import helpers
from tfdl.engine import config as recipes
from tfdl.engine.errors import UserError
from tfdl.models.automl import children, prepare, spaces
from tfdl.models.automl.spaces.dag import DagSpace
from tfdl.models.automl.spaces.graph_networks import LINKS, OPS, GraphNetworkSpace
from tfdl.models.automl.tables import compute, digits, nas_bench_graph, table

SHIPPED = pathlib.Path(table.__file__).with_name("digits.json")
with_package = pytest.mark.skipif(
    importlib.util.find_spec("nas_bench_graph") is None,
    reason="nas-bench-graph (requirements-dev.txt) is not installed",
)


# --- spaces ------------------------------------------------------------------------


def test_edges_off_every_path_are_left_out():
    space = DagSpace(4, ("zero", "identity", "conv_3x3"))
    # Node 1 is not fed, so that what leaves it counts for nothing.
    assert space.canonical((0, 1, 2, 0, 2, 1)) == (0, 1, 0, 0, 0, 1)
    # Node 2 is not read.
    assert space.canonical((1, 2, 2, 0, 1, 0)) == (1, 0, 0, 0, 1, 0)
    assert space.canonical((2, 2, 2, 0, 0, 0)) == (0,) * 6


def test_canonical_cells_are_the_recorded_ones():
    golden = np.load(helpers.golden("automl/digits729_seed0.npz"))
    space = DagSpace()
    assert np.array_equal(list(space.all()), golden["codes"])
    found = [space.canonical(arch) for arch in space.all()]
    assert np.array_equal(found, golden["canonical"])
    assert len(set(found)) == 291


def test_dag_refuses_what_cannot_be():
    for options, words in (
        ({"nodes": 1}, "2 to 20 nodes"),
        ({"ops": []}, "one operation at least"),
        ({"ops": ["zero", "zero"]}, "each once"),
    ):
        with pytest.raises(UserError, match=words):
            spaces.create({"name": "dag", **options})


def test_graph_networks_without_what_skips():
    space = GraphNetworkSpace()
    skip, gcn, fc = OPS.index("skip"), OPS.index("gcn"), OPS.index("fc")
    chain, fork = LINKS.index((0, 1, 2, 3)), LINKS.index((0, 1, 1, 1))
    # In a chain a skip changes nothing, wherever it is.
    for layers in ((skip, skip, gcn, fc), (skip, gcn, skip, fc), (gcn, fc, skip, skip)):
        assert space.tree((chain, *layers)) == (("gcn", (("fc", ()),)),)
    # Beside another reader it adds its layer to the output.
    assert space.tree((fork, gcn, fc, skip, skip)) == (
        ("gcn", (("fc", ()), ("skip", ()), ("skip", ()))),
    )
    assert space.tree((chain, *[skip] * 4)) == ()
    assert space.canonical((chain, gcn, fc, skip, skip)) == space.canonical(
        (chain, skip, gcn, skip, fc)
    )


# --- NAS-Bench-Graph -----------------------------------------------------------------


@with_package
def test_nas_bench_graph_is_read_whole():
    found = table.find("nas-bench-graph-cora")
    assert found.valid.shape == (9 * 9**4, 1)
    trees = {found.space.tree(arch) for arch in found.space.all()}
    assert len(trees) == 26_206 + 1  # all skip, which scores 0
    skip = OPS.index("skip")
    assert found.valid[found.row((8, skip, skip, skip, skip))] == 0.0
    best = int(found.valid.argmax())
    np.testing.assert_allclose(found.valid[best], 0.8193, atol=5e-5)
    np.testing.assert_allclose(found.test[best], 0.8263, atol=5e-5)
    np.testing.assert_allclose(found.test.max(), 0.8313, atol=5e-5)
    assert found.row(found.arch(best)) == best


@with_package
def test_nas_bench_graph_agrees_with_its_package():
    from nas_bench_graph.architecture import Arch

    space, rng = GraphNetworkSpace(), random.Random(0)
    keys: dict = {}
    for _ in range(3000):
        arch = space.sample(rng)
        theirs = Arch(list(LINKS[arch[0]]), [OPS[op] for op in arch[1:]])
        keys.setdefault(theirs.valid_hash(), set()).add(space.tree(arch))
    assert len(keys) > 2500
    assert all(len(trees) == 1 for trees in keys.values())
    assert len({tree for trees in keys.values() for tree in trees}) == len(keys)


def test_nas_bench_graph_runs_nothing_of_a_pickle(tmp_path, monkeypatch):
    monkeypatch.setattr(nas_bench_graph, "_folder", lambda: tmp_path)
    path = tmp_path / "cora.bench"
    path.write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError, match="posix.system"):
        nas_bench_graph.load("cora")
    path.write_bytes(b"(dI5\n(dS'valid_perf'\nF0.5\nsS'perf'\nF0.5\nss.")
    with pytest.raises(UserError, match="lacks"):
        nas_bench_graph.load("cora")
    path.write_bytes(b"(lp0\n.")
    with pytest.raises(UserError, match="no table of scores"):
        nas_bench_graph.load("cora")
    with pytest.raises(UserError, match="did you mean 'cora'"):
        nas_bench_graph.load("corra")


# --- the table of digits -------------------------------------------------------------


def test_shipped_table_agrees_with_the_recorded_one():
    golden = np.load(helpers.golden("automl/digits729_seed0.npz"))
    found = table.find("digits-729")
    assert found.valid.shape == (729, 1)
    points = 100 * np.abs(found.valid[:, 0] - golden["valid_correct"] / 400)
    assert np.mean(points <= 2.0) >= 0.95
    rank = stats.spearmanr(found.valid[:, 0], golden["valid_correct"])[0]
    assert rank > 0.99
    best = found.arch(found.valid[:, 0].argmax())
    assert best == (2, 2, 0, 1, 2, 2)
    test = 100 * np.abs(found.test[:, 0] - golden["test_correct"] / 397)
    assert np.mean(test <= 2.0) >= 0.95


def test_larger_table_holds_the_smaller_one():
    large, small = table.find("digits-4096"), table.find("digits-729")
    assert large.valid.shape[0] == 4096
    assert len(compute.distinct(large.space)) == 2128
    for row in range(0, 729, 31):
        arch = small.arch(row)
        assert large.valid[large.row(arch), 0] == small.valid[row, 0]
    dead = large.valid[large.row((2, 2, 2, 0, 0, 0))]
    assert np.all(dead < 0.2) and large.mean_valid.max() > 0.97


@pytest.fixture(scope="module")
def trainer():
    return digits.Trainer(DagSpace(4, ("zero", "identity", "conv_3x3", "avg_3x3")))


@pytest.mark.parametrize("arch", [(2, 2, 0, 1, 2, 2), (3, 1, 3, 2, 0, 1)])
def test_training_a_cell_gives_what_the_table_says(trainer, arch):
    found = table.digits(seeds=1)
    got = trainer.train(arch, seed=0)
    row = found.row(arch)
    # Other processors round otherwise, and 80 steps amplify it.
    assert abs(got.valid - found.valid[row, 0] * 400) <= 8
    assert abs(got.test - found.test[row, 0] * 397) <= 8
    assert got == trainer.train(arch, seed=0)


def test_seed_decides_the_weights_and_batches(trainer):
    assert np.array_equal(trainer.initial(3), trainer.initial(3))
    assert not np.array_equal(trainer.initial(3), trainer.initial(4))
    order = digits.batches(0).reshape(4, -1)
    assert all(np.array_equal(np.sort(own), np.arange(1000)) for own in order)
    images, labels = digits.load()
    assert images.shape == (1797, 8, 8, 1) and labels.shape == (1797,)
    assert abs(images[:1000].mean()) < 1e-5 and abs(images[:1000].std() - 1) < 1e-5


def test_table_is_computed_and_an_interrupted_one_goes_on(tmp_path):
    config = recipes.load_recipe("automl", "table")
    config.update({"nodes": 2, "ops": ("zero", "identity"), "seeds": 1, "workers": 1})
    space = DagSpace(2, ("zero", "identity"))
    # One of the two was done before; nobody trains to these numbers.
    before = np.array([[[7, 8, 9]], [[-1, -1, -1]]], np.int16)
    compute._write(
        tmp_path / compute.PARTIAL, space, compute.distinct(space), [0], before
    )
    summary = prepare.prepare(config, "embedded:digits", str(tmp_path))
    assert summary["distinct"] == 2 and summary["seeds"] == 1
    found = table.find(summary["table"])
    assert found.space.ops == ("zero", "identity")
    assert found.valid[0, 0] == 8 / 400
    assert 0.3 < found.valid[1, 0] < 0.8  # the pixels' sums tell some digits apart
    assert summary["best_valid"] == found.valid[1, 0]
    other = ConfigDict({**config.to_dict(), "ops": ("zero", "conv_3x3")})
    with pytest.raises(UserError, match="another space"):
        prepare.prepare(other, "embedded:digits", str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 0}, "at least 1 seed"),
        ({"ops": ("zero", "warp")}, "unknown operation"),
        ({"nodes": 9}, "allowed are 100,000"),
        ({"nodes": 1}, "2 to 20 nodes"),
    ],
)
def test_a_table_that_cannot_be_is_refused(tmp_path, changes, words):
    config = recipes.load_recipe("automl", "table")
    config.update(changes)
    with pytest.raises(UserError, match=words):
        prepare.prepare(config, "embedded:digits", str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_input_of_a_table_is_known(tmp_path):
    config = recipes.load_recipe("automl", "table")
    with pytest.raises(UserError, match="embedded:digits"):
        prepare.prepare(config, "embedded:squares", str(tmp_path))


def test_damaged_tables_are_refused(tmp_path):
    for name in ("digits.json", "digits.npz"):
        shutil.copy(SHIPPED.with_name(name), tmp_path)
    path, data = tmp_path / "digits.json", tmp_path / "digits.npz"
    assert table.find(str(path)).valid.shape[0] == 4096
    table.find.cache_clear()
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] + b"?")
    with pytest.raises(UserError, match="is damaged"):
        table.find(str(path))
    data.unlink()
    with pytest.raises(UserError, match="no such file"):
        table.find(str(path))
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "data": "../digits.npz"}))
    with pytest.raises(UserError, match="Invalid name"):
        table.find(str(path))
    path.write_text("[]")
    with pytest.raises(UserError, match="describes no table"):
        table.find(str(path))
    with pytest.raises(UserError, match="did you mean 'digits-729'"):
        table.find("digits-792")


# --- children ----------------------------------------------------------------------


def test_children_are_looked_up():
    own = children.create({"name": "table", "table": "digits-4096"})
    noisy = dataclasses.replace(
        own.table, valid=np.stack([own.table.valid[:, 0], own.table.valid[:, 0] / 2], 1)
    )
    noisy = dataclasses.replace(noisy, test=noisy.valid)
    own.table = noisy
    arch = (2, 2, 0, 1, 2, 2)
    reports: list = []
    found = [own.train(arch, seed, reports.append) for seed in range(20)]
    assert {one["reward"] for one in found} == set(noisy.valid[noisy.row(arch)])
    assert found[3] == own.train(arch, 3, reports.append)
    assert len(reports) == 21
    with pytest.raises(UserError, match="position 6"):
        own.train((0, 0, 0, 0, 0, 4), 0, reports.append)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "need the name of a table"),
        ({"table": "digits-1"}, "unknown table"),
        ({"table": "digits-729", "seconds": -1}, "seconds has to be at least 0"),
        ({"table": "digits-729", "second": 1}, "did you mean 'seconds'"),
    ],
)
def test_children_of_no_table_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        children.create({"name": "table", **options})
