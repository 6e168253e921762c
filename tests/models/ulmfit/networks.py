"""Converted golden networks and comparisons that several tests need."""

import pathlib

import numpy as np

import tfdl
from tests.helpers import golden
from tfdl.engine import model_dir
from tfdl.models.ulmfit.convert import convert as checkpoint

# Sizes of the goldens' classifiers that no tensor shows.
CHUNKS = {"bptt": 7, "max_len": 21}


def load(name: str):
    """Returns the arrays of a golden .npz."""
    return np.load(golden("ulmfit", name))


def convert(name: str, folder: pathlib.Path, **options):
    """Converts a golden checkpoint; returns (model, its config.json, summary)."""
    summary = checkpoint(golden("ulmfit", name), folder, **options)
    return tfdl.load(str(folder)), model_dir.read_config(folder), summary


def difference(found, expected) -> float:
    """Returns the largest difference over the largest expected value."""
    expected = np.asarray(expected)
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def golden_masks(arrays) -> dict:
    """Returns the goldens' dropout masks as the encoder takes them."""
    masks = {
        "embed": arrays["mask_embed"],
        "input": arrays["mask_input"],
        "output": arrays["mask_output"],
    }
    for i in range(2):
        masks[f"hidden{i}"] = arrays[f"mask_hidden{i}"]
    for i in range(3):
        masks[f"weight{i}"] = arrays[f"mask_weight_hh{i}"].T
    return masks
