"""BigGAN against torch: same weights, latents and threads.

    python -m venv peer && peer/bin/pip install torch==2.13.0 numpy \
        pytorch-pretrained-biggan
    tfdl benchmark --model=biggan --peer_python=peer/bin/python

Inference: BigGAN-deep at 128 pixels, full size, against pytorch-pretrained-biggan; ours
as `tfdl export` folds it. Training: an iteration of the CIFAR-10 preset (batch 50, one
step of each network, Adam) against the same in torch, channels last. Pictures and
losses are compared before anything is timed. Both sides take turns. Prints one JSON
line per measurement: seconds, processor seconds and the ratios torch / ours, so that
above 1 is faster.

On a machine that is busy otherwise only processor seconds with --threads=1 mean
anything: torch's threads burn time where they wait for each other.
"""

import json
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.clock import Clock, in_turns
from benchmarks.peers import Peer

TRUNCATION = 0.4
# Pictures, passes per turn.
INFERENCE = ((1, 8), (8, 2))
BATCH = 50
STEPS = 1


def run(peer_python: str, repeats: int = 3, threads: int = 2) -> Iterator[dict]:
    """Yields a record per measurement.

    Args:
        peer_python: a Python that has torch and pytorch-pretrained-biggan.
        repeats: turns, after one to warm up.
        threads: of both sides.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    # One operation at a time: each uses all threads.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    peer = Peer(peer_python, "biggan_peer.py")
    try:
        with tempfile.TemporaryDirectory() as folder:
            sampler = _Sampler(pathlib.Path(folder))
            versions = peer("load", folder=folder, threads=threads)
            yield {"versions": {**versions, "tensorflow": tf.__version__}}
            for count, passes in INFERENCE:
                yield _inference(sampler, peer, count, passes, repeats)
            del sampler
            yield _training(peer, pathlib.Path(folder), repeats)
    finally:
        peer.close()


def _inference(sampler, peer, count: int, passes: int, repeats: int) -> dict:
    random = np.random.default_rng(count)
    z = TRUNCATION * random.normal(size=[count, 128]).clip(-2, 2).astype(np.float32)
    classes = random.integers(0, 1000, count)
    asked = {
        "z": z.tolist(),
        "classes": classes.tolist(),
        "truncation": TRUNCATION,
    }
    expected = np.array(peer("generate", passes=1, keep=True, **asked)["images"])
    found, _ = sampler(z, classes, 1)
    record = in_turns(
        f"BigGAN-deep-128, batch {count}",
        repeats,
        {
            "ours": lambda: sampler(z, classes, passes)[1],
            "torch": lambda: peer("generate", passes=passes, **asked),
        },
    )
    for clock in ("seconds", "cpu_seconds"):
        record[f"pictures_per_{clock[:-1]}"] = {
            side: round(count * passes / seconds, 3)
            for side, seconds in record[clock].items()
        }
    return {**record, "difference": float(np.abs(found - expected).max())}


class _Sampler:
    """Makes pictures with a random BigGAN-deep, whose weights it leaves in a folder."""

    def __init__(self, folder: pathlib.Path):
        import keras
        import tensorflow as tf

        from tfdl.checkpoints import torch_writer
        from tfdl.models.biggan import hf_names, simplify, slots
        from tfdl.models.biggan.fold import FoldedGenerator
        from tfdl.models.biggan.model import build_generator
        from tfdl.models.biggan.names import norm_layers

        keras.utils.set_random_seed(0)
        generator = build_generator(
            {
                "preset": "biggan-deep-128",
                "rgb_filters": 128,
                "statistics": "table",
                "interpolation": "hf",
                "initialisation": "xavier",
                "batch_norm_epsilon": 1e-4,
                "output_norm_epsilon": 1e-4,
                "spectral_epsilon": 1e-4,
            }
        )
        random = np.random.default_rng(0)
        for layer in norm_layers(generator).values():
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(random.normal(0, 0.1, shape))
            layer.moving_variance.assign(random.uniform(0.1, 1, shape))
        generator.attention[0].gamma.assign(0.5)
        generator = simplify.with_stored_vectors(generator)
        described = hf_names.config_json(generator.config)
        (folder / "config.json").write_text(json.dumps(described))
        weights = slots.arrays(hf_names.slots(generator))
        torch_writer.write(folder / "pytorch_model.bin", weights)
        folded = FoldedGenerator(generator)
        self._run = tf.function(
            lambda z, y: folded.synthesis(z, folded.embed(y), TRUNCATION),
            reduce_retracing=True,
        )

    def __call__(self, z, classes, passes: int) -> tuple[np.ndarray, dict[str, Any]]:
        import tensorflow as tf

        z, classes = tf.constant(z), tf.constant(classes, tf.int32)
        clock = Clock()
        for _ in range(passes):
            images = self._run(z, classes)
        return images.numpy(), clock.read()


def _training(peer, folder: pathlib.Path, repeats: int, xla: bool = False) -> dict:
    ours = _Trainer(xla)
    np.savez(folder / "training.npz", **ours.arrays())
    peer("networks", path=str(folder / "training.npz"))
    expected = np.array(peer("train", steps=STEPS)["losses"])
    found = np.array(ours.losses(STEPS))
    record = in_turns(
        f"an iteration of cifar10, batch {BATCH}",
        repeats,
        {
            "ours": lambda: ours.train(STEPS),
            "torch": lambda: peer("train", steps=STEPS),
        },
    )
    for clock in ("seconds", "cpu_seconds"):
        record[f"iterations_per_{clock[:-1]}"] = {
            side: round(STEPS / seconds, 3) for side, seconds in record[clock].items()
        }
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    return {**record, "xla": xla, "difference": float(difference)}


class _Trainer:
    """Trains the CIFAR-10 preset on one batch, again and again."""

    def __init__(self, xla: bool):
        import keras
        import tensorflow as tf

        from tfdl.engine.config import base_config
        from tfdl.engine.learner import Learner
        from tfdl.engine.phases import Phase
        from tfdl.engine.task import Task
        from tfdl.models.biggan.iteration import Iteration, Steps
        from tfdl.models.biggan.model import build_discriminator, build_generator
        from tfdl.models.biggan.names import trainable_names

        keras.utils.set_random_seed(0)
        networks = {
            "generator": build_generator({"preset": "cifar10"}),
            "discriminator": build_discriminator({"preset": "cifar10"}),
        }

        class Given(Task):
            """These networks, torch's Adam, one step of each."""

            def networks(self):
                return networks

            def optimizers(self):
                adam = {"name": "adam", "beta_1": 0.0, "beta_2": 0.999, "epsilon": 1e-8}
                return dict.fromkeys(networks, adam)

            def variable_names(self, name, network):
                return trainable_names(network)

            def train_step(self, learner, batch, phase, step):
                names = dict.fromkeys(networks, ())
                iteration = Iteration(
                    learner, Steps(discriminator_steps=1), names, names
                )
                rate = phase.learning_rate(step)
                return iteration(batch, phase, dict.fromkeys(networks, rate))

        config = base_config()
        config.xla = xla
        self.networks = networks
        learner = Learner(Given(config, None), tf.distribute.get_strategy(), config)
        self.state = [v for part in learner.state().values() for v in part]
        self.start = [v.numpy() for v in self.state]
        phase = Phase("train", 1 << 20, BATCH, lambda step: tf.constant(2e-4))
        random = np.random.default_rng(0)
        self.batch = {
            "image": random.integers(0, 256, [BATCH, 1, 32, 32, 3], dtype=np.uint8),
            "z": random.normal(size=[BATCH, 1, 128]).astype(np.float32),
            "generator_z": random.normal(size=[BATCH, 1, 128]).astype(np.float32),
        }
        for name in ("label", "fake_label", "generator_label"):
            labels = random.integers(0, 10, [BATCH, 1])
            self.batch[name] = labels.astype(np.int32)
        data = tf.data.Dataset.from_tensors(self.batch).repeat()
        self.iterator = iter(data)
        self._train = learner.train_function(phase)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the networks in the original's layout, and the batch."""
        from tfdl.models.biggan import ajb_names, slots

        found = {}
        for letter, network in zip("GD", self.networks.values(), strict=True):
            every = slots.arrays(ajb_names.slots(network))
            found |= {f"{letter}/{name}": array for name, array in every.items()}
        image = self.batch["image"][:, 0].astype(np.float32) / 127.5 - 1
        found["image"] = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
        for name in ("z", "generator_z"):
            found[name] = self.batch[name][:, 0]
        for name in ("label", "fake_label", "generator_label"):
            found[name] = self.batch[name][:, 0].astype(np.int64)
        return found

    def losses(self, steps: int) -> list[list[float]]:
        """Returns each iteration's losses, from the first weights."""
        self._restart()
        result = []
        for i in range(steps):
            found = self._train(self.iterator, i, 1)["metrics"]
            both = ("discriminator_real_loss", "discriminator_fake_loss")
            result.append([sum(found[n] for n in both), found["generator_loss"]])
        return result

    def train(self, steps: int) -> dict[str, float]:
        """Makes iterations from the first weights."""
        self._restart()
        clock = Clock()
        self._train(self.iterator, 0, steps)
        return clock.read()

    def _restart(self) -> None:
        for variable, value in zip(self.state, self.start, strict=True):
            variable.assign(value)
