"""gRPC over TLS and over UNIX sockets, and the end under load."""

import json
import shutil
import signal
import subprocess
import sys
import threading

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.helpers import ROOT
from tests.serving import servers
from tfdl import serve
from tfdl.engine import errors
from tfdl.serving import configure

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="makes certificates with openssl"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("m")
    servers.export(folder, 1, signatures=("serving_default", "slow"))
    return folder


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    """Returns (key, certificate) of localhost, signed by itself, as PEM texts."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        "-keyout key -out cert -days 2 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return (folder / "key").read_text(), (folder / "cert").read_text()


@pytest.fixture
def options():
    """Returns a function from flags to the server's options."""

    def made(*arguments):
        for name in serve.FLAGS:
            serve.FLAGS[name].unparse()
        serve.FLAGS.unparse_flags()
        serve.FLAGS(["serve", *arguments])
        return configure.options(serve.FLAGS)

    return made


def ssl_config(path, **fields):
    """Writes an SSLConfig as text; returns the flag that names it."""
    # JSON's strings and booleans are those of the text format.
    lines = [f"{name}: {json.dumps(value)}" for name, value in fields.items()]
    path.write_text("\n".join(lines))
    return f"--ssl_config_file={path}"


def ask(channel, seconds=10):
    """Returns what the model `m` makes of 3."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([3.0]))
    found = stub.Predict(request, timeout=seconds, wait_for_ready=False)
    return list(found.outputs["y"].float_val)


@needs_openssl
def test_tls(base, pems, options, tmp_path):
    key, cert = pems
    flag = ssl_config(tmp_path / "ssl", server_key=key, server_cert=cert)
    found = options(flag)
    with servers.running(servers.config("m", base), ssl=found.ssl) as client:
        address = f"localhost:{client.port}"
        trusting = grpc.ssl_channel_credentials(cert.encode())
        with grpc.secure_channel(address, trusting) as channel:
            assert ask(channel) == [1.5]
        for refused in (
            grpc.insecure_channel(address),
            grpc.secure_channel(address, grpc.ssl_channel_credentials()),
        ):
            with refused, pytest.raises(grpc.RpcError) as caught:
                ask(refused)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@needs_openssl
def test_tls_asks_for_the_clients_certificate(base, pems, options, tmp_path):
    key, cert = pems
    fields = {"server_key": key, "server_cert": cert, "custom_ca": cert}
    flag = ssl_config(tmp_path / "ssl", **fields, client_verify=True)
    with servers.running(servers.config("m", base), ssl=options(flag).ssl) as client:
        address, root = f"localhost:{client.port}", cert.encode()
        known = grpc.ssl_channel_credentials(root, key.encode(), root)
        with grpc.secure_channel(address, known) as channel:
            assert ask(channel) == [1.5]
        unknown = grpc.ssl_channel_credentials(root)
        with grpc.secure_channel(address, unknown) as channel:
            with pytest.raises(grpc.RpcError):
                ask(channel)


@needs_openssl
def test_wrong_keys(pems, options, tmp_path):
    key, cert = pems
    path = tmp_path / "ssl"
    whole = {"server_key": key, "server_cert": cert}
    for wrong, told in (
        ({"server_key": "no key"}, "ssl: server_key, server_cert and custom_ca"),
        ({"server_cert": "none"}, "have to be PEM texts"),
        ({"custom_ca": "none", "client_verify": True}, "have to be PEM texts"),
        ({"client_verify": True}, "client_verify is set without custom_ca"),
    ):
        with pytest.raises(errors.UserError, match=told):
            options(ssl_config(path, **{**whole, **wrong}))


def test_unix_socket(base, tmp_path, monkeypatch):
    # A socket's path has at most 107 characters: the folder's own may be longer.
    monkeypatch.chdir(tmp_path)
    path = "socket"
    config = servers.config("m", base)
    with servers.running(config, grpc_socket_path=path) as client:
        for address in (f"unix:{path}", f"127.0.0.1:{client.port}"):
            with grpc.insecure_channel(address) as channel:
                assert ask(channel) == [1.5]
    with pytest.raises(errors.UserError, match="cannot listen on unix:.*nowhere"):
        with servers.running(config, grpc_socket_path="nowhere/s"):
            pass


def test_sigterm_under_load(base):
    """Each request is answered, or refused before it is begun; none is broken off."""
    ports = {"port": servers.free_port(), "rest_api_port": servers.free_port()}
    command = [sys.executable, "-m", "tfdl.serve", "--enable_batching"]
    command += [f"--model_base_path={base}", "--model_name=m"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        for line in process.stdout:
            if line.strip() == "ready":
                break
        answers, ends = [0] * 8, [None] * 8

        def client(i):
            made = servers.Client(**ports)
            try:
                while True:
                    if i % 2:
                        body = {"signature_name": "slow", "instances": [40]}
                        assert made.post(":predict", body) == (
                            200,
                            {"predictions": [40]},
                        )
                    else:
                        assert made.predict({"x": [3.0]})["y"].tolist() == [1.5]
                    answers[i] += 1
            except Exception as error:
                ends[i] = error

        asking = [threading.Thread(target=client, args=(i,)) for i in range(8)]
        for one in asking:
            one.start()
        servers.wait_for(lambda: min(answers) >= 3)
        process.send_signal(signal.SIGTERM)
        for one in asking:
            one.join(60)
        assert process.wait(30) == 0
        for i, end in enumerate(ends):
            # A new connection or call is refused; no answer was cut in two.
            if i % 2:
                assert isinstance(end, ConnectionRefusedError), repr(end)
            else:
                assert end.code() == grpc.StatusCode.UNAVAILABLE, end
    finally:
        process.kill()
        process.wait()
