"""StyleGAN against torch: same weights, latents and threads.

    python -m venv peer && peer/bin/pip install torch==2.13.0 numpy
    tfdl benchmark --model=stylegan --peer_python=peer/bin/python

The full-size network in float32. Synthesis: pictures from z with random noise, ours as
`tfdl export` folds it. Training: a discriminator's step (logistic loss with R1) and a
generator's (non-saturating) from the same latents and noise, with Adam. Pictures and
losses are compared before anything is timed. Both sides take turns. Prints one JSON
line per measurement: seconds, processor seconds and the ratios torch / ours, so that
above 1 is faster.

On a machine that is busy otherwise only processor seconds with --threads=1 mean
anything: torch's threads burn time where they wait for each other.
"""

import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.clock import Clock, in_turns
from benchmarks.peers import Peer

# What is run, the resolution, pictures, passes or steps per turn.
CASES = (
    ("synthesis", 128, 2, 2),
    ("synthesis", 256, 2, 1),
    ("training", 128, 4, 1),
    ("training", 256, 4, 1),
)
RATE = 1e-3
STEPS = 2


def run(peer_python: str, repeats: int = 3, threads: int = 2) -> Iterator[dict]:
    """Yields a record per measurement.

    Args:
        peer_python: a Python that has torch.
        repeats: turns, after one to warm up.
        threads: of both sides.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    # One operation at a time: each uses all threads.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    peer = Peer(peer_python, "stylegan_peer.py")
    try:
        with tempfile.TemporaryDirectory() as folder:
            for resolution in (128, 256):
                path = pathlib.Path(folder) / "arrays.npz"
                ours = _Ours(resolution)
                np.savez(path, **ours.arrays())
                versions = peer(
                    "load", path=str(path), threads=threads, layers=ours.layers
                )
                if resolution == 128:
                    yield {"versions": {**versions, "tensorflow": tf.__version__}}
                for kind, size, count, times in CASES:
                    if size == resolution:
                        yield _measure(ours, peer, kind, count, times, repeats)
    finally:
        peer.close()


def _measure(ours, peer, kind: str, count: int, times: int, repeats: int) -> dict:
    if kind == "synthesis":
        found = ours.compared(count)
        expected = peer("generate", count=count, passes=1, compare=True)["images"]
        sides = {
            "ours": lambda: ours.generate(count, times),
            "torch": lambda: peer("generate", count=count, passes=times),
        }
    else:
        found = ours.train(count, STEPS)["losses"]
        asked = {"count": count, "rate": RATE}
        expected = peer("train", steps=STEPS, **asked)["losses"]
        sides = {
            "ours": lambda: ours.train(count, times),
            "torch": lambda: peer("train", steps=times, **asked),
        }
    expected = np.asarray(expected)
    difference = np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()
    record = in_turns(f"{kind} at {ours.resolution}", repeats, sides)
    # Pictures, or a pair of steps, in a second.
    done = count * times if kind == "synthesis" else times
    unit = "pictures" if kind == "synthesis" else "iterations"
    for clock in ("seconds", "cpu_seconds"):
        record[f"{unit}_per_{clock[:-1]}"] = {
            side: round(done / seconds, 3) for side, seconds in record[clock].items()
        }
    return {**record, "batch": count, "difference": float(difference)}


class _Ours:
    """This side: networks, the generator folded for inference, training steps."""

    def __init__(self, resolution: int):
        import keras
        import tensorflow as tf

        from tfdl.models.stylegan import model as stylegan
        from tfdl.models.stylegan.inference import FoldedGenerator

        keras.utils.set_random_seed(0)
        self.resolution = resolution
        # Stored noise is off, so that both sides can make the same pictures.
        self.g = stylegan.build_generator(
            {"resolution": resolution, "truncation_psi": None}
        )
        self.d = stylegan.build_discriminator({"resolution": resolution})
        self.layers = self.g.config.num_layers
        random = np.random.default_rng(0)
        # Its initial ones have no variance, by which the next step would divide.
        const = self.g.synthesis.layers[0].const
        const.assign(random.normal(size=const.shape))
        for layer in self.g.synthesis.layers:
            values = random.normal(0, 0.1, [2, layer.features])
            layer.noise_weight.assign(values[0])
            layer.bias.assign(values[1])
        for noise in self.g.synthesis.noises:
            noise.assign(np.zeros(noise.shape))
        folded = FoldedGenerator(self.g)
        self.data = self._data(random)

        @tf.function(reduce_retracing=True)
        def compared(z):
            return folded.synthesize(folded.mapping(z))

        @tf.function(reduce_retracing=True)
        def generate(z, seeds):
            return folded.synthesize(folded.mapping(z), seeds)

        self._compared, self._generate = compared, generate
        self._train: dict[int, Any] = {}

    def _data(self, random) -> dict[str, np.ndarray]:
        count, side = 4, self.resolution
        data = {
            "z": random.normal(size=[count, 512]),
            "latents": random.normal(size=[2 * STEPS, count, 512]),
            "reals": random.uniform(-1, 1, [count, side, side, 3]),
        }
        for layer in self.g.synthesis.layers:
            shape = [count, layer.size, layer.size, 1]
            data[f"noise{layer.index}"] = random.normal(size=shape)
        return {name: array.astype("float32") for name, array in data.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns weights by the original's names, and the data."""
        from tfdl.models.stylegan import names

        found = dict(self.data)
        for role, network in (("G", self.g), ("D", self.d)):
            for name, variable in names.variable_names(network).items():
                found[f"{role}/{name}"] = names.originals(name, variable.numpy())
        return found

    def compared(self, count: int) -> np.ndarray:
        """Returns pictures without noise."""
        return self._compared(self.data["z"][:count]).numpy()

    def generate(self, count: int, passes: int) -> dict:
        """Makes pictures with random noise."""
        z, seeds = self.data["z"][:count], np.arange(count, dtype="int64")
        clock = Clock()
        for i in range(passes):
            images = self._generate(z, seeds + i)
        images.numpy()
        return clock.read()

    def train(self, count: int, steps: int) -> dict:
        """Makes steps from the same weights each time."""
        if count not in self._train:
            self._train[count] = _training(self.g, self.d)
        step, reset = self._train[count]
        reset()
        reals = self.data["reals"][:count]
        noise = [self.data[f"noise{i}"][:count] for i in range(self.layers)]
        losses: list[float] = []
        clock = Clock()
        for i in range(steps):
            z = self.data["latents"][2 * i : 2 * i + 2, :count]
            losses += [float(loss) for loss in step(reals, z[0], z[1], noise)]
        taken = clock.read()
        reset()
        return {**taken, "losses": losses}


def _training(g, d):
    """Returns (a function that makes a pair of steps, one that undoes them)."""
    import tensorflow as tf

    from tfdl.engine import optimizers
    from tfdl.gan import losses
    from tfdl.models.stylegan import names

    adam = {"name": "adam", "beta_1": 0.0, "beta_2": 0.99, "epsilon": 1e-8}
    of_d = losses.DiscriminatorLoss("logistic", r1_gamma=10.0)
    sides = []
    for network in (d, g):
        variables = [v.value for v in names.variable_names(network).values()]
        optimizer = optimizers.create(adam)
        optimizer.build(variables, [str(i) for i in range(len(variables))])
        sides.append((optimizer, variables))
    every = [v for optimizer, own in sides for v in [*own, *optimizer.state()]]
    before = [variable.numpy() for variable in every]

    def update(side, tape, loss):
        optimizer, variables = side
        optimizer.apply(tape.gradient(loss, variables), variables, RATE)

    @tf.function(reduce_retracing=True)
    def step(reals, first, second, noise):
        fakes = g.synthesis(g.mapping(first), noise=noise)
        with tf.GradientTape() as tape:
            values, _ = of_d(d, reals, fakes)
            loss_d = tf.reduce_mean(values)
        update(sides[0], tape, loss_d)
        with tf.GradientTape() as tape:
            fakes = g.synthesis(g.mapping(second), noise=noise)
            loss_g = tf.reduce_mean(losses.non_saturating(d(fakes)))
        update(sides[1], tape, loss_g)
        return loss_d, loss_g

    def reset():
        for variable, value in zip(every, before, strict=True):
            variable.assign(value)

    return step, reset
