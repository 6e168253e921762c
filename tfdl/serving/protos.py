"""TF Serving's configuration messages, and reading them as text.

`tensorflow-serving-api` has the messages of the protocol and the models' configuration;
those of the server's own files are declared here with their published field numbers.
"""

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message,
    message_factory,
    text_format,
    wrappers_pb2,
)

from tfdl.engine import errors, files

_PACKAGE = "tensorflow.serving"
_FIELD = descriptor_pb2.FieldDescriptorProto
_INT64 = ".google.protobuf.Int64Value"
# message -> [(field, number, type, repeated)]; a type with a dot is a message.
_MESSAGES = {
    "BatchingParameters": [
        ("max_batch_size", 1, _INT64, False),
        ("batch_timeout_micros", 2, _INT64, False),
        ("max_enqueued_batches", 3, _INT64, False),
        ("num_batch_threads", 4, _INT64, False),
        ("thread_pool_name", 5, ".google.protobuf.StringValue", False),
        ("allowed_batch_sizes", 6, "int64", True),
        ("pad_variable_length_inputs", 7, "bool", False),
        ("enable_large_batch_splitting", 8, ".google.protobuf.BoolValue", False),
        ("max_execution_batch_size", 9, _INT64, False),
    ],
    "PrometheusConfig": [("enable", 1, "bool", False), ("path", 2, "string", False)],
    "MonitoringConfig": [
        ("prometheus_config", 1, f".{_PACKAGE}.PrometheusConfig", False)
    ],
    "SSLConfig": [
        ("server_key", 1, "string", False),
        ("server_cert", 2, "string", False),
        ("custom_ca", 3, "string", False),
        ("client_verify", 4, "bool", False),
    ],
}
MAX_BYTES = 1 << 24


def _classes() -> dict[str, type[message.Message]]:
    file = descriptor_pb2.FileDescriptorProto(
        name="tfdl/serving/protos.proto", package=_PACKAGE, syntax="proto3"
    )
    file.dependency.append("google/protobuf/wrappers.proto")
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            made = described.field.add(name=field, number=number)
            made.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            if kind.startswith("."):
                made.type, made.type_name = _FIELD.TYPE_MESSAGE, kind
            else:
                made.type = getattr(_FIELD, f"TYPE_{kind.upper()}")
    # A pool of its own: TensorFlow's may hold messages of the same names.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
        )
        for name in _MESSAGES
    }


_CLASSES = _classes()
BatchingParameters = _CLASSES["BatchingParameters"]
MonitoringConfig = _CLASSES["MonitoringConfig"]
SSLConfig = _CLASSES["SSLConfig"]


def read_text(path: files.PathLike, into: message.Message) -> message.Message:
    """Parses a text-format protobuf file into a message and returns it.

    Raises:
        UserError: the file is missing, or is no such message; the line is named.
    """
    text = files.read_text(path, MAX_BYTES)
    try:
        return text_format.Parse(text, into)
    except text_format.ParseError as error:
        name = into.DESCRIPTOR.name
        raise errors.UserError(
            f"{path} is not a text-format {name}: {' '.join(str(error).split())}"
        ) from None
