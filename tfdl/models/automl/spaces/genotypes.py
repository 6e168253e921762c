"""Published architectures by name, and reading any from a file's data."""

from collections.abc import Callable, Mapping
from typing import Any

from tfdl.engine import errors
from tfdl.models.automl.recurrent import genotypes as recurrent
from tfdl.models.automl.spaces import enas, zoph_conv
from tfdl.models.automl.spaces.cells import Block, Cell, CellGenotype


def _cell(used, *blocks):
    return Cell(tuple(map(Block.parse, blocks)), tuple(used))


# Blocks make states 2 to 6. Which states make the output is published with the cells,
# and is not always those that no block reads.
NASNET_A = CellGenotype(
    _cell(
        (1, 2, 3, 4, 5, 6),
        "sep_5x5(0) + sep_3x3(1)",
        "sep_5x5(1) + sep_3x3(1)",
        "avg_3x3(0) + identity(1)",
        "avg_3x3(1) + avg_3x3(1)",
        "sep_3x3(0) + identity(0)",
    ),
    _cell(
        (3, 4, 5, 6),
        "sep_5x5(0) + sep_7x7(1)",
        "max_3x3(0) + sep_7x7(1)",
        "avg_3x3(0) + sep_5x5(1)",
        "identity(3) + avg_3x3(2)",
        "sep_3x3(2) + max_3x3(0)",
    ),
)
AMOEBANET_A = CellGenotype(
    _cell(
        (1, 3, 4, 6),
        "avg_3x3(0) + max_3x3(0)",
        "sep_3x3(1) + identity(1)",
        "identity(0) + avg_3x3(1)",
        "sep_3x3(0) + sep_5x5(2)",
        "avg_3x3(5) + sep_3x3(0)",
    ),
    _cell(
        (2, 3, 4, 5, 6),
        "sep_3x3(1) + avg_3x3(0)",
        "max_3x3(0) + sep_7x7(2)",
        "max_3x3(1) + max_3x3(0)",
        "sep_3x3(4) + conv_1x7_7x1(0)",
        "avg_3x3(1) + sep_7x7(0)",
    ),
)
AMOEBANET_B = CellGenotype(
    _cell(
        (0, 3, 4, 6),
        "conv_1x1(1) + max_3x3(1)",
        "identity(1) + sep_3x3(0)",
        "conv_1x1(1) + sep_3x3(0)",
        "conv_1x1(2) + identity(2)",
        "avg_3x3(1) + conv_1x1(5)",
    ),
    _cell(
        (5, 6),
        "max_2x2(0) + max_3x3(0)",
        "identity(2) + conv_3x3(1)",
        "dil2_sep_5x5(2) + max_3x3(2)",
        "identity(3) + sep_3x3(1)",
        "avg_3x3(4) + conv_1x1(3)",
    ),
)
AMOEBANET_C = CellGenotype(
    _cell(
        (1, 2, 4, 5, 6),
        "avg_3x3(0) + sep_3x3(0)",
        "identity(0) + sep_3x3(0)",
        "avg_3x3(2) + sep_3x3(1)",
        "identity(0) + sep_3x3(1)",
        "avg_3x3(3) + sep_3x3(0)",
    ),
    _cell(
        (0, 2, 3, 4, 5, 6),
        "max_3x3(0) + max_3x3(0)",
        "sep_7x7(2) + sep_3x3(0)",
        "sep_7x7(0) + max_3x3(1)",
        "sep_5x5(4) + sep_5x5(4)",
        "max_3x3(1) + sep_3x3(1)",
    ),
)
AMOEBANET_D = CellGenotype(
    _cell(
        (0, 3, 4, 6),
        "conv_1x1(1) + max_3x3(1)",
        "identity(1) + conv_1x7_7x1(0)",
        "conv_1x1(0) + conv_1x7_7x1(0)",
        "max_3x3(2) + identity(2)",
        "avg_3x3(1) + conv_1x1(5)",
    ),
    _cell(
        (4, 5, 6),
        "max_2x2(0) + max_3x3(0)",
        "identity(2) + conv_3x3(1)",
        "conv_1x7_7x1(2) + max_3x3(2)",
        "identity(3) + max_2x2(1)",
        "avg_3x3(2) + conv_1x1(3)",
    ),
)

# DARTS' code counts the inputs the other way round (0 the one before the last); here
# they are numbered as everywhere. Its NASNet lacks the skip input in the output, and
# its AmoebaNet differs from the cells published as AmoebaNet-A.
DARTS_V1 = CellGenotype(
    _cell(
        (2, 3, 4, 5),
        "sep_3x3(0) + sep_3x3(1)",
        "identity(1) + sep_3x3(0)",
        "identity(1) + sep_3x3(0)",
        "sep_3x3(1) + identity(2)",
    ),
    _cell(
        (2, 3, 4, 5),
        "max_3x3(1) + max_3x3(0)",
        "identity(2) + max_3x3(1)",
        "max_3x3(1) + identity(2)",
        "identity(2) + avg_3x3(1)",
    ),
)
DARTS_V2 = CellGenotype(
    _cell(
        (2, 3, 4, 5),
        "sep_3x3(1) + sep_3x3(0)",
        "sep_3x3(1) + sep_3x3(0)",
        "sep_3x3(0) + identity(1)",
        "identity(1) + dil_sep_3x3(2)",
    ),
    _cell(
        (2, 3, 4, 5),
        "max_3x3(1) + max_3x3(0)",
        "identity(2) + max_3x3(0)",
        "max_3x3(1) + identity(2)",
        "identity(2) + max_3x3(0)",
    ),
)
DARTS_NASNET = CellGenotype(
    _cell(
        (2, 3, 4, 5, 6),
        "sep_5x5(0) + sep_3x3(1)",
        "sep_5x5(1) + sep_3x3(1)",
        "avg_3x3(0) + identity(1)",
        "avg_3x3(1) + avg_3x3(1)",
        "sep_3x3(0) + identity(0)",
    ),
    _cell(
        (4, 5, 6),
        "sep_5x5(0) + sep_7x7(1)",
        "max_3x3(0) + sep_7x7(1)",
        "avg_3x3(0) + sep_5x5(1)",
        "identity(3) + avg_3x3(2)",
        "sep_3x3(2) + max_3x3(0)",
    ),
)
DARTS_AMOEBANET = CellGenotype(
    _cell(
        (4, 5, 6),
        "avg_3x3(1) + max_3x3(0)",
        "sep_3x3(1) + sep_5x5(2)",
        "sep_3x3(1) + avg_3x3(3)",
        "sep_3x3(0) + identity(0)",
        "identity(1) + avg_3x3(0)",
    ),
    _cell(
        (3, 4, 6),
        "avg_3x3(1) + sep_3x3(0)",
        "max_3x3(1) + sep_7x7(2)",
        "sep_7x7(1) + avg_3x3(0)",
        "max_3x3(1) + max_3x3(0)",
        "conv_1x7_7x1(1) + sep_3x3(5)",
    ),
)

ENAS_MICRO = (
    "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1 1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1"
)
ENAS_MACRO = """
    0
    3 0
    0 1 0
    2 0 0 1
    2 0 0 0 0
    3 1 1 0 1 0
    2 0 0 0 0 0 1
    2 0 1 1 0 1 1 1
    1 0 1 1 1 0 1 0 1
    0 0 0 0 0 0 0 0 0 0
    2 0 0 0 0 0 1 0 0 0 0
    0 1 0 0 1 1 0 0 0 0 1 1
    2 0 1 0 0 0 0 0 1 0 1 1 0
    1 0 0 1 0 0 0 1 1 1 0 1 0 1
    0 1 1 0 1 0 1 0 0 0 0 0 1 0 0
    2 0 0 1 0 0 0 0 0 0 0 1 0 1 0 1
    2 0 1 0 0 0 1 0 0 1 1 1 1 0 0 1 0
    2 0 0 0 0 1 0 1 0 1 0 0 1 0 1 0 0 1
    3 0 1 1 0 1 0 0 0 0 0 1 0 1 0 1 0 0 0
    3 0 1 1 0 0 0 0 0 0 0 0 0 1 1 0 0 0 0 1
    0 1 0 0 1 0 1 1 0 0 0 1 0 0 0 0 0 1 1 0 0
    3 0 1 0 1 1 0 0 1 0 1 1 0 1 1 0 1 0 0 1 0 0
    0 1 0 1 0 1 0 0 0 0 0 0 0 0 1 0 1 0 0 1 0 0 0
    0 1 1 0 0 0 1 1 1 0 1 0 0 0 1 0 1 0 0 1 1 0 0 0
"""

# The cell of tf.contrib.rnn.NASCell.
NAS_CELL = "0 2 0 3 0 2 1 3 0 1 0 2 0 1 0 2 1 1 0 1 1 1 0 2 1 0 0 1 1 1 0 1 12 8"
ENAS_LM = "0 2 1 0 2 1 2 2 4 0 5 0 3 2 6 2"
# DARTS' second-order cell as the corrected ENAS code writes it.
DARTS_LM = "0 2 1 1 1 1 1 3 2 0 5 2 3 0 5 1"
# The first published code's cell: other function numbers, loose ends averaged.
ENAS_LM_OLD = "0 0 0 1 1 2 1 2 0 2 0 5 1 1 0 6 1 8 1 8 1 8 1"
DARTS_RNN_V1 = (
    ("relu", 0),
    ("relu", 1),
    ("tanh", 2),
    ("relu", 3),
    ("relu", 4),
    ("identity", 1),
    ("relu", 5),
    ("relu", 1),
)
DARTS_RNN_V2 = (
    ("sigmoid", 0),
    ("relu", 1),
    ("relu", 1),
    ("identity", 1),
    ("tanh", 2),
    ("sigmoid", 5),
    ("tanh", 3),
    ("relu", 5),
)


def _decoded(space, text):
    return lambda: space.decode(space.parse(text))


PUBLISHED: Mapping[str, Callable[[], Any]] = {
    "nasnet_a": lambda: NASNET_A,
    "amoebanet_a": lambda: AMOEBANET_A,
    "amoebanet_b": lambda: AMOEBANET_B,
    "amoebanet_c": lambda: AMOEBANET_C,
    "amoebanet_d": lambda: AMOEBANET_D,
    "darts_v1": lambda: DARTS_V1,
    "darts_v2": lambda: DARTS_V2,
    "darts_nasnet": lambda: DARTS_NASNET,
    "darts_amoebanet": lambda: DARTS_AMOEBANET,
    "enas_micro": _decoded(enas.MicroSpace(), ENAS_MICRO),
    "enas_macro": _decoded(enas.MacroSpace(layers=24), ENAS_MACRO),
    "nas_cell": lambda: recurrent.parse(NAS_CELL),
    "enas_lm": lambda: recurrent.parse(ENAS_LM, "enas_lm"),
    "enas_lm_old": lambda: recurrent.parse(ENAS_LM_OLD, "enas"),
    "darts_lm": lambda: recurrent.parse(DARTS_LM, "enas_lm"),
    "darts_rnn_v1": lambda: recurrent.NodesCell.from_darts(DARTS_RNN_V1),
    "darts_rnn_v2": lambda: recurrent.NodesCell.from_darts(DARTS_RNN_V2),
}
KINDS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "cells": CellGenotype.from_dict,
    "enas_macro": enas.MacroNet.from_dict,
    "nodes": recurrent.from_dict,
    "tree": recurrent.from_dict,
    "zoph_conv": zoph_conv.ConvNet.from_dict,
}


def published(name: str) -> Any:
    """Returns a published architecture, as a space's `decode` returns them.

    Raises:
        UserError: none has this name.
    """
    if name not in PUBLISHED:
        raise errors.unknown("architecture", name, PUBLISHED)
    return PUBLISHED[name]()


def from_dict(given: Mapping[str, Any]) -> Any:
    """Returns the architecture of a `to_dict`, whatever its kind.

    Raises:
        UserError: it is none.
    """
    kind = given.get("kind")
    if kind not in KINDS:
        raise errors.unknown("kind of architecture", kind, KINDS)
    return KINDS[kind](given)
