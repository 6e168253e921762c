"""Image networks' checkpoints by TF-slim's names: what they tell of the network."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdl.checkpoints import sniff
from tfdl.engine.errors import UserError
from tfdl.models.automl.networks.config import PRESETS, CellsConfig, aux_side

AVERAGE = "/ExponentialMovingAverage"
# Of optimizers, and the count of steps: no weights.
_OTHER = re.compile(r"(^|/)(global_step|RMSProp(_1)?|Momentum|Adam(_1)?)$")
FEATURES = "final_layer/FC/weights"
_CELL = re.compile(r"cell_(\d{1,4})/1x1/weights")
_REDUCTION = re.compile(r"reduction_cell_(\d)/1x1/weights")


def recognises(names: Mapping[str, Any]) -> bool:
    """Tells whether names are those of a network of cells."""
    return any(_CELL.fullmatch(name.removesuffix(AVERAGE)) for name in names)


def weights(
    arrays: Mapping[str, np.ndarray], averaged: bool
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the network's weights by TF-slim's names, and what was left out.

    Args:
        arrays: a checkpoint's, TF-slim's or the TPU repository's.
        averaged: takes the moving average of a weight where there is one.
    """
    kept, skipped = {}, []
    for name, array in arrays.items():
        if _OTHER.search(name):
            skipped.append(name)
            continue
        plain = name.removesuffix(AVERAGE)
        if averaged and f"{name}{AVERAGE}" in arrays:
            continue
        if plain != name and not averaged:
            skipped.append(name)
            continue
        # AmoebaNet's stem has a scope of its own.
        kept[plain.removeprefix("stem/")] = array
    return kept, skipped


def infer(
    arrays: Mapping[str, np.ndarray],
    source: str,
    genotype: Any = "nasnet_a",
    skip_reduction: bool | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
) -> dict[str, Any]:
    """Returns the fields of the network, every size from the arrays.

    Args:
        arrays: by TF-slim's names.
        source: the file, for messages.
        genotype: which cells: names tell operations, but not of which states.
        skip_reduction: see `CellsConfig`; None finds out where shapes tell.
        num_classes: of a network without a classifier.
        image_size: of the auxiliary head, where it fits.

    Raises:
        UserError: the arrays are not a network of cells'.
    """
    stem = "imagenet" if "conv0/weights" in arrays else "cifar"
    shape = _shapes(arrays, source)
    width = shape("cell_0/1x1/weights")[3]
    reductions = len(_numbers(_REDUCTION, arrays))
    fields = {
        "genotype": genotype,
        "stem": stem,
        "cells": len(_numbers(_CELL, arrays)),
        "filters": width,
        "stem_filters": shape(
            "conv0/weights" if stem == "imagenet" else "l1_stem_3x3/weights"
        )[3],
        "reductions": reductions,
        "num_classes": num_classes,
        "epsilon": 1e-3 if stem == "imagenet" else 1e-5,
        "momentum": 0.9997 if stem == "imagenet" else 0.9,
        "dropout_keep": 0.5 if stem == "imagenet" else 1.0,
    }
    if reductions:
        first = shape("reduction_cell_0/1x1/weights")[3]
        if fields["cells"] > reductions:
            fields["filter_scaling"] = max(1, first // width)
        else:
            # The first normal cell comes after it.
            if reductions > 1:
                second = shape("reduction_cell_1/1x1/weights")[3]
                fields["filter_scaling"] = max(1, second // first)
            fields["filters"] = first // fields.get("filter_scaling", 2)
    if FEATURES in arrays:
        fields["num_classes"] = shape(FEATURES, 2)[1]
        if num_classes not in (None, fields["num_classes"]):
            raise UserError(
                f"{source} has {fields['num_classes']} classes, not {num_classes}"
            )
    elif num_classes is None:
        raise UserError(
            f"{source} has no classifier; give one a size with "
            "--option=num_classes=N, and it starts at random"
        )
    fields |= _auxiliary(arrays, shape, source, stem, image_size)
    fields["skip_reduction"] = _skip(fields, shape, arrays, skip_reduction)
    return fields


def _auxiliary(arrays, shape, source, stem, image_size) -> dict[str, Any]:
    """Returns the fields of the auxiliary head, if there is one."""
    heads = [name for name in arrays if name.endswith("aux_logits/proj/weights")]
    size = image_size or (224 if stem == "imagenet" else 32)
    if not heads:
        return {"aux_head": False, "image_size": size}
    prefix = heads[0].removesuffix("proj/weights")
    height, side, _, outputs = shape(f"{prefix}Conv/weights")
    if height != side or len(heads) > 1:
        raise UserError(f"{source}: an auxiliary head of {height}x{side} is unknown")
    sizes = [size, 331, *range(1024)]
    fitting = [size for size in sizes if aux_side(stem, size) == side]
    if not fitting:
        raise UserError(f"{source}: no picture leaves a map of {side}x{side}")
    return {
        "aux_head": True,
        "aux_filters": (shape(heads[0])[3], outputs),
        "image_size": fitting[0],
    }


def _skip(fields, shape, arrays, given: bool | None) -> bool:
    """Returns `skip_reduction`: as given, else as shapes tell."""
    fitting = []
    for skip in (False, True):
        config = CellsConfig.from_dict({**fields, "skip_reduction": skip})
        halved = [
            (f"{place.name}/path1_conv/weights", place.previous.channels)
            for place in config.places()
            if place.previous and place.previous.halvings != place.current.halvings
        ]
        if all(name in arrays and shape(name)[2] == n for name, n in halved):
            fitting.append(skip)
    if given is not None:
        return given
    if len(fitting) == 1:
        return fitting[0]
    # Three cells in a row and more look the same either way: of published networks,
    # the large one skips.
    large = PRESETS["nasnet_large"]
    return all(fields[key] == large[key] for key in ("cells", "filters", "genotype"))


def _numbers(pattern: re.Pattern, names: Mapping[str, Any]) -> set[int]:
    return {int(m[1]) for m in (pattern.fullmatch(name) for name in names) if m}


def _shapes(arrays: Mapping[str, np.ndarray], source: str):
    """Returns a function that gives the shape of a kernel that has to be there."""

    def shape(name: str, rank: int = 4) -> tuple[int, ...]:
        if name not in arrays:
            raise UserError(f"{source} is no network of cells: {name} is missing")
        found = np.shape(arrays[name])
        if len(found) != rank:
            raise UserError(f"{source}: {sniff.shown(name)} has shape {list(found)}")
        return found

    return shape
