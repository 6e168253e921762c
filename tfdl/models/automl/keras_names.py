"""keras.applications' names of NASNet's layers, and TF-slim's of the same weights.

A cell's id is `stem_1`, `stem_2`, `reduce_N`, `reduce_2N`, or a normal cell's number,
which from the first of them on is one higher than TF-slim's.
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from tfdl.checkpoints import sniff
from tfdl.engine.errors import UserError

WEIGHTS = {
    "kernel": "weights",
    "bias": "biases",
    "depthwise_kernel": "depthwise_weights",
    "pointwise_kernel": "pointwise_weights",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "moving_mean",
    "moving_variance": "moving_variance",
}
_WHOLE = {
    "stem_conv1": "conv0",
    "stem_bn1": "conv0_bn",
    "predictions": "final_layer/FC",
}
_PARTS = {
    "_conv_1": "1x1",
    "_bn_1": "beginning_bn",
    "adjust_conv_projection": "prev_1x1",
    "adjust_conv_1": "path1_conv",
    "adjust_conv_2": "path2_conv",
}
_ID = r"(stem_[12]|reduce_\d{1,4}|\d{1,4})"
_BASE = re.compile(rf"(normal|reduction)(_conv_1|_bn_1)_{_ID}")
_ADJUST = re.compile(rf"(adjust_conv_projection|adjust_conv_[12]|adjust_bn)_{_ID}")
_SEPARABLE = re.compile(
    rf"separable_conv_([12])(_bn)?_(normal|reduction)_(left|right)(\d)_{_ID}"
)


def to_slim(
    layers: Mapping[str, Mapping[str, np.ndarray]], source: str
) -> dict[str, np.ndarray]:
    """Returns the weights by TF-slim's names; kernels have the same layout there.

    Args:
        layers: layer -> weight -> array, see `tfdl.checkpoints.keras_layers`.
        source: the file, for messages.

    Raises:
        UserError: a layer or a weight that no NASNet of keras.applications has.
    """
    result: dict[str, np.ndarray] = {}
    scopes = {}
    reduced = sorted(
        int(i) for i in _found(r"reduction_conv_1_reduce_(\d{1,4})", layers)
    )
    for layer, weights in layers.items():
        scope = scopes[layer] = _scope(layer, layers, reduced)
        if scope is None:
            raise UserError(
                f"{source}: layer {sniff.shown(layer)} is none of a keras.applications "
                "NASNet"
            )
        for name, array in weights.items():
            if name not in WEIGHTS:
                raise UserError(f"{source}: what is {sniff.shown(f'{layer}/{name}')}?")
            key = f"{scope}/{WEIGHTS[name]}"
            if key in result:
                raise UserError(f"{source}: {key} is there twice")
            result[key] = array
    return result


def _found(pattern: str, names: Iterable[str]) -> list[str]:
    return [m[1] for m in (re.fullmatch(pattern, name) for name in names) if m]


def _scope(layer, layers, reduced) -> str | None:
    """Returns TF-slim's scope of a layer, None for an unknown one."""
    if layer in _WHOLE:
        return _WHOLE[layer]
    if match := _BASE.fullmatch(layer):
        kind, part, cell = match.groups()
        return f"{_cell(cell, reduced)}/{_PARTS[part]}"
    if match := _ADJUST.fullmatch(layer):
        part, cell = match.groups()
        if part == "adjust_bn":
            projected = f"adjust_conv_projection_{cell}" in layers
            return (
                f"{_cell(cell, reduced)}/{'prev_bn' if projected else 'final_path_bn'}"
            )
        return f"{_cell(cell, reduced)}/{_PARTS[part]}"
    if match := _SEPARABLE.fullmatch(layer):
        number, norm, kind, side, block, cell = match.groups()
        conv = layers.get(layer.replace("_bn_", "_", 1) if norm else layer, {})
        kernel = conv.get("depthwise_kernel")
        if kernel is None or kernel.ndim != 4:
            return None
        # Its builder calls the left half of the reduction cell's fifth block so.
        index = 4 if (kind, side, block) == ("reduction", "left", "4") else None
        index = int(block) - 1 if index is None else index
        what = "bn_sep" if norm else "separable"
        size = kernel.shape[0]
        return (
            f"{_cell(cell, reduced)}/comb_iter_{index}/{side}/"
            f"{what}_{size}x{size}_{number}"
        )
    return None


def _cell(cell: str, reduced: list[int]) -> str:
    """Returns TF-slim's name of a cell by its id."""
    if cell.startswith("stem_"):
        return f"cell_stem_{int(cell[-1]) - 1}"
    if cell.startswith("reduce_"):
        return f"reduction_cell_{sum(place < int(cell[7:]) for place in reduced)}"
    number = int(cell)
    return f"cell_{number - bool(reduced and number > reduced[0])}"


def to_keras(names: Iterable[str], cells: int) -> dict[str, tuple[str, str]]:
    """Returns TF-slim's name -> (layer, weight) for the weights of a NASNet-A.

    Args:
        names: TF-slim's.
        cells: normal cells.
    """
    part = cells // 3
    whole = {scope: layer for layer, scope in _WHOLE.items()}
    weights = {slim: keras for keras, slim in WEIGHTS.items()}
    result = {}
    for name in names:
        scope, weight = name.rsplit("/", 1)
        layer = whole.get(scope) or _layer(scope, part)
        result[name] = (layer, weights[weight])
    return result


def _layer(scope: str, part: int) -> str:
    cell, inner = scope.split("/", 1)
    kind = "normal" if cell.startswith("cell_") and "stem" not in cell else "reduction"
    number = int(cell.rsplit("_", 1)[1])
    if "stem" in cell:
        ident = f"stem_{number + 1}"
    elif kind == "reduction":
        ident = f"reduce_{part * (number + 1)}"
    else:
        ident = str(number + (number >= part))
    if inner in ("prev_bn", "final_path_bn"):
        return f"adjust_bn_{ident}"
    for layer, slim in _PARTS.items():
        if inner == slim:
            return f"{kind if layer.startswith('_') else ''}{layer}_{ident}"
    match = re.fullmatch(
        r"comb_iter_(\d)/(left|right)/(separable|bn_sep)_\dx\d_([12])", inner
    )
    index, side, what, number = match.groups()
    block = int(index) + 1
    if (kind, side, block) == ("reduction", "left", 5):
        block = 4
    norm = "_bn" if what == "bn_sep" else ""
    return f"separable_conv_{number}{norm}_{kind}_{side}{block}_{ident}"
