"""`tfdl serve` as its user starts and stops it."""

import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.helpers import ROOT
from tests.serving import servers
from tfdl import serve
from tfdl.engine import errors
from tfdl.serving import configure


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("m")
    servers.export(folder, 1, signatures=("serving_default", "slow"))
    return folder


@pytest.fixture(autouse=True)
def fresh_flags(monkeypatch):
    """Takes back what an earlier command line has set."""
    # What the verb sets itself goes away after the test.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_ENABLE_ONEDNN_OPTS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name in serve.FLAGS:
        serve.FLAGS[name].unparse()
    serve.FLAGS.unparse_flags()


def parsed(*arguments):
    """Returns the verb's flags as a command line sets them."""
    serve.FLAGS(["serve", *arguments])
    return serve.FLAGS


class TestFlags:
    def test_batching(self, tmp_path):
        assert configure.options(parsed("--model_base_path=x")).batching is None
        file = tmp_path / "batching.txt"
        file.write_text(
            "max_batch_size { value: 16 } batch_timeout_micros { value: 100 }\n"
            "num_batch_threads { value: 3 } max_enqueued_batches { value: 7 }\n"
            "allowed_batch_sizes: 4 allowed_batch_sizes: 16\n"
            "pad_variable_length_inputs: true thread_pool_name { value: 'x' }"
        )
        arguments = ["--enable_batching", f"--batching_parameters_file={file}"]
        found = configure.options(parsed(*arguments, "--num_batch_threads=5")).batching
        assert (found.max_batch_size, found.batch_timeout_micros) == (16, 100)
        assert (found.num_batch_threads, found.max_enqueued_batches) == (5, 7)
        assert found.allowed_batch_sizes == (4, 16)
        assert found.pad_variable_length_inputs

    def test_monitoring(self, tmp_path):
        assert configure.options(parsed()).prometheus_path.startswith("/monitoring/")
        file = tmp_path / "monitoring.txt"
        for text, path in (
            ('prometheus_config { enable: true path: "/m" }', "/m"),
            (
                "prometheus_config { enable: true }",
                "/monitoring/prometheus/metrics",
            ),
            ("prometheus_config { }", ""),
        ):
            file.write_text(text)
            found = configure.options(parsed(f"--monitoring_config_file={file}"))
            assert found.prometheus_path == path

    def test_models(self, tmp_path, base):
        file = tmp_path / "models.config"
        relative = os.path.relpath(base, tmp_path)
        file.write_text(
            f'model_config_list {{ config {{ name: "a" base_path: "{base}" '
            'model_platform: "tensorflow" } config { name: "b" '
            f'base_path: "{relative}" model_platform: "tensorflow" }} }}'
        )
        found = configure.models(parsed(f"--model_config_file={file}"))
        assert [(one.name, one.base_path) for one in found] == [
            ("a", str(base)),
            ("b", str(base)),
        ]

    @pytest.mark.parametrize(
        "text, told",
        [
            ("model_config_list {", "is not a text-format ModelServerConfig"),
            ("nonsense: 3", "is not a text-format ModelServerConfig: 1:1"),
            ("custom_model_config { }", "has no model_config_list"),
            (
                'model_config_list { config { name: "a" base_path: "/a" } }',
                "the platform has to be 'tensorflow', got ''",
            ),
            (
                'model_config_list { config { name: "a" base_path: "/nowhere" '
                'model_platform: "tensorflow" } }',
                "model a: there is no folder /nowhere",
            ),
        ],
    )
    def test_wrong_config_file(self, tmp_path, text, told):
        file = tmp_path / "models.config"
        file.write_text(text)
        with pytest.raises(errors.UserError, match=told):
            configure.models(parsed(f"--model_config_file={file}"))


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([], "--model_base_path is needed"),
        (["--model_base_path=/nowhere"], "there is no folder /nowhere"),
        (["--model_config_file=/nowhere"], "/nowhere: no such file"),
        (["--model_base_path=BASE", "--max_batch_size=4"], "without --enable_batching"),
        (
            ["--model_base_path=BASE", "--enable_batching", "--max_batch_size=0"],
            "max_batch_size has to be at least 1, got 0",
        ),
        (["--model_base_path=BASE", "--port=0", "--rest_api_port=0"], "are both 0"),
        (["--model_base_path=BASE", "--rest_api_port=TAKEN"], "cannot listen on"),
        (["--model_base_path=BASE", "--port=TAKEN"], "cannot listen on"),
    ],
)
def test_one_line_of_error(base, capsys, arguments, told):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ports = [
            f"--{name}={servers.free_port()}" for name in ("port", "rest_api_port")
        ]
        arguments = [a.replace("BASE", str(base)) for a in arguments]
        arguments = [a.replace("TAKEN", port) for a in arguments]
        code = serve.main(["serve", *ports, *arguments])
    assert code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ") and told in lines[-1]


def test_help(capsys):
    assert serve.main(["serve", "--help"]) == 0
    text = capsys.readouterr().out
    for flag in ("rest_api_port [8501]", "model_config_file", "enable_batching"):
        assert f"--{flag}" in text


def test_sigterm_drains(base):
    """Requests under way are answered, later ones refused, and the end is 0."""
    ports = {"port": servers.free_port(), "rest_api_port": servers.free_port()}
    command = [sys.executable, "-m", "tfdl.serve", f"--model_base_path={base}"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        shown = []
        for line in process.stdout:
            shown.append(line.strip())
            if shown[-1] == "ready":
                break
        assert shown[0] == "model default: version 1"
        client = servers.Client(**ports)
        body = {"signature_name": "slow", "instances": [1]}
        assert client.post(":predict", body, model="default")[0] == 200
        answers = {}

        def by_rest():
            many = {**body, "instances": [1500]}
            answers["rest"] = client.post(":predict", many, model="default")

        def by_grpc():
            turns = {"turns": np.int32([1500])}
            answers["grpc"] = client.predict(turns, model="default", signature="slow")

        asking = [threading.Thread(target=one) for one in (by_rest, by_grpc)]
        for one in asking:
            one.start()
        threading.Event().wait(0.3)
        assert not answers
        process.send_signal(signal.SIGTERM)
        for one in asking:
            one.join(60)
        assert answers["rest"] == (200, {"predictions": [1500]})
        assert answers["grpc"]["done"].tolist() == [1500]
        assert process.wait(30) == 0
        assert process.stderr.read().splitlines()[-1].startswith("stopping")
    finally:
        process.kill()
        process.wait()
