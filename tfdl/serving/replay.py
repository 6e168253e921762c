"""Warm-up: replaying the requests that come with a SavedModel before it serves."""

import itertools
import time

import tensorflow as tf
from google.protobuf import message
from tensorflow_serving.apis import prediction_log_pb2

from tfdl.serving import status
from tfdl.serving.inference import Inference
from tfdl.serving.metrics import Metrics
from tfdl.serving.servable import Servable
from tfdl.serving.warmup import MAX_RECORDS, NAME


def replay(
    servable: Servable, inference: Inference, metrics: Metrics, times: int = 1
) -> int:
    """Runs the warm-up requests of a servable; returns how many there were.

    Args:
        servable: just loaded.
        inference: runs the requests.
        metrics: counts the time.
        times: each request is run.

    Raises:
        StatusError: the file is damaged, has too many records, or one fails.
    """
    path = servable.path / NAME
    if not path.is_file():
        return 0
    start = time.perf_counter()
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            count += 1
            if count > MAX_RECORDS:
                raise status.invalid(
                    f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at "
                    f"{path}"
                )
            log = prediction_log_pb2.PredictionLog.FromString(record)
            for _ in itertools.repeat(None, times):
                _run(servable, inference, log)
    except message.DecodeError:
        raise status.invalid(
            f"Failed to parse warmup record {count} from {path}"
        ) from None
    except Exception as error:
        found = status.from_exception(error)
        raise status.StatusError(
            found.code, f"warmup record {count} of {path}: {found.message}"
        ) from None
    seconds = time.perf_counter() - start
    metrics.warmup_latency.record(str(servable.path), "OK", seconds=seconds)
    return count


def _run(servable, inference, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    calls = {
        "predict_log": inference.predict,
        "classify_log": inference.classify,
        "regress_log": inference.regress,
        "multi_inference_log": inference.multi_inference,
    }
    if kind in calls:
        calls[kind](servable, getattr(log, kind).request)
    elif kind is not None:
        raise status.StatusError(
            status.Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}"
        )
