"""Strategies by flag, and batches for their replicas."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.engine import errors
from tfdl.engine.distribution_flags import STRATEGIES


@dataclasses.dataclass(frozen=True)
class Shard:
    """A worker's part of every global batch: slice `index` of `count` equal ones."""

    index: int = 0
    count: int = 1

    def part(self, global_batch_size: int) -> int:
        """Returns the examples of this shard in a global batch."""
        return global_batch_size // self.count


def create(
    name: str = "auto", num_devices: int = 0, tpu: str = ""
) -> tf.distribute.Strategy:
    """Creates the distribution strategy that a flag names.

    Args:
        name: one of `STRATEGIES`. `auto` takes the TPU when `tpu` is given,
            several workers when TF_CONFIG names them, all GPUs when there are two
            or more (or `num_devices` asks for several), else one device.
        num_devices: devices to use on this worker; 0 is all GPUs, or one CPU.
            Without GPUs, that many logical CPU devices are made.
        tpu: the TPU's name or address.

    Raises:
        UserError: an unknown name, devices that are not there, a TF_CONFIG that
            makes no sense.
    """
    if name not in STRATEGIES:
        raise errors.unknown("strategy", name, STRATEGIES)
    cluster = read_tf_config()
    if name == "auto":
        name = _automatic(num_devices, tpu, cluster)
    if name == "tpu":
        return _tpu_strategy(tpu)
    if name == "multi_worker":
        return _multi_worker_strategy(cluster)
    devices = _local_devices(num_devices if name == "mirrored" else 1, name)
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.OneDeviceStrategy(devices[0])


def read_tf_config() -> dict[str, Any] | None:
    """Returns the parsed TF_CONFIG, or None when it is not set.

    Raises:
        UserError: it is not JSON, or its cluster and task do not fit together.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text or text == "{}":
        return None
    try:
        config = json.loads(text)
        workers = config["cluster"]["worker"]
        kind, index = config["task"]["type"], config["task"]["index"]
    except json.JSONDecodeError as error:
        raise errors.UserError(f"TF_CONFIG is not valid JSON: {error}") from None
    except (KeyError, TypeError):
        raise errors.UserError(
            "TF_CONFIG needs cluster.worker (a list of host:port), task.type and "
            f"task.index, got {text[:200]}"
        ) from None
    if not isinstance(workers, list) or not workers:
        raise errors.UserError("TF_CONFIG: cluster.worker has to be a non-empty list")
    for address in workers:
        host, _, port = str(address).rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise errors.UserError(f"TF_CONFIG: worker {address!r} is not host:port")
    if len(set(workers)) != len(workers):
        raise errors.UserError("TF_CONFIG: cluster.worker names an address twice")
    if set(config["cluster"]) - {"worker"} or kind != "worker":
        raise errors.UserError(
            f"TF_CONFIG: only tasks of type 'worker' are used, got {kind!r} in "
            f"{sorted(config['cluster'])}"
        )
    if not isinstance(index, int) or not 0 <= index < len(workers):
        raise errors.UserError(
            f"TF_CONFIG: task.index is {index!r}, allowed is 0 to {len(workers) - 1}"
        )
    return config


def shard(strategy: tf.distribute.Strategy) -> Shard:
    """Returns which part of each global batch this process feeds."""
    config = read_tf_config()
    if config is None or not is_multi_worker(strategy):
        return Shard()
    return Shard(config["task"]["index"], len(config["cluster"]["worker"]))


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Tells whether several processes train together."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Tells whether this process writes the run's files."""
    return shard(strategy).index == 0


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Waits for all workers, so that what one has written is there for the others."""
    if not is_multi_worker(strategy):
        return
    ones = strategy.run(tf.function(lambda: tf.constant(1.0)))
    float(strategy.reduce("SUM", ones, axis=None))


def lost_worker(error: tf.errors.UnavailableError) -> errors.UserError:
    """Returns what a person is told when another worker is gone."""
    reason = " ".join(str(error.message).split())[:120]
    return errors.UserError(
        "another worker was lost; start all workers again to go on from the last "
        f"checkpoint ({reason})"
    )


def check_batch_size(
    strategy: tf.distribute.Strategy, batch_size: int, accumulation: int = 1
) -> None:
    """Raises `UserError` unless every replica gets an equal part of a batch."""
    parts = strategy.num_replicas_in_sync * accumulation
    if batch_size % parts:
        raise errors.UserError(
            f"a batch of {batch_size} cannot be split evenly over "
            f"{strategy.num_replicas_in_sync} replicas x {accumulation} micro-batches"
        )


def distribute(
    strategy: tf.distribute.Strategy, dataset: tf.data.Dataset
) -> tf.distribute.DistributedDataset:
    """Splits each batch of this worker evenly over its replicas.

    Args:
        strategy: whose replicas the batches are for.
        dataset: batches of this worker's examples, the batch dimension first in
            every tensor and divisible by the local replicas.
    """
    local = strategy.num_replicas_in_sync // shard(strategy).count

    def split(batch):
        def rows(tensor):
            size = tf.shape(tensor)[0] // local
            shape = tf.concat([[local, size], tf.shape(tensor)[1:]], axis=0)
            parts = tf.reshape(tensor, shape)
            static = tensor.shape[0] // local if tensor.shape[0] else None
            return tf.ensure_shape(parts, [local, static, *tensor.shape[1:]])

        return tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(rows, batch))

    def make(_):
        parts = dataset if local == 1 else dataset.flat_map(split)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.OFF
        )
        options.threading.private_threadpool_size = max(2, os.cpu_count() or 2)
        return parts.prefetch(2 * local).with_options(options)

    return strategy.distribute_datasets_from_function(make)


class BatchMap:
    """A function of a batch that runs on all replicas, traced once.

    Args:
        strategy: where it runs.
        function: called in replica context on a replica's part of a batch; returns
            a structure of tensors with the batch dimension first.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy, function: Callable[[Any], Any]
    ):
        self._strategy = strategy

        @tf.function(reduce_retracing=True)
        def step(batch):
            result = strategy.run(function, args=(batch,))
            if strategy.num_replicas_in_sync == 1:
                return result
            return tf.nest.map_structure(
                lambda value: strategy.gather(value, axis=0),
                result,
                expand_composites=False,
            )

        self._step = step

    def __call__(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        """Runs the function on every batch of a finite dataset.

        Args:
            dataset: GLOBAL batches, equal on all workers; their size must divide by
                the number of replicas, so that the last one has to be padded by
                whoever made it.

        Yields:
            The structure of NumPy arrays for each global batch, rows in order.
        """
        this = shard(self._strategy)

        def own_rows(tensor):
            size = tf.shape(tensor)[0] // this.count
            return tensor[this.index * size : (this.index + 1) * size]

        if this.count > 1:
            dataset = dataset.map(lambda batch: tf.nest.map_structure(own_rows, batch))
        for batch in distribute(self._strategy, dataset):
            yield tf.nest.map_structure(np.asarray, self._step(batch))


def map_batches(
    strategy: tf.distribute.Strategy,
    function: Callable[[Any], Any],
    dataset: tf.data.Dataset,
) -> Iterator[Any]:
    """Runs `function` on every batch of a dataset, once; see `BatchMap`."""
    return BatchMap(strategy, function)(dataset)


def _automatic(num_devices: int, tpu: str, cluster: dict | None) -> str:
    if tpu:
        return "tpu"
    if cluster is not None and len(cluster["cluster"]["worker"]) > 1:
        return "multi_worker"
    several = num_devices > 1 or (
        num_devices == 0 and len(tf.config.list_physical_devices("GPU")) > 1
    )
    return "mirrored" if several else "one_device"


def _local_devices(count: int, name: str) -> list[str]:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        count = count or len(gpus)
        if count > len(gpus):
            raise errors.UserError(
                f"{count} devices asked for, this machine has {len(gpus)} GPUs"
            )
        return [f"GPU:{i}" for i in range(count)]
    count = count or 1
    if name == "mirrored" and count > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        existing = tf.config.get_logical_device_configuration(cpu) or [None]
        if len(existing) < count:
            try:
                tf.config.set_logical_device_configuration(
                    cpu, [tf.config.LogicalDeviceConfiguration()] * count
                )
            except RuntimeError:
                raise errors.UserError(
                    f"{count} logical CPU devices have to be made before TensorFlow "
                    "has started"
                ) from None
    return [f"CPU:{i}" for i in range(count)]


def _multi_worker_strategy(cluster: dict | None) -> tf.distribute.Strategy:
    if cluster is None:
        raise errors.UserError(
            "--strategy=multi_worker needs TF_CONFIG in the environment of every worker"
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def _tpu_strategy(tpu: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu or None)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise errors.UserError(f"no TPU {tpu!r} can be reached: {reason}") from None
