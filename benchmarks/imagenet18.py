"""ResNet-50 against torch (channels_last): same weights, pictures and threads.

    python -m venv peer && peer/bin/pip install torch==2.13.0 numpy
    tfdl benchmark --model=imagenet18 --peer_python=peer/bin/python

Evaluation passes, and training steps of forward, backward and SGD with momentum and
weight decay; in float32 on both sides, and in bfloat16 (torch: autocast). Outputs are
compared before anything is timed. Both sides take turns. Prints one JSON line per
measurement: images per second and per CPU-second, medians over the turns, and the
ratios ours / torch, so that above 1 is faster.

On a machine that is busy otherwise only images per CPU-second with --threads=1 mean
anything: torch's threads burn time where they wait for each other.
"""

import pathlib
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.peers import Peer

PRECISIONS = ("float32", "bfloat16")
# Small, so that two steps from random weights can be compared.
RATE = 1e-5
# What is run, pictures, their size, passes or steps per turn.
CASES = (
    ("inference", 16, 224, 1),
    ("inference", 1, 224, 4),
    ("training", 16, 128, 2),
    ("training", 8, 224, 1),
)


def run(peer_python: str, repeats: int = 3, threads: int = 2) -> Iterator[dict]:
    """Yields a record per measurement.

    Args:
        peer_python: a Python that has torch.
        repeats: turns, after one to warm up.
        threads: of both sides.
    """
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    # One operation at a time: each uses all threads.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from tfdl.models.imagenet18 import torchvision_names
    from tfdl.models.imagenet18.model import build_model

    keras.utils.set_random_seed(0)
    peer = Peer(peer_python, "imagenet18_peer.py")
    try:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            model = build_model({"preset": "resnet50", "zero_gamma": False})
            arrays = torchvision_names.to_original(model)
            np.savez(root / "weights.npz", **arrays)
            versions = peer("load", weights=str(root / "weights.npz"), threads=threads)
            yield {"versions": {**versions, "tensorflow": tf.__version__}}
            for precision in PRECISIONS:
                ours = _Ours(model.get_weights(), precision)
                for kind, count, size, times in CASES:
                    _write(root / "data.npz", count, size)
                    ours.data(root / "data.npz")
                    peer("data", path=str(root / "data.npz"))
                    yield _compare(ours, peer, kind, precision, times, repeats) | {
                        "batch": count,
                        "size": size,
                    }
    finally:
        peer.close()


class _Ours:
    """This side: the network with the engine's optimizer."""

    def __init__(self, weights, precision):
        import keras
        import tensorflow as tf

        from tfdl.engine import optimizers
        from tfdl.engine import precision as policies
        from tfdl.models.imagenet18.model import build_model, fold
        from tfdl.models.imagenet18.names import variable_names

        policies.set_policy(precision)
        try:
            model = build_model({"preset": "resnet50", "zero_gamma": False})
            model.set_weights(weights)
            folded = fold(model)
        finally:
            keras.config.set_dtype_policy("float32")
        self.model, self.weights = model, weights
        named = variable_names(model)
        variables = [variable.value for variable in named.values()]
        optimizer = optimizers.create(
            {"name": "sgd", "momentum": 0.9, "weight_decay": 1e-4}
        )
        optimizer.build(variables, list(named))
        self.optimizer = optimizer

        @tf.function(reduce_retracing=True)
        def infer(images):
            return folded({"image": images})["logits"]

        @tf.function(reduce_retracing=True)
        def train(images, labels):
            with tf.GradientTape() as tape:
                logits = model({"image": images}, training=True)["logits"]
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                )
            optimizer.apply(tape.gradient(loss, variables), variables, RATE)
            return loss

        self._infer, self._train = infer, train

    def data(self, path):
        """Keeps a batch."""
        import tensorflow as tf

        arrays = np.load(path)
        self.images = tf.constant(arrays["images"])
        self.labels = tf.constant(arrays["labels"])

    def infer(self, passes):
        """Runs the network; returns the peer's answer's fields."""
        clock, cpu = time.perf_counter(), time.process_time()
        for _ in range(passes):
            logits = self._infer(self.images)
        logits = logits.numpy()
        seconds, used = time.perf_counter() - clock, time.process_time() - cpu
        return {"seconds": seconds, "cpu": used, "logits": logits}

    def train(self, steps):
        """Makes steps from the same weights each time."""
        self.model.set_weights(self.weights)
        for variable in self.optimizer.state():
            variable.assign(np.zeros(variable.shape, variable.dtype.as_numpy_dtype))
        losses = []
        clock, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            losses.append(float(self._train(self.images, self.labels)))
        seconds, used = time.perf_counter() - clock, time.process_time() - cpu
        return {"seconds": seconds, "cpu": used, "losses": losses}


def _compare(ours, peer, kind, precision, times, repeats) -> dict:
    do, argument, result = {
        "inference": ("infer", "passes", "logits"),
        "training": ("train", "steps", "losses"),
    }[kind]
    extra = {argument: times}
    if kind == "training":
        extra["rate"] = RATE
    sides = {
        "ours": lambda: getattr(ours, do)(times),
        "torch": lambda: peer(do, precision=precision, **extra),
    }
    taken = {side: [] for side in sides}
    for turn in range(repeats + 1):
        answers = {}
        for side, measure in sides.items():
            answers[side] = measure()
            if turn:
                taken[side].append([answers[side]["seconds"], answers[side]["cpu"]])
        if not turn:
            first = answers
    expected = np.array(first["torch"][result])
    difference = np.abs(np.array(first["ours"][result]) - expected).max()
    count = ours.images.shape[0] * times
    rates = {side: count / np.array(values) for side, values in taken.items()}
    ratio = np.median(rates["ours"] / rates["torch"], axis=0)
    return {
        "benchmark": f"{kind}, {precision}",
        "images_per_second": _medians(rates, 0),
        "images_per_cpu_second": _medians(rates, 1),
        "ratio": round(float(ratio[0]), 2),
        "ratio_cpu": round(float(ratio[1]), 2),
        "difference": float(difference / np.abs(expected).max()),
    }


def _medians(rates, column) -> dict:
    return {
        side: round(float(np.median(values[:, column])), 2)
        for side, values in rates.items()
    }


def _write(path: pathlib.Path, count: int, size: int) -> None:
    random = np.random.default_rng(size)
    np.savez(
        path,
        images=random.normal(size=[count, size, size, 3]).astype(np.float32),
        labels=random.integers(0, 1000, count),
    )
