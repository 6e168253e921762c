"""Versions come and go while requests are answered."""

import concurrent.futures
import pathlib
import shutil
import threading

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    model_management_pb2,
    predict_pb2,
    prediction_log_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from tests.serving import servers
from tfdl.engine import errors
from tfdl.serving import versions

LINE = ("serving_default", "slow")


def serves(client, *expected, model="m"):
    """Returns whether just these versions are available."""
    states = client.states(model)
    return {v for v, (state, _) in states.items() if state == "AVAILABLE"} == {
        *expected
    }


def test_swap_without_a_failed_request(tmp_path):
    servers.export(tmp_path, 1, scale=1, signatures=LINE)
    with servers.running(servers.config("m", tmp_path)) as client:
        stop, answers = threading.Event(), []

        def ask(call):
            while not stop.is_set():
                answers.append(call())

        def by_rest():
            return client.post(":predict", {"instances": [1.0]})[1]["predictions"][0]

        def by_grpc():
            return client.predict({"x": [1.0]})["y"][0]

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask, call) for call in (by_rest, by_grpc) * 2]
            for version in (2, 3):
                servers.export(tmp_path, version, scale=version, signatures=LINE)
                servers.wait_for(lambda v=version: serves(client, v))
            stop.set()
            for future in asking:
                future.result()
        assert set(answers) == {1.0, 2.0, 3.0}
        assert len(answers) > 20
        assert client.states()[1] == ("END", "OK")


def test_old_version_drains(tmp_path):
    servers.export(tmp_path, 1, scale=1, signatures=LINE)
    with (
        servers.running(servers.config("m", tmp_path)) as client,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        client.predict({"turns": [1]}, signature="slow")
        under_way = pool.submit(client.predict, {"turns": [2000]}, signature="slow")
        servers.export(tmp_path, 2, scale=2, signatures=LINE)
        servers.wait_for(lambda: serves(client, 2))
        assert client.predict({"x": [1.0]})["y"].tolist() == [2.0]
        assert client.states()[1][0] in ("UNLOADING", "END")
        assert under_way.result(60)["done"].tolist() == [2000]
        servers.wait_for(lambda: client.states()[1][0] == "END")
        found = client.post("/versions/1:predict", {"instances": [1]})
        assert found[0] == 404


class TestCorrupt:
    @pytest.mark.parametrize("damage", ["no graph", "garbage", "variables", "warm-up"])
    def test_old_version_goes_on(self, tmp_path, damage):
        servers.export(tmp_path, 1, scale=1, signatures=LINE)
        with servers.running(servers.config("m", tmp_path)) as client:
            spare = tmp_path / "spare"
            made = servers.export(spare, 7, signatures=LINE)
            if damage == "no graph":
                (made / "saved_model.pb").unlink()
            elif damage == "garbage":
                (made / "saved_model.pb").write_bytes(b"\xff" * 100)
            elif damage == "variables":
                (data,) = made.glob("variables/*.data*")
                data.write_bytes(data.read_bytes()[:1])
            else:
                write_warm_up(made, {"x": "text"})
            made = made.rename(tmp_path / "2")
            servers.wait_for(lambda: client.states().get(2, ("",))[0] == "END")
            assert client.states()[2][1] not in ("OK", "INTERNAL")
            assert serves(client, 1)
            assert client.post(":predict", {"instances": [1]})[0] == 200
            # What is mended, or arrives in pieces, is taken up by itself.
            if damage == "warm-up":
                shutil.rmtree(made / "assets.extra")
            else:
                whole = servers.export(spare, 8, scale=8, signatures=LINE)
                shutil.copytree(whole, made, dirs_exist_ok=True)
            servers.wait_for(lambda: serves(client, 2))
            assert client.states()[2] == ("AVAILABLE", "OK")
            expected = 0.5 if damage == "warm-up" else 8.0
            assert client.predict({"x": [1.0]})["y"].tolist() == [expected]

    def test_at_the_start(self, tmp_path):
        (tmp_path / "1").mkdir()
        with pytest.raises(
            errors.UserError, match="name: m version: 1.*Could not find SavedModel"
        ):
            with servers.running(servers.config("m", tmp_path)):
                pass

    def test_retries_end(self, tmp_path):
        servers.export(tmp_path, 1, signatures=LINE)
        retries = {"max_num_load_retries": 2, "load_retry_interval_micros": 1000}
        with servers.running(servers.config("m", tmp_path), models=retries) as client:
            (tmp_path / "2").mkdir()
            name = (
                f'load_attempt_count{{model_path="{tmp_path}/2",status="not_found"}} '
            )

            def attempts():
                page = client.http("GET", "/monitoring/prometheus/metrics")[1]
                lines = [line for line in page.splitlines() if name in line]
                return int(lines[0].rsplit(" ", 1)[1]) if lines else 0

            servers.wait_for(lambda: attempts() == 3)
            rounds = threading.Event()
            assert not rounds.wait(0.5)
            assert attempts() == 3


def write_warm_up(folder, inputs):
    """Gives a SavedModel a warm-up request."""
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "m"
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    extra = folder / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


def test_warm_up(tmp_path):
    write_warm_up(servers.export(tmp_path, 1, signatures=LINE), {"x": [1.0]})
    with servers.running(servers.config("m", tmp_path)) as client:
        page = client.http("GET", "/monitoring/prometheus/metrics")[1]
        assert (
            f'warmup_latency_count{{model_path="{tmp_path}/1",status="OK"}} 1' in page
        )
        runs = 'runtime_latency_count{model_name="m",API="Predict",runtime="TF2"} 1'
        assert runs in page


class TestPolicies:
    def wanted(self, text, found=(1, 2, 3)):
        config = text_format.Parse(text, versions.ModelConfig())
        return versions.wanted(config, {v: pathlib.Path(str(v)) for v in found})

    def test_policies(self):
        assert self.wanted("") == {3}
        assert self.wanted("model_version_policy { latest { } }") == {3}
        two = "model_version_policy { latest { num_versions: 2 } }"
        assert self.wanted(two) == {2, 3}
        assert self.wanted("model_version_policy { all { } }") == {1, 2, 3}
        some = "model_version_policy { specific { versions: 1 versions: 9 } }"
        assert self.wanted(some) == {1}

    def test_on_disk(self, tmp_path):
        for name in ("1", "07", "7x", "-2", ".3", "tmp", "９", "9" * 30):
            (tmp_path / name).mkdir()
        (tmp_path / "5").write_text("no folder")
        assert versions.on_disk(tmp_path) == {1: tmp_path / "1", 7: tmp_path / "07"}

    def test_all_and_removed(self, tmp_path):
        for version in (1, 2):
            servers.export(tmp_path, version, version, signatures=LINE)
        config = servers.config("m", tmp_path)
        config.model_version_policy.all.SetInParent()
        with servers.running(config) as client:
            assert serves(client, 1, 2)
            assert client.predict({"x": [1.0]}, version=1)["y"].tolist() == [1.0]
            assert client.predict({"x": [1.0]})["y"].tolist() == [2.0]
            shutil.rmtree(tmp_path / "2")
            servers.wait_for(lambda: serves(client, 1))
            # A folder that is away is no order to stop.
            away = tmp_path.with_name("away")
            tmp_path.rename(away)
            assert not threading.Event().wait(0.4)
            assert client.predict({"x": [1.0]})["y"].tolist() == [1.0]
            away.rename(tmp_path)
            shutil.rmtree(tmp_path / "1")
            servers.wait_for(lambda: serves(client))
            assert client.post(":predict", {"instances": [1]})[0] == 404

    def test_no_version_yet(self, tmp_path):
        with servers.running(servers.config("m", tmp_path)) as client:
            check = health_pb2_grpc.HealthStub(client.channel).Check
            states = health_pb2.HealthCheckResponse
            request = health_pb2.HealthCheckRequest()
            assert check(request).status == states.NOT_SERVING
            assert client.post(":predict", {"instances": [1]})[0] == 404
            servers.export(tmp_path, 1, signatures=LINE)
            servers.wait_for(lambda: check(request).status == states.SERVING)
            assert client.post(":predict", {"instances": [1]})[0] == 200


class TestReload:
    def request(self, *configs):
        made = model_management_pb2.ReloadConfigRequest()
        made.config.model_config_list.config.extend(configs)
        return made

    def refuses(self, client, request, text):
        with pytest.raises(grpc.RpcError) as caught:
            client.models.HandleReloadConfigRequest(request, timeout=60)
        assert text in caught.value.details()

    def test_models_and_labels(self, tmp_path):
        for name, scale in (("a", 1), ("b", 2)):
            (tmp_path / name).mkdir()
            for version in (1, 2):
                scaled = scale * 10 + version
                servers.export(tmp_path / name, version, scaled, signatures=LINE)
        a = servers.config("a", tmp_path / "a")
        a.model_version_policy.specific.versions.extend([1, 2])
        b = servers.config("b", tmp_path / "b")
        with servers.running(a) as client:
            a.version_labels["stable"] = 1
            request = self.request(a, b)
            loads = "/tensorflow/cc/saved_model/load_attempt_count"
            request.metric_names.append(loads)
            response = client.models.HandleReloadConfigRequest(request, timeout=60)
            assert response.status.error_code == 0
            assert response.metric[0].int64_value_increase == 1
            assert client.predict({"x": [1.0]}, model="b")["y"].tolist() == [22.0]
            body = {"instances": [1]}
            found = client.post("/labels/stable:predict", body, model="a")
            assert found == (200, {"predictions": [11.0]})
            asked = predict_pb2.PredictRequest()
            asked.model_spec.name, asked.model_spec.version_label = "a", "stable"
            asked.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0]))
            answer = client.prediction.Predict(asked, timeout=30)
            assert answer.outputs["y"].float_val == [22.0]

            bad = servers.config("a", tmp_path / "a", version_labels={"canary": 9})
            text = "label to version 9 of model a, which is not currently available"
            self.refuses(client, self.request(bad), text)
            self.refuses(client, self.request(a, a), "multiple times in config list")
            text = "to have an absolute path or URI; got base_path()=a"
            self.refuses(client, self.request(servers.config("a", "a")), text)
            empty = model_management_pb2.ReloadConfigRequest()
            self.refuses(client, empty, "Only ModelConfigList is currently supported")
            assert client.post(":predict", body, model="b")[0] == 200

            client.models.HandleReloadConfigRequest(self.request(b), timeout=60)
            servers.wait_for(lambda: serves(client, model="a"))
            assert client.post(":predict", body, model="a")[0] == 404
            assert client.post(":predict", body, model="b")[0] == 200

    def test_config_list_is_text(self):
        text = """model_config_list { config { name: "m" base_path: "/m"
            model_platform: "tensorflow" model_version_policy { latest {
            num_versions: 2 } } version_labels { key: "stable" value: 1 } } }"""
        parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        versions.check_configs(list(parsed.model_config_list.config))
