"""Pictures of architectures: every kind is drawn, nothing on anything else."""

import io
import itertools
import random

import numpy as np
import pytest
from PIL import Image

from tfdl.models.automl import spaces
from tfdl.models.automl.search import drawing
from tfdl.models.automl.spaces import genotypes, graphs

PUBLISHED = ("nasnet_a", "amoebanet_b", "enas_macro", "nas_cell", "enas_lm_old")


def published(name):
    return genotypes.published(name).to_dict()


def sampled(name, **fields):
    space = spaces.create({"name": name, **fields})
    return space.genotype(space.sample(random.Random(7)))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_ones(name):
    check(published(name))


@pytest.mark.parametrize("name", ["amoeba", "dag", "enas_rnn", "zoph_conv", "zoph_rnn"])
def test_spaces(name):
    check(sampled(name))


def check(genotype):
    for graph in graphs.of(genotype).values():
        places = drawing._layout(graph)
        for a, b in graph.edges:
            assert places[a][1] < places[b][1]
        for one, two in itertools.combinations(graph.nodes, 2):
            (x0, y0), (x1, y1) = places[one], places[two]
            assert y0 != y1 or abs(x0 - x1) > 0.99
        # Nothing is left over, and all of it leads to an output.
        ends = {name for name, (_, kind) in graph.nodes.items() if kind == "output"}
        sources = {a for a, _ in graph.edges}
        assert set(graph.nodes) - sources >= ends
    data = drawing.draw(genotype)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert pixels.min() < 60 < pixels.max()


def test_cells_say_what_feeds_what():
    normal = graphs.of(published("nasnet_a"))["normal cell"]
    ops = [label for label, kind in normal.nodes.values() if kind == "op"]
    assert ops[:4] == ["sep_5x5", "sep_3x3", "sep_5x5", "sep_3x3"]
    assert ("s0", "op0.0") in normal.edges and ("s1", "op0.1") in normal.edges
    outputs = {a for a, b in normal.edges if b == "out"}
    assert outputs == {"s1", "s2", "s3", "s4", "s5", "s6"}


def test_a_cell_without_a_live_path():
    check({"kind": "dag", "nodes": 4, "edges": []})
    check({"kind": "dag", "nodes": 4, "edges": [[1, 2, "identity"]]})


def test_what_is_no_graph():
    assert drawing.draw(sampled("bits", bits=4)) is None
