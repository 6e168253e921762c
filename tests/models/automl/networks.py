"""Converted golden networks and comparisons that several tests need."""

import pathlib

import numpy as np

import tfdl
from tests.helpers import golden
from tfdl.engine import model_dir
from tfdl.models.automl.convert import convert as checkpoint

# keras.applications' names of outputs, and ours.
KERAS_OUTPUTS = {
    "stem_bn1": "stem",
    "reduction_concat_stem_1": "cell_stem_0",
    "reduction_concat_stem_2": "cell_stem_1",
    "normal_concat_0": "cell_0",
    "reduction_concat_reduce_1": "reduction_cell_0",
    "normal_concat_2": "cell_1",
    "reduction_concat_reduce_2": "reduction_cell_1",
    "normal_concat_3": "cell_2",
}


def prefix(name: str) -> pathlib.Path:
    """Returns the path of a golden checkpoint without `.index`."""
    return golden("automl", f"{name}.index").with_suffix("")


def load(name: str):
    """Returns the arrays of a golden .npz."""
    return np.load(golden("automl", name))


def convert(source, folder: pathlib.Path, **options):
    """Converts a checkpoint; returns (model, its config.json, summary)."""
    summary = checkpoint(source, folder, **options)
    return tfdl.load(str(folder)), model_dir.read_config(folder), summary


def difference(found, expected) -> float:
    """Returns the largest difference over the largest expected value."""
    expected = np.asarray(expected)
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())
