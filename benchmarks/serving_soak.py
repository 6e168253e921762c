"""A server at saturation while its versions are swapped.

    python -m benchmarks.serving_soak --minutes=10

Many clients ask BERT over REST and gRPC as fast as they are answered. Every 20 seconds
a version with other weights appears and the oldest one is deleted; every third time a
damaged version appears as well. Every answer has to be that of one of the two sets of
weights. Prints a JSON line for each swap and one at the end: requests, failures, and
the server's memory. Ends with 1 if a request failed.
"""

import json
import pathlib
import shutil
import signal
import sys
import tempfile
import threading
import time

import grpc
import numpy as np
import tensorflow as tf
from absl import app, flags
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks import serving
from tests.serving.servers import free_port

FLAGS = flags.FLAGS
flags.DEFINE_float("minutes", 10, "How long.")
flags.DEFINE_float("swap_seconds", 20, "Between two new versions.")
flags.DEFINE_integer("rest_clients", 24, "Clients over REST.")
flags.DEFINE_integer("grpc_clients", 8, "Clients over gRPC.")


class Answers:
    """The right answers of both sets of weights.

    Args:
        exports: the folders of the SavedModels.
        rows: the texts.
    """

    def __init__(self, exports: list[pathlib.Path], rows: list[str]):
        import tensorflow_text  # noqa: F401

        self.rows, self._expected = rows, []
        self.seen = [0] * len(exports)
        for export in exports:
            signature = tf.saved_model.load(str(export)).signatures["serving_default"]
            found = [
                signature(text=tf.constant([row]))["probabilities"].numpy()[0]
                for row in rows
            ]
            self._expected.append(np.array(found))

    def check(self, i: int, probabilities) -> None:
        """Asserts that an answer is right."""
        for k, expected in enumerate(self._expected):
            if np.allclose(probabilities, expected[i], rtol=1e-4, atol=1e-6):
                self.seen[k] += 1
                return
        raise AssertionError(f"text {i}: {probabilities} is no version's answer")

    def check_json(self, i: int, answer: dict) -> None:
        """Asserts that an answer over REST is right."""
        self.check(i, answer["predictions"][0]["probabilities"])


class GrpcClient(threading.Thread):
    """Asks over gRPC until told to stop."""

    def __init__(self, port: int, answers: Answers, first: int, stop: threading.Event):
        super().__init__(daemon=True)
        self._port, self._answers, self._next, self._stop_event = (
            port,
            answers,
            first,
            stop,
        )
        self.requests, self.failures = 0, []

    def run(self) -> None:
        """Asks."""
        channel = grpc.insecure_channel(f"127.0.0.1:{self._port}")
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        while not self._stop_event.is_set():
            i = self._next % len(self._answers.rows)
            self._next += 1
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "bert"
            row = [self._answers.rows[i]]
            request.inputs["text"].CopyFrom(tf.make_tensor_proto(row))
            try:
                found = stub.Predict(request, timeout=60).outputs["probabilities"]
                self.requests += 1
                self._answers.check(i, list(found.float_val))
            except (grpc.RpcError, AssertionError) as error:
                self.failures.append(str(error)[:300])


def memory(pid: int) -> int:
    """Returns the resident memory of a process in MB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def publish(export: pathlib.Path, base: pathlib.Path, version: int) -> None:
    """Makes a copy of an export appear as a version."""
    scratch = base / f".{version}"
    shutil.copytree(export, scratch)
    scratch.rename(base / str(version))


def main(argv: list[str]) -> None:
    """Runs the soak."""
    del argv
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        exports = []
        for kind in ("one", "two"):
            (folder / kind).mkdir()
            serving.save_models(folder / kind)
            exports.append(folder / kind / "export" / "1")
        answers = Answers(exports, serving.texts(64))
        sys.exit(int(_soak(folder, exports, answers) > 0))


def _soak(folder, exports, answers: Answers) -> int:
    base = folder / "base"
    base.mkdir()
    publish(exports[0], base, 1)
    ports = {"port": free_port(), "rest_api_port": free_port()}
    command = [sys.executable, "-m", "tfdl.serve", "--enable_batching"]
    command += ["--model_name=bert", f"--model_base_path={base}"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    bodies = [json.dumps({"instances": [row]}).encode() for row in answers.rows]
    path = "/v1/models/bert:predict"
    server = serving.Server("ours", command, ports["rest_api_port"], path, bodies)
    server.load._check = answers.check_json
    stop = threading.Event()
    clients = [
        GrpcClient(ports["port"], answers, 7 * k, stop)
        for k in range(FLAGS.grpc_clients)
    ]
    for client in clients:
        client.start()
    rest = {"requests": 0, "failures": []}
    asking = threading.Thread(target=_ask, args=(server, stop, rest))
    asking.start()
    try:
        sizes = _swap(base, exports, server, rest, clients)
    finally:
        stop.set()
        asking.join()
        for client in clients:
            client.join()
        server.close()
    failures = rest["failures"] + [f for client in clients for f in client.failures]
    settled = sizes[len(sizes) // 3 :]
    print(
        json.dumps(
            {
                "rest_requests": rest["requests"],
                "grpc_requests": sum(client.requests for client in clients),
                "failures": len(failures),
                "first_failures": failures[:5],
                "answers_by_weights": answers.seen,
                "swaps": len(sizes),
                "memory_mb": {"last_two_thirds": [min(settled), max(settled)]},
            }
        )
    )
    return len(failures)


def _ask(server: serving.Server, stop: threading.Event, rest: dict) -> None:
    while not stop.is_set():
        found = server.load.run(FLAGS.rest_clients, 5)
        rest["requests"] += found["requests"]
        rest["failures"] += server.load.failures


def _swap(base, exports, server, rest, clients) -> list[int]:
    end = time.monotonic() + 60 * FLAGS.minutes
    sizes, version = [], 1
    while time.monotonic() < end:
        time.sleep(FLAGS.swap_seconds)
        version += 1
        if version % 3 == 0:
            (base / str(version)).mkdir()
            (base / str(version) / "saved_model.pb").write_bytes(b"\xff" * 1000)
            version += 1
        publish(exports[version % 2], base, version)
        found = sorted(int(path.name) for path in base.iterdir() if path.name.isdigit())
        for old in found[:-3]:
            shutil.rmtree(base / str(old))
        sizes.append(memory(server.pid))
        asked = rest["requests"] + sum(client.requests for client in clients)
        print(
            json.dumps({"version": version, "requests": asked, "memory_mb": sizes[-1]}),
            flush=True,
        )
    return sizes


if __name__ == "__main__":
    app.run(main)
