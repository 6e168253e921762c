"""DeepMind's modules for TensorFlow 1: names, sizes, and constants of the graph."""

import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from tfdl.engine import files
from tfdl.engine.errors import UserError
from tfdl.models.biggan.generator import Generator
from tfdl.models.biggan.names import norm_layers
from tfdl.models.biggan.plans import MAX_BLOCKS, GeneratorConfig
from tfdl.models.biggan.slots import Slot, rows_moved, same

Arrays = Mapping[str, np.ndarray]
AVERAGES = ("ema_b999900", "ema_0.9999")
MAX_GRAPH = 2 << 30
_GRAPH = "the graph's constant"


def chosen(arrays: Arrays) -> tuple[dict[str, np.ndarray], bool]:
    """Returns arrays by plain names, averaged ones where they are, and whether any.

    The second vectors of power iteration (`u1`) are left out: nothing needs them.
    """
    result, averaged = {}, set()
    for name, array in arrays.items():
        name = name.removeprefix("module/")
        if name.endswith("/u1"):
            continue
        plain, _, last = name.rpartition("/")
        if last in AVERAGES:
            result[plain] = array
            averaged.add(plain)
        elif name not in averaged:
            result[name] = array
    return result, bool(averaged)


def is_tfhub(names) -> bool:
    """Tells whether a checkpoint has these modules' names."""
    names = [name.removeprefix("module/") for name in names]
    return any(name.startswith("Generator/GBlock/") for name in names)


def kind(arrays: Arrays) -> str:
    """Returns "biggan" or "deep"."""
    return "deep" if "Generator/GenZ/G_linear/w" in arrays else "biggan"


def generator_config(
    arrays: Arrays,
    where: str,
    attention: int | None = None,
    **changes: Any,
) -> GeneratorConfig:
    """Returns the architecture of a module's arrays.

    Args:
        arrays: by plain names, see `chosen`.
        where: the checkpoint, for messages.
        attention: the block that attention follows. No array tells: by default it is
            where the published modules have it.
        **changes: fields to set otherwise.

    Raises:
        UserError: arrays that tell a size are missing.
    """

    def shape(name: str, rank: int) -> tuple[int, ...]:
        found = np.shape(arrays.get(name, 0.0))
        if len(found) != rank or 0 in found:
            raise UserError(f"{where}: {name} is missing or of another rank")
        return found

    deep = kind(arrays) == "deep"
    count = 0
    while f"{_scope('Generator/GBlock', count)}/conv0/w" in arrays:
        count += 1
    if not 1 <= count <= MAX_BLOCKS:
        raise UserError(f"{where} has {count} blocks, 1 to {MAX_BLOCKS} are possible")
    blocks = []
    for i in range(count):
        scope = _scope("Generator/GBlock", i)
        inputs = shape(f"{scope}/conv0/w", 4)[2]
        outputs = shape(f"{scope}/conv{3 if deep else 1}/w", 4)[3]
        blocks.append((inputs, outputs, not deep or i % 2 == 1))
    classes, shared_dim = shape("linear/w", 2)
    first = "GenZ" if deep else "G_Z"
    inputs, outputs = shape(f"Generator/{first}/G_linear/w", 2)
    filters = shape(f"Generator/{'conv_to_rgb' if deep else 'conv_2d'}/w", 4)[3]
    places = ()
    if "Generator/attention/theta/w" in arrays:
        channels = shape("Generator/attention/theta/w", 4)[2]
        places = (_place(blocks, channels, deep, attention, where),)
    fields = {
        "kind": "deep" if deep else "biggan",
        "blocks": tuple(blocks),
        "attention": places,
        "num_classes": classes,
        "shared_dim": shared_dim,
        "dim_z": inputs - shared_dim if deep else inputs * (count + 1),
        "bottom_width": round((outputs / blocks[0][0]) ** 0.5),
        "image_channels": min(3, filters) if deep else filters,
        "rgb_filters": filters if deep else 0,
        "batch_norm_epsilon": 1e-4,
        # What BigGAN-PyTorch has for the weights of the other modules.
        "output_norm_epsilon": 1e-4 if deep else 1e-5,
        "spectral_epsilon": 1e-4,
    }
    if deep:
        fields |= {"statistics": "table", "interpolation": "hf"}
    return GeneratorConfig(**{**fields, **changes})


def slots(network: Generator) -> dict[str, Slot]:
    """Returns where each array of a module goes, by its plain name."""
    deep = network.config.kind == "deep"
    order = rows_moved(network.config.shared_dim)
    found = {"linear/w": Slot(network.shared.table)}
    first = f"Generator/{'GenZ' if deep else 'G_Z'}/G_linear"
    found |= dict(_layer(first, network.linear, order if deep else (same, same)))
    parts = [(f"conv{i}", f"conv{i + 1}") for i in range(4 if deep else 2)]
    parts += [] if deep else [("conv_sc", "conv_sc")]
    for i, block in enumerate(network.blocks):
        scope = _scope("Generator/GBlock", i)
        for theirs, ours in parts:
            found |= dict(_layer(f"{scope}/{theirs}", getattr(block, ours)))
        for j in range(4 if deep else 2):
            norm = getattr(block, f"bn{j + 1}")
            name = _scope(f"{scope}/{'BatchNorm' if deep else 'HyperBN'}", j)
            gain, bias = ("scale", "offset") if deep else ("gamma", "beta")
            found |= dict(_layer(f"{name}/{gain}", norm.gain, order))
            found |= dict(_layer(f"{name}/{bias}", norm.bias, order))
            if not deep:
                found |= _statistics(_scope(f"{scope}/CrossReplicaBN", j), norm)
    for layer in network.attention:
        scope = "Generator/attention"
        # A vector of one number, or a number.
        found[f"{scope}/gamma"] = Slot(layer.gamma)
        for ours, theirs in (
            ("theta", "theta"),
            ("phi", "phi"),
            ("g", "g"),
            ("o", "o_conv"),
        ):
            found |= dict(_layer(f"{scope}/{theirs}", getattr(layer, ours)))
    norm = network.output_norm
    name = "Generator/BatchNorm" if deep else "Generator/ScaledCrossReplicaBN"
    found[f"{name}/{'scale' if deep else 'gamma'}"] = Slot(norm.gain)
    found[f"{name}/{'offset' if deep else 'beta'}"] = Slot(norm.bias)
    if not deep:
        found |= _statistics(f"{name}bn", norm)
    last = f"Generator/{'conv_to_rgb' if deep else 'conv_2d'}"
    found |= dict(_layer(last, network.to_rgb))
    if deep:
        for n, norm in enumerate(norm_layers(network).values()):
            found[f"{_GRAPH} stack_{5 * n + 1}"] = Slot(norm.moving_mean)
            found[f"{_GRAPH} stack_{5 * n + 3}"] = Slot(norm.moving_variance)
    return found


def arranged(arrays: Arrays) -> dict[str, np.ndarray]:
    """Returns arrays in the shapes of `slots`.

    Gains and biases of shape [1, 1, 1, C] become vectors, lone numbers scalars. What
    is called accumulated holds means: the counters are of no use.
    """
    result = {}
    for name, array in arrays.items():
        scope, _, last = name.rpartition("/")
        if last == "accumulation_counter":
            continue
        if last in ("gamma", "beta", "scale", "offset", "b"):
            array = array.reshape(()) if scope.endswith("attention") else array.ravel()
        elif last == "u0":
            array = array.reshape(1, -1)
        result[name] = array
    return result


def statistics(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the tables of statistics out of a module's graph; nothing of it is run.

    They are nodes `stack_{5n+1}` (means) and `stack_{5n+3}` (variances) of the n-th
    batch normalisation in forward order, constants or packed from constants.

    Args:
        path: saved_model.pb.

    Raises:
        UserError: the file is damaged, or has no such nodes.
    """
    nodes = _nodes(path)
    pattern = re.compile(r"(.*/)?stack_(\d+)")
    groups: dict[str, list[int]] = {}
    for name in nodes:
        if match := pattern.fullmatch(name):
            groups.setdefault(match[1] or "", []).append(int(match[2]))
    if not groups:
        raise UserError(f"{path} has no statistics: no node is called stack_1")
    prefix = max(groups, key=lambda key: len(groups[key]))
    found = {}
    for number in sorted(groups[prefix]):
        if number % 5 in (1, 3):
            name = f"{prefix}stack_{number}"
            array = _constant(nodes, name, path)
            if array is not None:
                found[f"{_GRAPH} stack_{number}"] = array
    return found


def trimmed(tables: Arrays, normalisations: int) -> dict[str, np.ndarray]:
    """Returns the tables of so many normalisations: nodes further on are others'."""
    last = 5 * (normalisations - 1) + 3
    return {n: x for n, x in tables.items() if int(n.rpartition("_")[2]) <= last}


def _nodes(path: pathlib.Path) -> dict[str, Any]:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    try:
        message.ParseFromString(files.require_file(path, MAX_GRAPH).read_bytes())
    except DecodeError:
        raise UserError(f"{path} is damaged, or no SavedModel") from None
    graphs = list(message.meta_graphs)
    if not graphs:
        raise UserError(f"{path} holds no graph")
    # Hub modules have a graph per set of tags; the one without tags is for inference.
    graph = min(graphs, key=lambda graph: len(graph.meta_info_def.tags))
    return {node.name: node for node in graph.graph_def.node}


def _constant(nodes, name: str, path: pathlib.Path) -> np.ndarray | None:
    node = nodes.get(name.partition(":")[0])
    hops = 0
    while node is not None and node.op == "Identity" and hops < 8:
        node, hops = nodes.get(node.input[0].partition(":")[0]), hops + 1
    if node is None:
        return None
    if node.op == "Const":
        import tensorflow as tf

        proto = node.attr["value"].tensor
        size = 1
        for dim in proto.tensor_shape.dim:
            size *= max(0, dim.size)
        if size > 1 << 28:
            raise UserError(f"{path}: the constant {name} claims {size:,} numbers")
        try:
            return np.asarray(tf.make_ndarray(proto))
        except (TypeError, ValueError):
            raise UserError(f"{path}: the constant {name} is damaged") from None
    if node.op in ("Pack", "Stack"):
        rows = [_constant(nodes, key, path) for key in node.input if key[0] != "^"]
        if rows and all(row is not None and row.shape == rows[0].shape for row in rows):
            return np.stack(rows)
    return None


def _scope(name: str, index: int) -> str:
    return f"{name}_{index}" if index else name


def _place(blocks, channels: int, deep: bool, given: int | None, where: str) -> int:
    fitting = [i for i, (_, outputs, _) in enumerate(blocks) if outputs == channels]
    if deep:
        fitting = [i for i in fitting if blocks[i][2]] or fitting
    if given is not None:
        fitting = [i for i in fitting if i == given]
    if not fitting:
        raise UserError(
            f"{where}: no block that attention could follow gives {channels} channels"
        )
    published = 7 if deep else {5: 3, 6: 4, 7: 3}.get(len(blocks))
    return published if published in fitting else fitting[0]


def _layer(
    name: str, layer: keras.layers.Layer, order=(same, same)
) -> Iterator[tuple[str, Slot]]:
    moved, back = order
    yield f"{name}/w", Slot(layer.kernel, moved, back)
    if layer.bias is not None:
        yield f"{name}/b", Slot(layer.bias)
    yield f"{name}/u0", Slot(layer.norm.u)


def _statistics(name, norm):
    return {
        f"{name}/accumulated_mean": Slot(norm.moving_mean),
        f"{name}/accumulated_var": Slot(norm.moving_variance),
    }
