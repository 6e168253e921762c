"""Exports in a process that has TensorFlow's C API only, against Python's numbers."""

import base64
import json
import os
import subprocess
import sys

import numpy as np
import tensorflow as tf
from tensorflow.python.tools import saved_model_utils

from tests.helpers import ROOT
from tfdl.serving import warmup


def run_c_api(folder, values, outputs=None, signature="serving_default"):
    """Runs a signature on `values`; returns its outputs, all of them by default."""
    return run_requests(folder, [(signature, values)], outputs)[0]


def run_requests(folder, requests, outputs=None):
    """Runs (signature, values) pairs in one process; returns a dict for each."""
    graph = saved_model_utils.get_meta_graph_def(str(folder), "serve")
    made, wanted = [], []
    for signature, values in requests:
        described = graph.signature_def[signature]
        assert set(values) == set(described.inputs), (signature, set(values))
        wanted.append(sorted(described.outputs) if outputs is None else list(outputs))
        made.append(
            {
                "inputs": {
                    described.inputs[k].name: _tensor(v, described.inputs[k].dtype)
                    for k, v in values.items()
                },
                "outputs": [described.outputs[k].name for k in wanted[-1]],
            }
        )
    done = subprocess.run(
        [sys.executable, "tests/serving/c_api.py", str(folder)],
        input=json.dumps(made),
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [
        {
            name: _array(result, described_dtype(graph, signature, name))
            for name, result in zip(names, found, strict=True)
        }
        for (signature, _), names, found in zip(
            requests, wanted, json.loads(done.stdout), strict=True
        )
    ]


def check_warm_ups(folder):
    """Asserts that every warm-up request gets the same answer from C and from Python.

    Returns:
        The signatures that were asked.
    """
    requests = [
        (
            message.model_spec.signature_name,
            {k: tf.make_ndarray(v) for k, v in message.inputs.items()},
        )
        for message in warmup.read(folder)
    ]
    loaded = tf.saved_model.load(str(folder))
    assert {name for name, _ in requests} == set(loaded.signatures)
    for (name, values), found in zip(
        requests, run_requests(folder, requests), strict=True
    ):
        tensors = {k: tf.constant(v) for k, v in values.items()}
        expected = loaded.signatures[name](**tensors)
        assert set(found) == set(expected)
        for key, value in expected.items():
            value = value.numpy()
            if value.dtype == object:
                assert list(map(_bytes, found[key].ravel())) == list(value.ravel())
                assert found[key].shape == value.shape
            else:
                scale = np.abs(value).max(initial=0.0)
                np.testing.assert_allclose(
                    found[key], value, rtol=1e-5, atol=1e-5 * scale
                )
    return {name for name, _ in requests}


def described_dtype(graph, signature, name):
    """Returns the dtype of a signature's output."""
    return graph.signature_def[signature].outputs[name].dtype


def _bytes(text):
    return text.encode() if isinstance(text, str) else text


def _tensor(value, dtype):
    is_text = dtype == tf.string.as_datatype_enum
    # NumPy's own bytes lose zeros at the end.
    array = np.array(value, object if is_text else None)
    flat = array.ravel().tolist()
    if is_text:
        flat = [x.encode() if isinstance(x, str) else bytes(x) for x in flat]
        flat = [base64.b64encode(x).decode() for x in flat]
    return {"dtype": dtype, "shape": list(array.shape), "values": flat}


def _array(result, dtype):
    values = result["values"]
    if dtype == tf.string.as_datatype_enum:
        values = [base64.b64decode(x) for x in values]
        try:
            values = [x.decode() for x in values]
        except UnicodeDecodeError:
            pass  # encoded images
        return np.array(values, object).reshape(result["shape"])
    return np.array(values, tf.as_dtype(dtype).as_numpy_dtype).reshape(result["shape"])
