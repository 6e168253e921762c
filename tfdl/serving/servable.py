"""A loaded version of a model: its signatures, run on NumPy arrays."""

import pathlib
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from google.protobuf import message
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tfdl.engine import files
from tfdl.serving import batching, status

DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
# Unequal lengths are padded to powers of two, each a graph of its own.
MAX_PADDED_SHAPES = 64

Arrays = dict[str, np.ndarray]


class Servable:
    """A SavedModel in memory.

    Args:
        name: the model.
        version: its version.
        path: the SavedModel's folder.
        options: how requests are batched; None runs each alone.
        tags: which of the SavedModel's graphs to load.

    Raises:
        StatusError: the SavedModel is damaged or there is none.
    """

    def __init__(
        self,
        name: str,
        version: int,
        path: files.PathLike,
        options: batching.Batching | None = None,
        tags: Sequence[str] = (tf.saved_model.SERVING,),
    ):
        self.name, self.version, self.path = name, version, pathlib.Path(path)
        self.definitions = _definitions(self.path, tags)
        self._options = options
        self._signatures: dict[str, Signature] = {}
        self._lock = threading.Lock()
        try:
            # Loading reads every variable, so that a damaged file shows here.
            self._loaded = tf.saved_model.load(str(self.path), tags=list(tags))
            self._functions = dict(self._loaded.signatures)
        except Exception as error:
            found = status.from_exception(error)
            if found.code == status.Code.INTERNAL:
                # TensorFlow tells of damage by many Python exceptions.
                text = f"{self.path} cannot be loaded: {found.message}"
                found = status.StatusError(status.Code.DATA_LOSS, text)
            raise found from None

    def signature(self, name: str) -> "Signature | None":
        """Returns the signature of that name ("" is the default one), or None."""
        name = name or DEFAULT_SIGNATURE
        if name not in self._functions or name not in self.definitions:
            return None
        with self._lock:
            # Tracing takes a while, and many signatures are never asked for.
            if name not in self._signatures:
                self._signatures[name] = Signature(
                    name,
                    self.definitions[name],
                    self._functions[name],
                    self._options,
                    self._loaded,
                )
            return self._signatures[name]


class Signature:
    """One signature: checks what it is given, and runs.

    Args:
        name: of the signature.
        definition: what the SavedModel says of it.
        function: runs it.
        options: how requests are batched; None runs each alone.
        owner: is kept, since it holds the function's variables.
    """

    def __init__(
        self,
        name: str,
        definition: meta_graph_pb2.SignatureDef,
        function: tf.types.experimental.ConcreteFunction,
        options: batching.Batching | None,
        owner: object = None,
    ):
        self.name, self.definition = name, definition
        self._owner = owner
        self.inputs = _specs(definition.inputs)
        self.outputs = _specs(definition.outputs)
        self.defaults = {
            key: tf.make_ndarray(value) for key, value in definition.defaults.items()
        }
        self._function = function
        self._options = options
        takes, gives = list(self.inputs.values()), list(self.outputs.values())
        self._alone = self._concrete(self._rows, takes)
        self._whole = self._alone
        self._padded: dict[tuple, batching.Rows] = {}
        self._lock = threading.Lock()
        self._batched = None
        self.is_batched = options is not None and batching.is_batchable(
            takes, gives, options.pad_variable_length_inputs
        )
        if self.is_batched:
            self._rows_of_batch = self._grouped(takes, gives)
            if self._rows_of_batch is not self._rows:
                self._whole = self._concrete(self._rows_of_batch, takes)
            if all(spec.shape[1:].is_fully_defined() for spec in takes):
                self._batched = batching.Queue(self._rows_of_batch, takes, options)

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Runs the signature.

        Args:
            inputs: every input by name, those with defaults excepted.

        Returns:
            Every output by name.

        Raises:
            StatusError: a wrong type or shape, or the graph refused the values.
        """
        tensors = [
            self._tensor(name, spec, inputs.get(name, self.defaults.get(name)))
            for name, spec in self.inputs.items()
        ]
        try:
            results = self._run(tensors)
            return {
                name: result.numpy()
                for name, result in zip(self.outputs, results, strict=True)
            }
        except Exception as error:
            raise status.from_exception(error) from None

    def _run(self, tensors: list[tf.Tensor]) -> Sequence[tf.Tensor]:
        if not self.is_batched:
            return self._alone(*tensors)
        rows = {int(tensor.shape[0]) for tensor in tensors}
        if len(rows) != 1:
            raise status.invalid(
                "Batching session Run() input tensors must have equal 0th-dimension "
                f"size, got {sorted(rows)}"
            )
        count = rows.pop()
        if count == 0:
            return self._alone(*tensors)
        if count >= self._options.max_batch_size:
            return self._run_parts(tensors, count)
        try:
            return self._queue(tensors)(*tensors)
        except tf.errors.OpError as error:
            if error.message == batching.QUEUE_FULL:
                raise
            # A batch fails as a whole. Whose values were at fault shows alone.
            return self._alone(*tensors)

    def _run_parts(self, tensors, count) -> Sequence[tf.Tensor]:
        """Runs what is a batch by itself; the scheduler refuses more than its size."""
        if self._whole is not self._alone:
            return self._whole(*tensors)
        size = self._options.max_batch_size
        parts = [
            self._queue(part)(*part)
            for start in range(0, count, size)
            for part in [[tensor[start : start + size] for tensor in tensors]]
        ]
        return [tf.concat(part, 0) for part in zip(*parts, strict=True)]

    def _queue(self, tensors) -> batching.Rows:
        """Returns the batched function for tensors of these shapes."""
        if self._batched is not None:
            return self._batched
        key = tuple(
            tuple(
                size if known is not None else 1 << max(0, int(size) - 1).bit_length()
                for size, known in zip(tensor.shape[1:], spec.shape[1:], strict=True)
            )
            for tensor, spec in zip(tensors, self.inputs.values(), strict=True)
        )
        with self._lock:
            if key not in self._padded:
                if len(self._padded) >= MAX_PADDED_SHAPES:
                    return self._alone
                self._padded[key] = self._padding(key)
            return self._padded[key]

    def _padding(self, key) -> batching.Rows:
        """Returns a function that pads to the shapes of `key`, then batches."""
        takes = [
            tf.TensorSpec([None, *shape], spec.dtype)
            for shape, spec in zip(key, self.inputs.values(), strict=True)
        ]
        queue = batching.Queue(self._rows_of_batch, takes, self._options)

        def pad(*tensors):
            full = []
            for tensor, spec in zip(tensors, takes, strict=True):
                target = tf.constant([0, *spec.shape[1:]], tf.int32)
                after = tf.maximum(target - tf.shape(tensor), 0)
                padded = tf.pad(tensor, tf.stack([tf.zeros_like(after), after], 1))
                full.append(tf.ensure_shape(padded, spec.shape))
            return queue(*full)

        return pad

    def _grouped(self, takes, gives):
        has_text = any(spec.dtype == tf.string for spec in takes)
        if has_text and self._options.group_rows:
            if not self._options.allowed_batch_sizes:
                return batching.by_length(self._rows, gives, self._options.group_rows)
        return self._rows

    def _rows(self, *tensors):
        results = self._function(**dict(zip(self.inputs, tensors, strict=True)))
        return [results[name] for name in self.outputs]

    def _concrete(self, function, takes):
        return tf.function(function, input_signature=takes).get_concrete_function()

    def _tensor(self, name: str, spec: tf.TensorSpec, value) -> tf.Tensor:
        if value is None:
            raise status.invalid(f'Signature input "{name}" was not given')
        kind = tf.string if value.dtype.kind in "OSU" else tf.as_dtype(value.dtype)
        if kind != spec.dtype or not spec.shape.is_compatible_with(value.shape):
            raise status.invalid(
                f'Expects input "{name}" to be {describe(spec.dtype, spec.shape)} but '
                f"{describe(kind, tf.TensorShape(value.shape))} is provided"
            )
        return tf.constant(value, spec.dtype)


def describe(dtype: tf.DType, shape: tf.TensorShape) -> str:
    """Returns a type and a shape as TF Serving writes them: `float[?,3]`."""
    name = {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)
    if shape.rank is None:
        return name
    return f"{name}[{','.join('?' if size is None else str(size) for size in shape)}]"


def _specs(infos) -> dict[str, tf.TensorSpec]:
    """Returns name -> type and shape, in the names' order."""
    found = {}
    for name in sorted(infos):
        info = infos[name]
        shape = None
        if not info.tensor_shape.unknown_rank:
            shape = [d.size if d.size >= 0 else None for d in info.tensor_shape.dim]
        found[name] = tf.TensorSpec(shape, tf.as_dtype(info.dtype), name=name)
    return found


def _definitions(path: pathlib.Path, tags: Sequence[str]) -> dict:
    """Reads the signatures' definitions from `saved_model.pb`."""
    file = path / "saved_model.pb"
    try:
        graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    except OSError:
        raise status.StatusError(
            status.Code.NOT_FOUND,
            f"Could not find SavedModel .pb at supplied export directory path: {path}",
        ) from None
    except message.DecodeError:
        raise status.StatusError(
            status.Code.DATA_LOSS, f"Can't parse {file} as binary proto"
        ) from None
    for graph in graphs:
        if set(graph.meta_info_def.tags) == set(tags):
            return dict(graph.signature_def)
    raise status.StatusError(
        status.Code.NOT_FOUND,
        f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }} "
        f"in {path}",
    )
