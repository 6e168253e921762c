"""What the recipes share: fields with the reference's values, and presets."""

from typing import Any

from ml_collections import ConfigDict

from tfdl.engine import config as config_lib
from tfdl.models.biggan import presets

IMAGENET = "folder:/data/imagenet"


def common(preset: str, **changes: Any) -> ConfigDict:
    """Returns the fields of every recipe, with BigGAN-PyTorch's values.

    Args:
        preset: of both networks, see `plans.PRESETS`.
        **changes: fields of both networks to set otherwise.
    """
    config = config_lib.base_config()
    config.model, config.task = "biggan", "train"
    config.data = IMAGENET
    config.classes = 0  # 0: those of the data
    config.sizes = "any"  # any: cropped and resized | exact: others are refused
    config.augment = "none"  # none | flip | crop | pad
    config.on_bad = "stop"  # stop | skip: unreadable pictures
    # Fields of `plans.GeneratorConfig` and `.DiscriminatorConfig`.
    for name, fields in presets.find(preset).items():
        config[name] = ConfigDict(
            {"preset": preset, "channels": fields["channels"], **changes}
        )
    config.singular_values = 1  # followed per layer; 3 as in the paper's figures
    # One iteration.
    config.batch_size = 256
    config.generator_batch_size = 0  # 0: the same
    config.iteration = ConfigDict(
        {
            "discriminator_steps": 1,
            "discriminator_accumulation": 1,
            "generator_accumulation": 1,
            "split": False,
            "loss": "hinge",  # hinge | softplus
            "generator_orthogonal": 0.0,
            "discriminator_orthogonal": 0.0,
            "orthogonal_form": "grad2",  # grad2: the port's | exact: R's gradient
            "r1": 0.0,
            "diffaugment": "",  # color,translation,cutout
        }
    )
    config.iterations = 150_000
    adam = {"name": "adam", "beta_1": 0.0, "beta_2": 0.999, "epsilon": 1e-6}
    config.generator_optimizer = ConfigDict(dict(adam))
    config.discriminator_optimizer = ConfigDict(dict(adam))
    config.generator_rate, config.discriminator_rate = 1e-4, 4e-4
    config.freeze = ()  # regexes of weights: "generator.blocks.0"
    config.ema_decay, config.ema_start = 0.9999, 20_000 - 1
    # Sampling.
    config.latents = "scaled"  # scaled | resample | std
    config.standing = ConfigDict(
        {
            "passes": 16,
            "batch_size": 64,
            "rows": 51,  # of the model's table of truncations; 0: running statistics
            "measure": False,  # in `evaluate`: anew, whatever the model has
        }
    )
    config.evaluation = ConfigDict(
        {
            "extractor": "smallcnn",  # inception:PATH gives FID and IS
            "samples": 50_000,
            "truncation": 1.0,
            "batch_size": 100,
            "seed": 0,
            "real": 50_000,
        }
    )
    config.collapse = ConfigDict(
        {"sigma": 4.0, "loss": 50.0, "distance": 2.0, "patience": 2, "stop": True}
    )
    config.keep = "last"  # last | best
    config.fine_tuning = ConfigDict({"start": "mean", "like": ()})
    config.sweep = ConfigDict({"truncations": (), "step": 0.05})
    config.eval_every = 2000
    config.checkpoint_every = 1000
    config.steps_per_loop = config.log_every = 50
    del config.optimizer
    return config


def imagenet(preset: str, **changes: Any) -> ConfigDict:
    """Returns the paper's training of a preset (appendix C), batch 2048.

    Two steps of the discriminator, orthogonal regularisation, 1e-4 wherever an epsilon
    keeps numbers apart, standing statistics of 100 batches.
    """
    config = common(preset, spectral_epsilon=1e-4, **changes)
    config.generator.batch_norm_epsilon = config.generator.output_norm_epsilon = 1e-4
    config.batch_size = 2048
    config.iteration.discriminator_steps = 2
    config.iteration.generator_orthogonal = 1e-4
    config.generator_rate, config.discriminator_rate = 5e-5, 2e-4
    config.ema_start = 0
    config.standing.passes = 100
    config.singular_values = 3
    config.xla = True
    return config


def port(preset: str, **changes: Any) -> ConfigDict:
    """Returns BigGAN-PyTorch's script for ImageNet: 256 pictures, 8 times over."""
    config = common(preset, spectral_epsilon=1e-6, **changes)
    config.batch_size = 256
    config.iteration.discriminator_accumulation = 8
    config.iteration.generator_accumulation = 8
    return config


def digits() -> ConfigDict:
    """Returns a small BigGAN of scikit-learn's digits, for two cores.

    Channels halve where the size doubles, as in the large ones. The discriminator
    learns four times as fast as the generator: with equal rates the generator wins, and
    the digits of a class look all alike.
    """
    config = common("tiny", num_classes=10, image_channels=1)
    config.description = "scikit-learn's digits, 32x32, ten classes"
    config.data = "embedded:square-digits"
    generator, discriminator = config.generator, config.discriminator
    del generator.channels, discriminator.channels
    generator.blocks = ((64, 64, True), (64, 32, True), (32, 16, True))
    generator.dim_z, generator.shared_dim = 64, 32
    discriminator.blocks = (
        *((1, 16, True), (16, 32, True), (32, 64, True)),
        (64, 64, False),
    )
    config.batch_size = 32
    config.iteration.discriminator_steps = 2
    config.generator_rate, config.discriminator_rate = 4e-4, 1.6e-3
    config.iterations = 1000
    config.ema_decay, config.ema_start = 0.99, 50
    config.standing.rows = 11
    config.evaluation.samples = 2000
    config.eval_every = 250
    config.checkpoint_every = 250
    config.steps_per_loop = config.log_every = 25
    return config
