"""The flags of `tfdl serve`, named as TF Serving's; imports no TensorFlow."""

from absl import flags

FLAGS = flags.FlagValues()


def _flag(define, name, default, text, **options):
    define(name, default, text, flag_values=FLAGS, **options)


_string, _boolean, _integer = (
    flags.DEFINE_string,
    flags.DEFINE_boolean,
    flags.DEFINE_integer,
)
_flag(_string, "model_base_path", None, "The model's folder, which holds 1, 2, ...")
_flag(_string, "model_name", "default", "The model's name in requests.")
_flag(
    _string,
    "model_config_file",
    None,
    "A text-format ModelServerConfig: several models, version policies, labels.",
)
_flag(
    _integer,
    "model_config_file_poll_wait_seconds",
    0,
    "Seconds between two looks at that file; 0 reads it once.",
    lower_bound=0,
)
_flag(_string, "host", "127.0.0.1", "Listen here; 0.0.0.0 for other machines as well.")
_flag(_integer, "port", 8500, "Port for gRPC; 0 turns it off.", lower_bound=0)
_flag(_integer, "rest_api_port", 8501, "Port for REST; 0 turns it off.", lower_bound=0)
_flag(_string, "grpc_socket_path", "", "A UNIX socket for gRPC as well.")
_flag(_string, "ssl_config_file", None, "A text-format SSLConfig: gRPC over TLS.")
_flag(
    _integer,
    "grpc_max_threads",
    0,
    "gRPC requests worked on at once; 0 chooses by cores and batching.",
    lower_bound=0,
)
_flag(
    _integer,
    "rest_api_num_threads",
    0,
    "REST requests worked on at once; 0 chooses by cores and batching.",
    lower_bound=0,
)
_flag(
    _integer,
    "rest_api_timeout_in_ms",
    30000,
    "Of a REST request; 0 is no limit.",
    lower_bound=0,
)
_flag(_boolean, "rest_api_enable_cors_support", False, "Let other sites' pages call.")
_flag(
    _integer,
    "max_request_bytes",
    64 << 20,
    "A request's body, and each tensor of it, at most.",
    lower_bound=1,
)
_flag(_boolean, "enable_batching", False, "Run requests of many clients together.")
_flag(
    _string,
    "batching_parameters_file",
    None,
    "A text-format BatchingParameters. The flags below go before it.",
)
_flag(_integer, "max_batch_size", None, "Rows of a batch at most [1000].")
_flag(
    _integer,
    "batch_timeout_micros",
    None,
    "How long a request waits for others [0]: with 0, for a free thread only.",
)
_flag(_integer, "num_batch_threads", None, "Batches run at once [the cores].")
_flag(
    _integer,
    "max_enqueued_batches",
    None,
    "Batches that may wait, beyond which requests get UNAVAILABLE [10].",
)
_flag(
    flags.DEFINE_list,
    "allowed_batch_sizes",
    None,
    "Fill batches up to one of these sizes; the last one is max_batch_size.",
)
_flag(
    _boolean,
    "pad_variable_length_inputs",
    None,
    "Pad inputs of unequal lengths with zeros, so that they share batches.",
)
_flag(
    _integer,
    "length_group_rows",
    None,
    "Rows of a batch of texts that run together, sorted by length; 0 runs the batch "
    "whole [8; 0 on an accelerator].",
)
_flag(
    flags.DEFINE_float,
    "file_system_poll_wait_seconds",
    1,
    "Seconds between two looks for new versions; 0 looks once.",
    lower_bound=0,
)
_flag(
    _integer,
    "max_num_load_retries",
    5,
    "Times a version that cannot be loaded is tried again.",
    lower_bound=0,
)
_flag(
    _integer,
    "load_retry_interval_micros",
    60_000_000,
    "Between two tries. A version whose files change is tried again at once.",
    lower_bound=0,
)
_flag(
    _boolean,
    "allow_version_labels_for_unavailable_models",
    False,
    "Labels may name versions that are not loaded yet, at the start for one.",
)
_flag(_string, "saved_model_tags", "serve", "Tags of the SavedModel's graph.")
_flag(_boolean, "enable_model_warmup", True, "Replay a SavedModel's warm-up requests.")
_flag(
    _integer,
    "num_request_iterations_for_warmup",
    1,
    "Times each is run.",
    lower_bound=1,
)
_flag(
    _boolean,
    "enable_serialization_as_tensor_content",
    False,
    "gRPC answers as packed bytes: faster, for clients that use make_ndarray.",
)
_flag(
    _string,
    "monitoring_config_file",
    None,
    "A text-format MonitoringConfig. Without one, Prometheus's metrics are under "
    "/monitoring/prometheus/metrics.",
)
_flag(
    _boolean,
    "onednn",
    False,
    "Use oneDNN: somewhat faster convolutions. It compiles and keeps a kernel for "
    "every new shape of input: for models whose inputs have one size.",
)
_flag(
    _integer,
    "tensorflow_intra_op_parallelism",
    0,
    "Threads of one operation; 0 chooses: 1 with batching on up to four cores, else "
    "the cores.",
)
_flag(_integer, "tensorflow_inter_op_parallelism", 0, "Operations at once; 0 chooses.")
_flag(
    flags.DEFINE_float,
    "drain_seconds",
    30,
    "After SIGTERM, how long requests under way may take.",
    lower_bound=0,
)
