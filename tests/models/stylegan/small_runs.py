"""Small networks, pictures and plans for tests of training."""

import pathlib

import numpy as np
from sklearn import datasets

from tfdl.engine import distribution
from tfdl.engine.learner import Learner
from tfdl.models.stylegan import recipes
from tfdl.models.stylegan.task import StyleGANTask


def digits(folder: pathlib.Path) -> str:
    """Writes 160 digits of 16x16 pixels; returns what `data` takes."""
    images = datasets.load_digits().images[:160].repeat(2, axis=1).repeat(2, axis=2)
    path = folder / "digits.npz"
    pixels = np.round(images * (255 / 16)).astype(np.uint8)
    np.savez(path, x=pixels, y=datasets.load_digits().target[:160])
    return f"npz:{path}"


def configuration(data: str, **fields):
    """Returns a run that grows from 8x8 to 16x16 in 22 steps.

    8 steps at 8x8 pixels, 8 while 16x16 fades in, 6 more.
    """
    config = recipes.base(16)
    config.data = data
    config.labels, config.mirror = "full", True
    for network in (config.generator, config.discriminator):
        network.num_channels, network.fmap_base, network.fmap_max = 1, 64, 12
    config.generator.latent_size = config.generator.dlatent_size = 8
    config.generator.mapping_layers, config.generator.mapping_fmaps = 2, 8
    # The stored weights' rate: small networks move visibly.
    config.generator.mapping_lrmul = 0.1
    grow = config.growing
    grow.batch_sizes, grow.repeats, grow.rates = "0:8", 2, "0:0.002"
    grow.stable_kimg, grow.transition_kimg, grow.total_kimg = 0.048, 0.08, 0.176
    config.ema_half_life_kimg = 0.05
    config.evaluation.metrics = ()
    config.samples.rows, config.samples.columns = 1, 2
    config.samples.every_ticks = 0.0
    config.steps_per_loop = config.checkpoint_every = 2
    for path, value in fields.items():
        node = config
        *parents, last = path.split("__")
        for parent in parents:
            node = node[parent]
        node[last] = value
    return config


def learner(config, folder: pathlib.Path) -> tuple[StyleGANTask, Learner, list]:
    """Returns a prepared task, its learner on one device, and its phases."""
    task = StyleGANTask(config, folder)
    task.prepare()
    made = Learner(task, distribution.create("one_device"), config)
    return task, made, task.phases()


def trainer(task, made, phase):
    """Returns a function that makes so many steps more; returns the report."""
    data = task.train_data(phase, 0, distribution.Shard())
    iterator = iter(distribution.distribute(made.strategy, data))
    train, done = made.train_function(phase), 0

    def run(count: int) -> dict:
        nonlocal done
        report = train(iterator, done, count)
        done += count
        return report

    return run
