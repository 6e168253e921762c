"""gRPC with the official client library."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from tests.serving import servers


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    base = tmp_path_factory.mktemp("m")
    servers.export(base, 3)
    with servers.running(servers.config("m", base), max_request_bytes=1 << 20) as made:
        yield made


def example(**features):
    made = tf.train.Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def spec(message, signature="", model="m", version=None):
    """Names the model in a request; returns the request."""
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    return message


def fails(call, request, code, text):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    assert caught.value.code() is code
    assert text in caught.value.details()


INVALID = grpc.StatusCode.INVALID_ARGUMENT


class TestPredict:
    def request(self, signature="", **inputs):
        made = spec(predict_pb2.PredictRequest(), signature)
        for name, value in inputs.items():
            made.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return made

    def test_answers(self, client):
        request = self.request(x=[1.0, 2.0, -5.0])
        response = client.prediction.Predict(request, timeout=30)
        # Clients read the typed list by name.
        assert list(response.outputs["y"].float_val) == [0.5, 1.0, -2.5]
        assert response.model_spec.name == "m"
        assert response.model_spec.version.value == 3
        assert response.model_spec.signature_name == "serving_default"

    def test_types_and_shapes(self, client):
        value = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
        found = client.predict({"x": value}, signature="matrix")["y"]
        np.testing.assert_array_equal(found, value / 2)
        found = client.predict({"image_bytes": [b"\x00\xff", b""]}, signature="picture")
        assert found["copy_bytes"].tolist() == [b"\x00\xff", b""]
        assert found["size"].tolist() == [2, 0]
        assert client.predict({"x": np.zeros(0, np.float32)})["y"].shape == (0,)

    def test_output_filter(self, client):
        request = self.request("two", a=[1.0], b=[1.0])
        request.output_filter.append("sum")
        response = client.prediction.Predict(request, timeout=30)
        assert list(response.outputs) == ["sum"]
        request.output_filter.append("sum")
        fails(client.prediction.Predict, request, INVALID, "duplicate output tensor")
        request.output_filter[:] = ["no"]
        fails(client.prediction.Predict, request, INVALID, "not found in signature: no")

    def test_errors(self, client):
        call = client.prediction.Predict
        fails(call, predict_pb2.PredictRequest(), INVALID, "Missing ModelSpec")
        request = self.request(x=[1.0])
        request.model_spec.name = ""
        fails(call, request, INVALID, "ModelSpec has no name specified.")
        missing = grpc.StatusCode.NOT_FOUND
        request.model_spec.name = "../m"
        fails(call, request, missing, "Servable not found for request: Latest(../m)")
        request.model_spec.name = "m"
        request.model_spec.version.value = 9
        fails(call, request, missing, "Servable not found for request: Specific(m, 9)")
        request.model_spec.version_label = "stable"
        fails(call, request, INVALID, "Unrecognized servable version label: stable")
        request = self.request("no", x=[1.0])
        code = grpc.StatusCode.FAILED_PRECONDITION
        fails(call, request, code, 'Serving signature key "no" not found.')
        text = "len({z}) != len({x}). Sent extra: {z}. Missing but required: {x}."
        fails(call, self.request(z=[1.0]), INVALID, text)
        text = 'input "x" to be float[?] but string[1] is provided'
        fails(call, self.request(x=["a"]), INVALID, text)
        text = 'input "x" to be float[?,2,2] but float[2] is provided'
        fails(call, self.request("matrix", x=[1.0, 2.0]), INVALID, text)
        fails(call, self.request("strict", x=[-1.0]), INVALID, "assertion failed")

    @pytest.mark.parametrize(
        "change",
        [
            lambda tensor: tensor.tensor_shape.dim.add(size=1 << 40),
            lambda tensor: tensor.tensor_shape.dim.add(size=-1),
            lambda tensor: tensor.tensor_shape.dim.add(size=7),
            lambda tensor: setattr(tensor, "dtype", 99),
            lambda tensor: setattr(tensor, "dtype", 0),
            lambda tensor: setattr(tensor.tensor_shape, "unknown_rank", True),
            lambda tensor: setattr(tensor, "tensor_content", b"abc"),
        ],
    )
    def test_tensors_that_are_none(self, client, change):
        request = self.request(x=[1.0, 2.0])
        change(request.inputs["x"])
        with pytest.raises(grpc.RpcError) as caught:
            client.prediction.Predict(request, timeout=30)
        assert caught.value.code() is INVALID, caught.value
        assert client.predict({"x": [2.0]})["y"].tolist() == [1.0]

    def test_deadline(self, client):
        request = self.request("slow", turns=np.int32([300]))
        with pytest.raises(grpc.RpcError) as caught:
            client.prediction.Predict(request, timeout=0.02)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert client.predict({"x": [2.0]})["y"].tolist() == [1.0]


class TestExamples:
    def test_classify(self, client):
        request = spec(classification_pb2.ClassificationRequest(), "classify")
        request.input.example_list.examples.append(example(x=3.0))
        result = client.prediction.Classify(request, timeout=30).result
        found = [(one.label, one.score) for one in result.classifications[0].classes]
        assert found == [("low", -1.5), ("high", 1.5)]
        request.model_spec.signature_name = "regress"
        text = 'contain at least one of "classes" or "scores"'
        fails(client.prediction.Classify, request, INVALID, text)

    def test_regress(self, client):
        request = spec(regression_pb2.RegressionRequest(), "regress")
        held = request.input.example_list_with_context
        held.context.CopyFrom(example(x=4.0))
        held.examples.append(tf.train.Example())
        response = client.prediction.Regress(request, timeout=30)
        assert [one.value for one in response.result.regressions] == [2.0]
        request.ClearField("input")
        fails(client.prediction.Regress, request, INVALID, "Input is empty.")

    def test_multi_inference(self, client):
        request = inference_pb2.MultiInferenceRequest()
        request.input.example_list.examples.append(example(x=3.0))
        for name in ("classify", "regress"):
            task = spec(request.tasks.add(), name)
            task.method_name = f"tensorflow/serving/{name}"
        results = client.prediction.MultiInference(request, timeout=30).results
        assert (
            results[0].classification_result.classifications[0].classes[1].score == 1.5
        )
        assert results[1].regression_result.regressions[0].value == 1.5
        assert results[1].model_spec.signature_name == "regress"
        call = client.prediction.MultiInference
        request.tasks[1].model_spec.signature_name = "classify"
        fails(call, request, INVALID, "Duplicate evaluation of signature: classify")
        request.tasks[1].model_spec.name = "other"
        fails(call, request, INVALID, "must access the same model name.")
        request.tasks[1].CopyFrom(spec(inference_pb2.InferenceTask(), "regress"))
        request.tasks[1].method_name = "tensorflow/serving/predict"
        text = "Unsupported signature method_name: tensorflow/serving/predict"
        fails(call, request, grpc.StatusCode.UNIMPLEMENTED, text)
        fails(call, inference_pb2.MultiInferenceRequest(), INVALID, "at least one task")


class TestModels:
    def test_metadata(self, client):
        request = spec(get_model_metadata_pb2.GetModelMetadataRequest())
        call = client.prediction.GetModelMetadata
        fails(call, request, INVALID, "must specify at least one metadata_field")
        request.metadata_field.append("signature_def")
        response = call(request, timeout=30)
        assert response.model_spec.version.value == 3
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert response.metadata["signature_def"].Unpack(signatures)
        outputs = signatures.signature_def["serving_default"].outputs
        assert outputs["y"].dtype == tf.float32.as_datatype_enum
        request.metadata_field.append("weights")
        fails(call, request, INVALID, "Metadata field weights is not supported")

    def test_status(self, client):
        request = spec(get_model_status_pb2.GetModelStatusRequest())
        (found,) = client.models.GetModelStatus(
            request, timeout=30
        ).model_version_status
        assert (found.version, found.status.error_code) == (3, 0)
        assert found.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
        request.model_spec.version.value = 4
        code = grpc.StatusCode.NOT_FOUND
        text = "Could not find version 4 of model m"
        fails(client.models.GetModelStatus, request, code, text)

    def test_health(self, client):
        check = health_pb2_grpc.HealthStub(client.channel).Check
        for service in ("", "PredictionService"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert check(request).status == health_pb2.HealthCheckResponse.SERVING
