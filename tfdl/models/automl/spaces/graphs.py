"""Genotypes as graphs: what feeds what. Drawn by `search.drawing`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tfdl.models.automl.recurrent import genotypes as recurrent
from tfdl.models.automl.spaces import enas, zoph_conv
from tfdl.models.automl.spaces.cells import SIGNS, Cell, CellGenotype

# What a node is: decides its colour.
INPUT, OP, SUM, OUTPUT = "input", "op", "sum", "output"


@dataclasses.dataclass
class Graph:
    """A directed graph without cycles.

    Attributes:
        nodes: name -> (label, what it is).
        edges: (from, to), each once.
    """

    nodes: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    edges: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def add(self, name: str, label: str, kind: str, *sources: str) -> str:
        """Adds a node behind others; returns its name."""
        self.nodes[name] = (label, kind)
        self.edges += [(source, name) for source in dict.fromkeys(sources)]
        return name

    def ranks(self) -> dict[str, int]:
        """Returns the length of the longest path to every node."""
        ranks: dict[str, int] = {}
        for name in self.nodes:  # sources were added before
            before = [ranks[a] for a, b in self.edges if b == name]
            ranks[name] = max(before, default=-1) + 1
        return ranks


def of(genotype: Mapping[str, Any]) -> dict[str, Graph]:
    """Returns the graphs of a genotype by title; none for what is no graph."""
    make = _KINDS.get(str(genotype.get("kind")))
    return make(genotype) if make else {}


def _cells(genotype: Mapping[str, Any]) -> dict[str, Graph]:
    pair = CellGenotype.from_dict(genotype)
    return {
        "normal cell": _cell(pair.normal),
        "reduction cell": _cell(pair.reduction),
    }


def _cell(cell: Cell) -> Graph:
    graph = Graph()
    states = [
        graph.add("s1", "previous", INPUT),
        graph.add("s0", "current", INPUT),
    ][::-1]
    for k, block in enumerate(cell.blocks):
        ops = []
        for side, (state, op) in enumerate(
            ((block.input1, block.op1), (block.input2, block.op2))
        ):
            ops.append(graph.add(f"op{k}.{side}", op, OP, states[state]))
        label = SIGNS[block.combine]
        states.append(graph.add(f"s{k + 2}", label, SUM, *ops))
    graph.add("out", "concatenate", OUTPUT, *(states[i] for i in cell.used))
    return graph


def _dag(genotype: Mapping[str, Any]) -> dict[str, Graph]:
    graph, last = Graph(), genotype["nodes"] - 1
    graph.add("n0", "input", INPUT)
    for node in range(1, last + 1):
        ops = [
            graph.add(f"{i}-{node}", op, OP, f"n{i}")
            for i, j, op in genotype["edges"]
            if j == node and f"n{i}" in graph.nodes
        ]
        if ops or node == last:
            kind, label = (OUTPUT, "output") if node == last else (SUM, "+")
            graph.add(f"n{node}", label, kind, *ops)
    return {"cell": graph}


def _tree(genotype: Mapping[str, Any]) -> dict[str, Graph]:
    cell, graph = recurrent.from_dict(genotype), Graph()
    for name in ("x", "h", "c"):
        graph.add(name, f"{name} before" if name != "x" else "x", INPUT)
    outputs: list[str] = []
    for k, (combine, activation) in enumerate(cell.nodes):
        inner = 2 * (k - cell.base)
        sources = ("x", "h") if k < cell.base else tuple(outputs[inner : inner + 2])
        made = graph.add(f"{k} {combine}", combine, SUM, *sources)
        if k == cell.cell:
            graph.add("next c", "c", OUTPUT, made)
        made = graph.add(f"{k} {activation}", activation, OP, made)
        if k == cell.inject_at:
            combine, activation = cell.inject
            made = graph.add("inject", combine, SUM, made, "c")
            made = graph.add("injected", activation, OP, made)
        outputs.append(made)
    graph.add("next h", "h", OUTPUT, outputs[-1])
    return {"recurrent cell": graph}


def _nodes(genotype: Mapping[str, Any]) -> dict[str, Graph]:
    cell, graph = recurrent.from_dict(genotype), Graph()
    sources = [graph.add("x", "x", INPUT), graph.add("h", "h before", INPUT)]
    made = [graph.add("n0", f"0: {cell.first}", OP, *sources)]
    for i, (previous, function) in enumerate(cell.nodes, 1):
        made.append(graph.add(f"n{i}", f"{i}: {function}", OP, made[previous]))
    graph.add("out", "mean: h", OUTPUT, *(made[i] for i in cell.averaged()))
    return {"recurrent cell": graph}


def _macro(genotype: Mapping[str, Any]) -> dict[str, Graph]:
    net, graph = enas.MacroNet.from_dict(genotype), Graph()
    outputs = [graph.add("stem", "stem", INPUT)]
    for i, (op, inputs) in enumerate(net.layers):
        made = graph.add(f"op{i}", op, OP, outputs[-1])
        if inputs:
            added = (outputs[j] for j in inputs)
            made = graph.add(f"sum{i}", "+", SUM, made, *added)
        outputs.append(made)
    graph.add("out", "classes", OUTPUT, outputs[-1])
    return {"network": graph}


def _convolutions(genotype: Mapping[str, Any]) -> dict[str, Graph]:
    net, graph = zoph_conv.ConvNet.from_dict(genotype), Graph()
    graph.add("image", "image", INPUT)
    for i, layer in enumerate(net.layers):
        label = f"{layer.height}x{layer.width}, {layer.filters}"
        if layer.stride_height * layer.stride_width > 1:
            label += f" /{layer.stride_height}x{layer.stride_width}"
        sources = [f"l{j}" for j in layer.inputs] or ["image"]
        graph.add(f"l{i}", label, OP, *sources)
    graph.add("out", "classes", OUTPUT, *(f"l{i}" for i in net.loose_ends()))
    return {"network": graph}


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Graph]]] = {
    "cells": _cells,
    "dag": _dag,
    "tree": _tree,
    "nodes": _nodes,
    "enas_macro": _macro,
    "zoph_conv": _convolutions,
}
