"""The verb export: what it writes into a version and beside it."""

import json
import re
import resource

import numpy as np
import pytest
import tensorflow as tf
import yaml
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from tests.models.bert.tiny import save
from tfdl import export as export_verb
from tfdl.engine import errors, exports
from tfdl.hub import documentation
from tfdl.serving import configuration, description, saved_model, warmup

FLAG = re.compile(r"--(\w+)=(\S+)")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert") / "m"
    save(folder, "classification", head_config={"labels": ["bad", "good"]})
    (folder / "evaluation.json").write_text('{"accuracy": 0.75, "loss": 0.5}')
    return folder


@pytest.fixture(scope="module")
def base(model):
    base = model.parent / "My_bert.v1"
    assert export(model, base) == 0
    return base


def export(model, base):
    return export_verb.main(["export", f"--model_dir={model}", f"--output={base}"])


def test_only_the_version_and_its_files(base):
    assert {path.name for path in base.iterdir()} == {"1", *configuration.TEMPLATES}
    extra = {path.name for path in (base / "1" / "assets.extra").iterdir()}
    assert extra == {"tf_serving_warmup_requests", "tfdl.json"}


def test_warm_up_records(base):
    path = base / "1" / "assets.extra" / "tf_serving_warmup_requests"
    asked = set()
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "My_bert.v1"
        asked.add(request.model_spec.signature_name)
        if request.model_spec.signature_name != "ids":
            assert tf.make_ndarray(request.inputs["text"]).dtype == object
    assert asked == {"serving_default", "pair", "ids"}


def test_root_is_reusable(base, model):
    loaded = tf.saved_model.load(str(base / "1"))
    text = tf.constant(["the quick brown fox", ""])
    logits = loaded.signatures["serving_default"](text=text)["logits"]
    np.testing.assert_allclose(loaded(text), logits, rtol=1e-5, atol=1e-6)
    assert {v.ref() for v in loaded.trainable_variables} < {
        v.ref() for v in loaded.variables
    }
    assert list(loaded.regularization_losses) == []
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded(text, training=True) ** 2)
    grads = tape.gradient(loss, loaded.trainable_variables)
    assert grads and all(grad is not None for grad in grads)


def test_description(base):
    found = description.read(base / "1")
    assert found.model == "bert" and found.card.task == "text-classification"
    assert found.metrics == {"accuracy": 0.75, "loss": 0.5}


def test_configuration_is_what_tf_serving_reads(base):
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((base / "models.config").read_text(), config)
    (entry,) = config.model_config_list.config
    assert (entry.name, entry.base_path) == ("My_bert.v1", "/models/My_bert.v1")
    assert entry.model_version_policy.latest.num_versions == 1

    compose = yaml.safe_load((base / "docker-compose.yml").read_text())
    (service,) = compose["services"].values()
    assert service["volumes"] == [".:/models/My_bert.v1:ro"]
    claim, deployment, kubernetes_service = yaml.safe_load_all(
        (base / "kubernetes.yaml").read_text()
    )
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert service["command"] == container["args"]
    flags = dict(FLAG.fullmatch(flag).groups() for flag in container["args"])
    for name, value in flags.items():
        if name.endswith("_file"):
            folder, _, file = value.rpartition("/")
            assert folder == "/models/My_bert.v1" and (base / file).is_file()
    label = pod["metadata"]["labels"]["app"]
    assert re.fullmatch("[a-z]([a-z0-9-]*[a-z0-9])?", label)
    assert kubernetes_service["spec"]["selector"] == {"app": label}
    volume = pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert volume == claim["metadata"]["name"]
    for path in configuration.TEMPLATES:
        assert "@" not in (base / path).read_text()


def test_edited_files_stay(tmp_path):
    base = tmp_path / "bert"
    base.mkdir()
    assert configuration.write(base, 10) == []
    config = base / "models.config"
    edited = config.read_text().replace("num_versions: 1", "num_versions: 2")
    config.write_text(edited)
    (base / "monitoring.config").write_bytes(b"\xff")
    (base / "kubernetes.yaml").unlink()
    # A larger model asks for more memory; only files nobody touched may follow.
    assert configuration.write(base, 5 << 30) == ["models.config", "monitoring.config"]
    assert config.read_text() == edited
    assert "memory: 16Gi" in (base / "kubernetes.yaml").read_text()
    assert configuration.write(base, 10) == ["models.config", "monitoring.config"]
    assert "memory: 4Gi" in (base / "kubernetes.yaml").read_text()


@pytest.mark.parametrize("name", ["a b", "-x", "x" * 65, "$HOME", "é"])
def test_names_that_no_url_takes(model, tmp_path, capsys, name):
    assert export(model, tmp_path / name) == 1
    assert "name in URLs" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_nothing_appears_when_a_step_fails(tmp_path):
    module = tf.Module()
    signature = tf.function(lambda x: {"y": x}).get_concrete_function(
        x=tf.TensorSpec([None], tf.float32, name="x")
    )

    def complete(folder):
        assert (folder / "saved_model.pb").is_file()
        raise errors.UserError("no")

    with pytest.raises(errors.UserError, match="no"):
        saved_model.save(tmp_path / "m", module, {"s": signature}, complete)
    assert list((tmp_path / "m").iterdir()) == []


def test_a_full_disk(tmp_path):
    """Nothing is left behind, and the reason is named."""
    module = tf.Module()
    module.weight = tf.Variable(tf.zeros([300, 300]))
    signature = tf.function(lambda x: {"y": x * module.weight[0, 0]})
    signature = signature.get_concrete_function(x=tf.TensorSpec([None], name="x"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on files stops the write in the midst, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(errors.UserError) as caught:
            saved_model.save(tmp_path / "m", module, {"s": signature})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == f"cannot write to {tmp_path / 'm'}: File too large"
    assert list((tmp_path / "m").iterdir()) == []
    saved_model.save(tmp_path / "m", module, {"s": signature})
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"z": [1.0]}, r"has \['z'\], the signature takes \['x'\]"),
        ({"x": [[1.0]]}, "x has shape"),
        (None, "no warm-up request"),
    ],
)
def test_warm_ups_fit_their_signature(tmp_path, inputs, told):
    signature = tf.function(lambda x: {"y": x}).get_concrete_function(
        x=tf.TensorSpec([None], tf.float32, name="x")
    )
    requests = [exports.WarmUp(inputs)] if inputs else []
    with pytest.raises(ValueError, match=told):
        warmup.write(tmp_path, "m", requests, {"serving_default": signature})


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d["card"].pop("task"),
        lambda d: d["card"].update(usage=3),
        lambda d: d["card"].update(inputs={"x": 1}),
        lambda d: d["card"].update(more="x"),
        lambda d: d.update(metrics={"accuracy": [1]}),
        lambda d: d.update(format=2),
        lambda d: d.update(card=None),
    ],
)
def test_damaged_description(base, tmp_path, damage):
    content = json.loads((base / "1" / description.NAME).read_text())
    damage(content)
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / description.NAME).write_text(json.dumps(content))
    with pytest.raises(errors.UserError, match=r"tfdl\.json"):
        description.read(tmp_path)


def test_metrics_of_all_sorts(tmp_path):
    found = {"fid": 3.5, "extractor": "inception", "images": 10, "curve": [1, 2]}
    (tmp_path / "evaluation.json").write_text(json.dumps({**found, "log": "x" * 999}))
    del found["curve"]
    assert description.metrics(tmp_path) == found
    text = documentation._metrics({**found, "extractor": "a|b\nc"})
    assert "| fid | 3.5 |" in text and "| extractor | a\\|b c |" in text


def test_damaged_evaluation(tmp_path):
    (tmp_path / "evaluation.json").write_text("[1, 2]")
    with pytest.raises(errors.UserError, match="no JSON object"):
        description.metrics(tmp_path)
