"""Converted golden networks and comparisons that several tests need."""

import json
import pathlib

import numpy as np

import tfdl
from tests.helpers import golden
from tfdl.classifiers import preprocessing
from tfdl.engine import model_dir
from tfdl.models.imagenet18.convert import convert as checkpoint


def load(name: str):
    """Returns the arrays of a golden .npz."""
    return np.load(golden("imagenet18", name))


def convert(name: str, folder: pathlib.Path, **options):
    """Converts a golden checkpoint; returns (model, its config.json, summary)."""
    summary = checkpoint(golden("imagenet18", name), folder, **options)
    return tfdl.load(str(folder)), model_dir.read_config(folder), summary


def pictures(pixels: np.ndarray, config: dict | None = None):
    """Returns the model's input for uint8 pictures."""
    values = (config or {}).get("preprocessing", {})
    return {"image": preprocessing.normalise(pixels, values)}


def difference(found, expected: np.ndarray) -> float:
    """Returns the largest difference over the largest expected value."""
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def written(text: str) -> dict:
    """Returns the JSON object on the last line of a text."""
    return json.loads(text.strip().splitlines()[-1])
