"""Small SavedModels, and servers of them, for the tests of the server."""

import contextlib
import http.client
import json
import socket
import time

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfdl.serving import manager
from tfdl.serving.server import Options, Server
from tfdl.serving.versions import ModelConfig


class Arithmetic(tf.Module):
    """Signatures of every kind, all of them sums and products with `scale`."""

    def __init__(self, scale):
        super().__init__()
        self.scale = tf.Variable(float(scale))

    def line(self, x):
        return {"y": x * self.scale}

    def two(self, a, b):
        return {"sum": a + b * self.scale, "texts": tf.strings.as_string(a)}

    def picture(self, image_bytes):
        """Bytes in, bytes and their count out."""
        return {
            "copy_bytes": image_bytes,
            "size": tf.strings.length(image_bytes),
        }

    def pooled(self, ids, mask):
        """Rows of any length to one number each."""
        return {"mean": tf.reduce_sum(ids * mask, 1) * self.scale}

    def slow(self, turns):
        """Takes a time that grows with `turns`."""
        x = tf.ones([400, 400])
        for _ in tf.range(turns[0]):
            x = tf.linalg.matmul(x, x) * 1e-3
        return {"done": turns + tf.cast(x[0, 0] * 0, tf.int32)}

    def words(self, text):
        """Words of each text, to tell whether rows were mixed up."""
        count = tf.strings.split(text, " ").row_lengths()
        return {"text": text, "count": tf.cast(count, tf.float32) * self.scale}

    def strict(self, x):
        """Refuses negative numbers."""
        with tf.control_dependencies([tf.debugging.assert_non_negative(x)]):
            return {"root": tf.sqrt(x)}

    def parse(self, examples):
        spec = {"x": tf.io.FixedLenFeature([], tf.float32, 0.0)}
        return tf.io.parse_example(examples, spec)["x"]

    def regress(self, inputs):
        return {"outputs": self.parse(inputs) * self.scale}

    def classify(self, inputs):
        x = self.parse(inputs)
        names = tf.tile([["low", "high"]], [tf.shape(x)[0], 1])
        return {"classes": names, "scores": tf.stack([-x, x], 1) * self.scale}


def _spec(*shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype)


TEXT = _spec(None, dtype=tf.string)
SIGNATURES = {
    "serving_default": ("line", {"x": _spec(None)}),
    "matrix": ("line", {"x": _spec(None, 2, 2)}),
    "two": ("two", {"a": _spec(None), "b": _spec(None)}),
    "picture": ("picture", {"image_bytes": TEXT}),
    "pooled": ("pooled", {"ids": _spec(None, None), "mask": _spec(None, None)}),
    "slow": ("slow", {"turns": _spec(None, dtype=tf.int32)}),
    "words": ("words", {"text": TEXT}),
    "strict": ("strict", {"x": _spec(None)}),
    "regress": ("regress", {"inputs": TEXT}),
    "classify": ("classify", {"inputs": TEXT}),
}


def export(base, version=1, scale=0.5, signatures=tuple(SIGNATURES)):
    """Writes a version; returns its folder."""
    module = Arithmetic(scale)
    made = {}
    for name in signatures:
        method, specs = SIGNATURES[name]
        function = tf.function(getattr(module, method))
        made[name] = function.get_concrete_function(**specs)
    # As `tfdl export` does, so that no half of it is ever seen.
    scratch = base / f".{version}"
    tf.saved_model.save(module, str(scratch), signatures=made)
    return scratch.rename(base / str(version))


def config(name, base, **options):
    """Returns a model's configuration."""
    return ModelConfig(
        name=name, base_path=str(base), model_platform="tensorflow", **options
    )


def free_port():
    """Returns a port that nobody listens on."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


class Client:
    """Talks to a server both ways."""

    def __init__(self, port, rest_api_port):
        self.port, self.rest_api_port = port, rest_api_port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        service = prediction_service_pb2_grpc.PredictionServiceStub
        self.prediction = service(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def http(self, method, path, body=None, headers=None):
        """Returns (status, parsed JSON or text)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_api_port)
        try:
            data = json.dumps(body) if isinstance(body, dict | list) else body
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            content = response.read()
            if response.headers["content-type"] == "application/json" and content:
                return response.status, json.loads(content)
            return response.status, content.decode()
        finally:
            connection.close()

    def post(self, call, body, model="m"):
        """Calls `/v1/models/MODEL` + `call`."""
        return self.http("POST", f"/v1/models/{model}{call}", body)

    def states(self, model="m"):
        """Returns version -> (state, error code) by REST."""
        code, found = self.http("GET", f"/v1/models/{model}")
        assert code == 200, found
        return {
            int(one["version"]): (one["state"], one["status"]["error_code"])
            for one in found["model_version_status"]
        }

    def predict(self, inputs, model="m", signature="", version=None):
        """Calls Predict by gRPC; returns name -> array."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        outputs = self.prediction.Predict(request, timeout=30).outputs
        return {name: tf.make_ndarray(value) for name, value in outputs.items()}


def wait_for(condition, seconds=20):
    """Waits until a condition holds; returns what it gave."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found or time.monotonic() > end:
            assert found, "waited too long"
            return found
        time.sleep(0.05)


@contextlib.contextmanager
def running(*configs, models=None, **options):
    """Runs a server; yields a client that has it as `server`."""
    models = manager.Options(file_system_poll_wait_seconds=0.1, **(models or {}))
    ports = {"port": free_port(), "rest_api_port": free_port()}
    server = Server(Options(**ports, models=models, **options))
    server.start(configs)
    try:
        client = Client(**ports)
        client.server = server
        yield client
    finally:
        server.stop(5)
