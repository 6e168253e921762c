"""Serving BERT classification on raw strings: ours against LitServe with transformers.

    python -m venv peer && peer/bin/pip install torch==2.13.0 transformers litserve
    python -m benchmarks.serving --peer_python=peer/bin/python

Same weights, texts, cores and load generator, in one run; the sides take turns. The
peer is measured in several configurations. Prints a JSON line for each number of
clients: requests per second, p50 and p99 in milliseconds, and the processor time that
the server used for a request, which other work on the machine disturbs least.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

from benchmarks.load import Load
from tests.serving.servers import free_port

FLAGS = flags.FLAGS
flags.DEFINE_string("peer_python", None, "A Python that has the peer.")
flags.DEFINE_float("seconds", 8, "Of one measurement.")
flags.DEFINE_integer("repeats", 3, "Turns of each side.")
flags.DEFINE_list("clients", ["1", "8", "32"], "Numbers of clients.")
flags.DEFINE_list("ours", [], "More flags for `tfdl serve`, with commas.")
flags.DEFINE_integer("texts", 128, "Different texts.")

# Name -> LitServe's max_batch_size, workers and threads of each, on two cores.
PEERS = {
    "litserve_batch_32": (32, 1, 2),
    "litserve_batch_8": (8, 1, 2),
    "litserve_no_batch_2_workers": (1, 2, 1),
}
flags.DEFINE_list("peers", list(PEERS), "Which configurations of the peer.")
ROOT = pathlib.Path(__file__).resolve().parent.parent


class Server:
    """A server in processes of its own."""

    def __init__(self, name: str, command: list[str], port: int, path: str, bodies):
        self.name = name
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        self.load = Load("127.0.0.1", port, path, bodies)
        self._wait()

    def _wait(self) -> None:
        for _ in range(180):
            if self._process.poll() is not None:
                break
            if not self.load.run(1, 0.01)["failures"]:
                return
            time.sleep(1)
        self._log.seek(0)
        raise RuntimeError(f"{self.name}: {self._log.read().decode()[-2000:]}")

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """Returns the processor time that the processes have used so far."""
        ticks = 0
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                found = (folder / "stat").read_text().rsplit(") ", 1)[1].split()
            except OSError:
                continue
            if int(found[3]) == self._process.pid:
                ticks += int(found[11]) + int(found[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def measure(self, clients: int, seconds: float) -> dict:
        """Runs the load once."""
        self.load.run(clients, 1.0)
        before = self.cpu_seconds()
        found = self.load.run(clients, seconds)
        used = self.cpu_seconds() - before
        found["cpu_ms"] = round(1e3 * used / max(found["requests"], 1), 2)
        return found

    def close(self) -> None:
        """Ends the processes of this server."""
        os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        # Workers may outlive the process that started them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def texts(count: int) -> list[str]:
    """Returns made-up texts with the lengths of MNLI's, 39 tokens on average."""
    from benchmarks import bert

    random = np.random.default_rng(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [a + b for a in letters for b in letters]
    sizes = bert.lengths("mnli", count) - 2
    return [" ".join(random.choice(words, size)) for size in sizes]


def save_models(folder: pathlib.Path) -> None:
    """Writes the same random weights as our export and as transformers' checkpoint."""
    from benchmarks import bert
    from tfdl import export
    from tfdl.models.bert import convert

    bert._save(folder / "model")
    convert.to_original(folder / "model", folder / "theirs")
    flags_ = [f"--model_dir={folder / 'model'}", f"--output={folder / 'export'}"]
    if export.main(["export", *flags_]):
        raise RuntimeError("the export failed")


def start(folder: pathlib.Path, rows: list[str], servers: list[Server]) -> None:
    """Starts all servers, one after the other."""
    port = free_port()
    command = [sys.executable, "-m", "tfdl.serve", f"--rest_api_port={port}"]
    command += ["--port=0", "--model_name=bert", "--enable_batching"]
    command += [f"--model_base_path={folder / 'export'}", *FLAGS.ours]
    bodies = [json.dumps({"instances": [row]}).encode() for row in rows]
    path = "/v1/models/bert:predict"
    servers.append(Server("ours", command, port, path, bodies))
    script = pathlib.Path(__file__).with_name("serving_peer.py")
    bodies = [json.dumps({"text": row}).encode() for row in rows]
    for name in FLAGS.peers:
        port = free_port()
        values = map(str, (folder / "theirs", port, *PEERS[name]))
        command = [FLAGS.peer_python, str(script), *values]
        servers.append(Server(name, command, port, "/predict", bodies))


def compare_answers(servers: list[Server], count: int) -> float:
    """Returns the largest difference of a probability between ours and a peer's."""
    answers = []
    for server in servers:
        found = {}

        def keep(i, answer, found=found):
            row = answer["predictions"][0] if "predictions" in answer else answer
            found[i] = row["probabilities"]

        server.load._check = keep
        server.load.once(16)
        if server.load.failures:
            raise RuntimeError(f"{server.name}: {server.load.failures[:3]}")
        server.load._check = None
        answers.append(np.array([found[i] for i in range(count)]))
    return max(float(np.abs(answers[0] - other).max()) for other in answers[1:])


def main(argv: list[str]) -> None:
    """Measures and prints."""
    del argv
    if not FLAGS.peer_python:
        raise app.UsageError("--peer_python is needed")
    # Ended from outside, the servers have to end as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows = texts(FLAGS.texts)
    with tempfile.TemporaryDirectory() as name:
        save_models(pathlib.Path(name))
        servers = []
        try:
            start(pathlib.Path(name), rows, servers)
            difference = compare_answers(servers, len(rows))
            print(json.dumps({"texts": len(rows), "largest_difference": difference}))
            for clients in map(int, FLAGS.clients):
                print(json.dumps(_in_turns(servers, clients)), flush=True)
        finally:
            for server in servers:
                server.close()


def _in_turns(servers: list[Server], clients: int) -> dict:
    runs: dict[str, list[dict]] = {server.name: [] for server in servers}
    for _ in range(FLAGS.repeats):
        for server in servers:
            runs[server.name].append(server.measure(clients, FLAGS.seconds))
    medians = {
        name: {key: float(np.median([run[key] for run in found])) for key in found[0]}
        for name, found in runs.items()
    }
    ours = medians["ours"]
    ratios = {
        name: {
            "per_second": round(ours["per_second"] / theirs["per_second"], 2),
            "p99": round(theirs["p99_ms"] / ours["p99_ms"], 2),
            "cpu": round(theirs["cpu_ms"] / ours["cpu_ms"], 2),
        }
        for name, theirs in medians.items()
        if name != "ours"
    }
    return {"clients": clients, "medians": medians, "ours_better_by": ratios}


if __name__ == "__main__":
    app.run(main)
