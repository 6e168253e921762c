"""Folders in the layouts of the two original projects, from the golden weights."""

import json
import shutil

import numpy as np

from tests.checkpoints import pickles
from tests.helpers import golden
from tfdl.checkpoints import safetensors, tf1

NAME = "uncased_L-3_H-32_A-4"


def golden_config(kind):
    name = "bert_config.json" if kind == "tf1" else "config.json"
    return json.loads(golden("bert", kind, name).read_text())


def folder(path, kind, tensors=None, **config):
    """Writes a checkpoint folder; returns its path.

    Args:
        path: where it goes.
        kind: `"tf1"`, `"safetensors"`, `"stream"` or `"zip"` (torch's layouts).
        tensors: the weights; the golden ones by default.
        **config: entries of the configuration that are changed; None removes one.
    """
    path.mkdir(parents=True, exist_ok=True)
    shutil.copy(golden("bert", "tf1", "vocab.txt"), path / "vocab.txt")
    settings = golden_config("tf1" if kind == "tf1" else "hf") | config
    settings = {key: value for key, value in settings.items() if value is not None}
    if tensors is None:
        tensors = tf1_weights() if kind == "tf1" else hf_weights()
    name = "bert_config.json" if kind == "tf1" else "config.json"
    (path / name).write_text(json.dumps(settings))
    if kind == "tf1":
        tf1.write(path / "bert_model.ckpt", tensors)
    elif kind == "safetensors":
        safetensors.write(path / "model.safetensors", tensors)
    else:
        storages = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
        body = pickles.state_dict(storages, kind == "stream")
        if kind == "stream":
            data = pickles.stream(body, storages)
            (path / "pytorch_model.bin").write_bytes(data)
        else:
            pickles.write_zip(path / "pytorch_model.bin", body, storages)
    return path


def tf1_weights():
    """Returns the golden weights by the original's names."""
    return tf1.read(golden("bert", "tf1"))


def hf_weights():
    """Returns the golden weights by transformers' names."""
    return dict(safetensors.read(golden("bert", "hf", "model.safetensors")))


def without(tensors, *prefixes):
    """Returns the weights whose names begin otherwise."""
    return {k: v for k, v in tensors.items() if not k.startswith(prefixes)}
