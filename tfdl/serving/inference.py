"""Predict, Classify, Regress and MultiInference on one loaded servable."""

import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from tfdl.serving import status, tensors
from tfdl.serving.metrics import Metrics
from tfdl.serving.servable import DEFAULT_SIGNATURE, Arrays, Servable, Signature
from tfdl.serving.status import Code, StatusError

CLASSIFY = tf.saved_model.CLASSIFY_METHOD_NAME
REGRESS = tf.saved_model.REGRESS_METHOD_NAME


class Inference:
    """Runs requests.

    Args:
        metrics: counts.
        max_tensor_bytes: of one tensor of a request at most.
        as_content: whether tensors of answers are packed bytes instead of lists.
    """

    def __init__(self, metrics: Metrics, max_tensor_bytes: int, as_content: bool):
        self._metrics = metrics
        self._max_tensor_bytes, self._as_content = max_tensor_bytes, as_content

    def run(self, servable: Servable, api: str, signature: Signature, inputs) -> Arrays:
        """Runs a signature and counts the time."""
        start = time.perf_counter()
        outputs = signature.run(inputs)
        self._metrics.runtime_latency.record(
            servable.name, api, "TF2", seconds=time.perf_counter() - start
        )
        return outputs

    def predict(
        self, servable: Servable, request: predict_pb2.PredictRequest
    ) -> predict_pb2.PredictResponse:
        """Runs any signature on named tensors."""
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = servable.signature(name)
        if signature is None:
            raise StatusError(
                Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        _check_names(signature, request.inputs)
        wanted = _filtered(signature, request.output_filter)
        inputs = {
            key: tensors.from_proto(key, value, self._max_tensor_bytes)
            for key, value in request.inputs.items()
        }
        outputs = self.run(servable, "Predict", signature, inputs)
        response = predict_pb2.PredictResponse()
        fill_spec(response.model_spec, servable, name)
        for key in wanted:
            tensors.to_proto(outputs[key], response.outputs[key], self._as_content)
        return response

    def classify(
        self, servable: Servable, request: classification_pb2.ClassificationRequest
    ) -> classification_pb2.ClassificationResponse:
        """Runs a signature on tf.Examples to classes with scores."""
        signature = _named(servable, request.model_spec.signature_name)
        response = classification_pb2.ClassificationResponse()
        response.result.CopyFrom(self._classified(servable, signature, request.input))
        fill_spec(response.model_spec, servable, signature.name)
        return response

    def regress(
        self, servable: Servable, request: regression_pb2.RegressionRequest
    ) -> regression_pb2.RegressionResponse:
        """Runs a signature on tf.Examples to one number each."""
        signature = _named(servable, request.model_spec.signature_name)
        response = regression_pb2.RegressionResponse()
        response.result.CopyFrom(self._regressed(servable, signature, request.input))
        fill_spec(response.model_spec, servable, signature.name)
        return response

    def multi_inference(
        self, servable: Servable, request: inference_pb2.MultiInferenceRequest
    ) -> inference_pb2.MultiInferenceResponse:
        """Runs several classify and regress signatures on the same tf.Examples."""
        response = inference_pb2.MultiInferenceResponse()
        seen = set()
        for task in request.tasks:
            name = task.model_spec.signature_name or DEFAULT_SIGNATURE
            if name in seen:
                raise status.invalid(f"Duplicate evaluation of signature: {name}")
            seen.add(name)
            self._infer(servable, name, task, request.input, response.results.add())
        return response

    def _infer(self, servable, name, task, given, result) -> None:
        signature = servable.signature(name)
        if signature is None:
            raise status.invalid(
                f"Requested signature not found in model graph: {name}"
            )
        if task.method_name == CLASSIFY:
            found = self._classified(servable, signature, given)
            result.classification_result.CopyFrom(found)
        elif task.method_name == REGRESS:
            found = self._regressed(servable, signature, given)
            result.regression_result.CopyFrom(found)
        else:
            raise StatusError(
                Code.UNIMPLEMENTED,
                f"Unsupported signature method_name: {task.method_name}",
            )
        fill_spec(result.model_spec, servable, name)

    def _classified(self, servable, signature, given):
        _check_inputs(signature, "classification", "Classification")
        if len(signature.outputs) not in (1, 2):
            raise status.invalid(
                f"Expected one or two output Tensors, found {len(signature.outputs)}"
            )
        if not {"classes", "scores"} & set(signature.outputs):
            raise status.invalid(
                "Expected classification signature outputs to contain at least one of "
                f'"classes" or "scores". Signature was: {list(signature.outputs)}'
            )
        outputs = self._run_examples(servable, "Classify", signature, given)
        return _classification(outputs, outputs.pop("examples"))

    def _regressed(self, servable, signature, given):
        _check_inputs(signature, "regression", "Regression")
        if len(signature.outputs) != 1:
            raise status.invalid("Expected one output Tensor.")
        if "outputs" not in signature.outputs:
            raise status.invalid("No regression outputs found in SignatureDef")
        outputs = self._run_examples(servable, "Regress", signature, given)
        return _regression(outputs["outputs"], outputs["examples"])

    def _run_examples(self, servable, api, signature, given: input_pb2.Input) -> dict:
        examples = _serialized(given)
        self._metrics.examples.add(servable.name, by=len(examples))
        column = np.empty(len(examples), object)
        column[:] = examples
        outputs = self.run(servable, api, signature, {"inputs": column})
        return {**outputs, "examples": len(examples)}


def _check_names(signature: Signature, given) -> None:
    """Checks that a request has the inputs of a signature, no more and no less."""
    sent, needed = set(given), set(signature.inputs)
    missing = needed - sent - set(signature.defaults)
    extra = sent - needed
    if missing or extra:
        raise status.invalid(
            f"input size does not match signature: {len(sent)}!={len(needed)} "
            f"len({{{_join(sent)}}}) != len({{{_join(needed)}}}). "
            f"Sent extra: {{{_join(extra)}}}. "
            f"Missing but required: {{{_join(missing)}}}."
        )


def _filtered(signature: Signature, wanted: Sequence[str]) -> list[str]:
    seen: list[str] = []
    for alias in wanted:
        if alias not in signature.outputs:
            raise status.invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected "
                f"to be in the set {{{_join(signature.outputs)}}}."
            )
        if alias in seen:
            raise status.invalid(f"duplicate output tensor alias: {alias}")
        seen.append(alias)
    return seen or list(signature.outputs)


def _check_inputs(signature: Signature, kind: str, title: str) -> None:
    if len(signature.inputs) != 1:
        raise status.invalid("Expected one input Tensor.")
    if "inputs" not in signature.inputs:
        raise status.invalid(
            f"No {kind} inputs found in SignatureDef {signature.name}: "
            f"{_join(signature.inputs)}"
        )


def _named(servable: Servable, name: str) -> Signature:
    signature = servable.signature(name)
    if signature is None:
        raise status.invalid(
            f"No signature was found with the name: {name or DEFAULT_SIGNATURE}"
        )
    return signature


def _serialized(given: input_pb2.Input) -> list[bytes]:
    """Returns the tf.Examples of a request as bytes, the context's features first."""
    kind = given.WhichOneof("kind")
    context, examples = b"", []
    if kind == "example_list":
        examples = given.example_list.examples
    elif kind == "example_list_with_context":
        context = given.example_list_with_context.context.SerializeToString()
        examples = given.example_list_with_context.examples
    if not examples:
        raise status.invalid("Input is empty.")
    return [context + example.SerializeToString() for example in examples]


def _classification(outputs: Arrays, examples: int):
    classes, scores = outputs.get("classes"), outputs.get("scores")
    for name, array, kind in (("classes", classes, "O"), ("scores", scores, "f")):
        if array is None:
            continue
        if array.ndim != 2:
            raise status.invalid(
                "Expected Tensor shape: [batch_size num_classes] but got "
                f"{list(array.shape)}"
            )
        if array.dtype.kind != kind:
            expected = "DT_STRING" if kind == "O" else "DT_FLOAT"
            raise status.invalid(
                f"Expected {name} Tensor of {expected}. Got: {array.dtype}"
            )
        if len(array) != examples:
            raise status.invalid(
                f"Expected {name} output batch size of {examples}. Got: {len(array)}"
            )
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise status.invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{classes.shape[1]} vs. {scores.shape[1]}"
        )
    result = classification_pb2.ClassificationResult()
    first = classes if classes is not None else scores
    for row in range(examples):
        added = result.classifications.add()
        for column in range(first.shape[1]):
            one = added.classes.add()
            if classes is not None:
                one.label = classes[row, column].decode("utf-8", "replace")
            if scores is not None:
                one.score = scores[row, column]
    return result


def _regression(values: np.ndarray, examples: int):
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] != 1):
        raise status.invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            f"but got {list(values.shape)}"
        )
    if len(values) != examples:
        raise status.invalid(
            "Input batch size did not match output batch size: "
            f"{examples} vs. {len(values)}"
        )
    if values.dtype != np.float32:
        raise status.invalid(
            f"Expected output Tensor of DT_FLOAT.  Got: {values.dtype}"
        )
    result = regression_pb2.RegressionResult()
    for value in values.reshape(-1):
        result.regressions.add(value=value)
    return result


def fill_spec(
    spec: model_pb2.ModelSpec, servable: Servable, signature: str = ""
) -> None:
    """Says in an answer what answered."""
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature


def _join(names) -> str:
    return ",".join(sorted(names))
