"""Warm-up requests, which a server answers before it says that a model is ready.

TensorFlow compiles and allocates on the first call. TF Serving makes that call itself
when a SavedModel has `assets.extra/tf_serving_warmup_requests`: a TFRecord file of
PredictionLog records, at most a thousand.
"""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tfdl.engine import exports, files
from tfdl.serving import saved_model

NAME = pathlib.PurePath("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000


def write(
    folder: pathlib.Path,
    model: str,
    requests: Sequence[exports.WarmUp],
    signatures: Mapping[str, Any],
) -> None:
    """Writes a SavedModel's warm-up requests.

    Args:
        folder: the SavedModel.
        model: the name that the model is served under.
        requests: what to ask.
        signatures: name -> concrete function, which the requests have to fit.

    Raises:
        ValueError: a request does not fit its signature, or a signature has none.
    """
    missing = set(signatures) - {request.signature for request in requests}
    if missing:
        raise ValueError(f"no warm-up request for {sorted(missing)}")
    if len(requests) > MAX_RECORDS:
        raise ValueError(f"{len(requests)} warm-up requests, at most {MAX_RECORDS}")
    (folder / NAME).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / NAME)) as writer:
        for request in requests:
            log = _log(model, request, signatures[request.signature])
            writer.write(log.SerializeToString())


def read(folder: files.PathLike) -> Iterator[predict_pb2.PredictRequest]:
    """Yields the requests of a SavedModel; none when it has no file of them."""
    path = pathlib.Path(folder) / NAME
    if not path.is_file():
        return
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        yield log.predict_log.request


def _log(
    model: str, request: exports.WarmUp, signature
) -> prediction_log_pb2.PredictionLog:
    specs = saved_model.inputs(signature)
    if set(specs) != set(request.inputs):
        raise ValueError(
            f"warm-up of {request.signature!r} has {sorted(request.inputs)}, "
            f"the signature takes {sorted(specs)}"
        )
    message = predict_pb2.PredictRequest()
    message.model_spec.name = model
    message.model_spec.signature_name = request.signature
    for name, value in request.inputs.items():
        tensor = tf.convert_to_tensor(value, specs[name].dtype)
        if not specs[name].shape.is_compatible_with(tensor.shape):
            raise ValueError(
                f"warm-up of {request.signature!r}: {name} has shape "
                f"{tensor.shape}, the signature takes {specs[name].shape}"
            )
        message.inputs[name].CopyFrom(tf.make_tensor_proto(tensor))
    log = prediction_log_pb2.PredictLog(request=message)
    return prediction_log_pb2.PredictionLog(predict_log=log)
