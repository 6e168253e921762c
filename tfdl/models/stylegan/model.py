"""StyleGAN (Karras et al. 2018): the generator, and the networks of a model directory.

A model directory holds the averaged generator as its model, and as assets what
training goes on from: the generator as trained and the discriminator.
"""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfdl.engine import errors, files
from tfdl.engine import model_dir as directory
from tfdl.engine.errors import UserError
from tfdl.models.stylegan import lod as detail
from tfdl.models.stylegan.config import DiscriminatorConfig, GeneratorConfig
from tfdl.models.stylegan.discriminator import Discriminator
from tfdl.models.stylegan.mapping import Mapping as MappingNetwork
from tfdl.models.stylegan.synthesis import Synthesis, as_seed

GENERATOR = "generator.weights.h5"
DISCRIMINATOR = "discriminator.weights.h5"
INPUTS = ("z", "label", "truncation_psi", "truncation_cutoff", "noise_seed")


class StyleGAN(keras.Model):
    """The generator: mapping, truncation, synthesis.

    `model({"z": z})` maps latents [B, latent] to `{"image": [B, H, W, C]}`, float32
    in about [-1, 1]. Further inputs: `"label"` (int [B] or one-hot [B, classes]) for a
    conditional network; `"truncation_psi"` and `"truncation_cutoff"`, the
    configuration's by default, None for no truncation; `"noise_seed"` for other noise
    than the stored one.

    Args:
        config: the architecture.
        lod: the level of detail that pictures are made at.

    Attributes:
        mapping: z, label -> w [B, layers, dlatent].
        synthesis: w -> pictures.
        dlatent_avg: the average w, [dlatent].
    """

    def __init__(self, config: GeneratorConfig, lod: float = 0.0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config, self.lod = config, float(lod)
        self.mapping = MappingNetwork(config, name="mapping")
        self.synthesis = Synthesis(config, name="synthesis")

    def build(self, input_shape=None):
        """Makes all weights."""
        del input_shape
        self.mapping.build()
        self.synthesis.build()
        self.dlatent_avg = self.add_weight(
            name="dlatent_avg",
            shape=(self.config.dlatent_size,),
            initializer="zeros",
            trainable=False,
            aggregation="mean",
        )

    def __call__(self, inputs, **options):
        """See the class; plain numbers are allowed among the inputs."""
        # Keras takes tensors only.
        inputs = {
            name: tf.convert_to_tensor(
                as_seed(value) if name == "noise_seed" else value
            )
            if isinstance(value, int | float)
            else value
            for name, value in inputs.items()
        }
        return super().__call__(inputs, **options)

    def call(self, inputs, training=False):
        """Maps {"z", ...} to {"image"}; see the class."""
        del training
        for name in inputs:
            if name not in INPUTS:
                raise errors.unknown("input", name, INPUTS)
        psi = inputs.get("truncation_psi", self.config.truncation_psi)
        cutoff = inputs.get("truncation_cutoff", self.config.truncation_cutoff)
        w = self.mapping(inputs["z"], inputs.get("label"))
        seed = inputs.get("noise_seed")
        image = self.synthesis(
            self.truncate(w, psi, cutoff),
            noise="stored" if seed is None else seed,
            lod=self.lod,
        )
        return {"image": image}

    def truncate(self, w, psi, cutoff) -> tf.Tensor:
        """Moves w towards the average: avg + psi (w - avg) (appendix B).

        Args:
            w: [B, layers, dlatent].
            psi: a number or [B]; may be negative or above 1.
            cutoff: the first so many layers are moved; None, here or as psi, for
                no truncation at all.
        """
        if psi is None or cutoff is None:
            return w
        w = tf.convert_to_tensor(w)
        psi = tf.cast(psi, w.dtype)
        psi = psi[:, None, None] if psi.shape.rank == 1 else psi
        average = tf.cast(self.dlatent_avg, w.dtype)
        chosen = (tf.range(w.shape[1]) < tf.cast(cutoff, tf.int32))[:, None]
        return tf.where(chosen, average + (w - average) * psi, w)

    # --- training ----------------------------------------------------------------

    def styles(self, z, label=None, z2=None, cutoff=None):
        """Returns w for training, with mixed styles, and the batch's mean w.

        Args:
            z: latents [B, latent].
            label: as in the call.
            z2: second latents, for style mixing (section 3.1).
            cutoff: from this layer on, w is that of `z2`; a number or int [B].

        Returns:
            (w [B, layers, dlatent], mean [dlatent] of the first latents' w): the
            mean is what `move_average` takes, once per forward in training.
        """
        w = self.mapping(z, label)
        mean = tf.reduce_mean(tf.cast(w[:, 0], tf.float32), 0)
        if z2 is not None and cutoff is not None:
            cutoff = tf.convert_to_tensor(cutoff, tf.int32)
            limit = tf.reshape(cutoff, [-1, 1, 1])
            first = tf.range(w.shape[1])[None, :, None] < limit
            w = tf.where(first, w, self.mapping(z2, label))
        return w, tf.stop_gradient(mean)

    def mixing_cutoffs(self, u, v, stage: int = 0) -> tf.Tensor:
        """Returns where styles change, from uniform draws u and v in [0, 1).

        With the configuration's probability the layer is one of 1 ... n - 1, n the
        layers in use, else n. The original draws once per device and step.
        """
        used = self.config.num_layers - 2 * stage
        layer = 1 + tf.cast(tf.floor(v * (used - 1)), tf.int32)
        mixes = u < (self.config.style_mixing_prob or 0.0)
        return tf.where(mixes, tf.minimum(layer, used - 1), used)

    def move_average(self, mean: tf.Tensor) -> None:
        """Moves the average w towards the mean w of the global batch.

        In replica context: `mean` is this replica's, of equally many latents.
        """
        if self.config.dlatent_avg_beta is None:
            return
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            mean = context.all_reduce("MEAN", mean)
        average = tf.convert_to_tensor(self.dlatent_avg)
        self.dlatent_avg.assign(mean + (average - mean) * self.config.dlatent_avg_beta)


def build_generator(
    config: GeneratorConfig | Mapping[str, Any], lod: float = 0.0
) -> StyleGAN:
    """Returns a built generator with random weights."""
    if not isinstance(config, GeneratorConfig):
        config = GeneratorConfig.from_dict(config)
    detail.split(lod, None, config.levels)
    model = StyleGAN(config, lod)
    model.build()
    return model


def build_discriminator(
    config: DiscriminatorConfig | Mapping[str, Any],
) -> Discriminator:
    """Returns a built discriminator with random weights."""
    if not isinstance(config, DiscriminatorConfig):
        config = DiscriminatorConfig.from_dict(config)
    model = Discriminator(config)
    model.build()
    return model


def from_config(
    config: Mapping[str, Any], model_dir: str | pathlib.Path
) -> StyleGAN | Discriminator:
    """Returns the built model of a model directory; its weights are still random.

    It is the averaged generator; a discriminator where the directory has no other
    network.

    Raises:
        UserError: the configuration asks for far more than the weights file holds:
            found before memory is asked for.
    """
    weights = pathlib.Path(model_dir) / directory.WEIGHTS
    if config.get("generator", {}) is None:
        fields = _section(config, "discriminator", model_dir)
        lone = DiscriminatorConfig.from_dict(fields)
        _check_size(weights, lone)
        return build_discriminator(lone)
    wanted = GeneratorConfig.from_dict(_section(config, "generator", model_dir))
    _check_size(weights, wanted)
    lod = config.get("lod", 0.0)
    if isinstance(lod, bool) or not isinstance(lod, int | float):
        raise UserError(f"{model_dir}: lod has to be a number, got {lod!r}")
    return build_generator(wanted, lod)


def load_training_generator(model_dir: str | pathlib.Path) -> StyleGAN | None:
    """Returns the generator as trained, not averaged; None without one."""
    config = directory.read_config(model_dir)
    path = pathlib.Path(model_dir) / directory.ASSETS / GENERATOR
    if not path.is_file():
        return None
    wanted = GeneratorConfig.from_dict(_section(config, "generator", model_dir))
    _check_size(path, wanted)
    return _loaded(build_generator(wanted, config.get("lod", 0.0)), path)


def load_discriminator(model_dir: str | pathlib.Path) -> Discriminator | None:
    """Returns the discriminator of a model directory; None without one."""
    config = directory.read_config(model_dir)
    path = pathlib.Path(model_dir) / directory.ASSETS / DISCRIMINATOR
    if not path.is_file():
        return None
    fields = _section(config, "discriminator", model_dir)
    wanted = DiscriminatorConfig.from_dict(fields)
    _check_size(path, wanted)
    return _loaded(build_discriminator(wanted), path)


@contextlib.contextmanager
def training_assets(
    generator: StyleGAN | None, discriminator: Discriminator | None
) -> Iterator[dict[str, pathlib.Path]]:
    """Writes what training goes on from; gives the assets for `model_dir.save`."""
    networks = {GENERATOR: generator, DISCRIMINATOR: discriminator}
    with tempfile.TemporaryDirectory() as scratch:
        assets = {}
        for name, network in networks.items():
            if network is not None:
                assets[name] = pathlib.Path(scratch) / name
                network.save_weights(str(assets[name]))
        yield assets


def _section(config: Mapping[str, Any], name: str, where: Any) -> Mapping[str, Any]:
    fields = config.get(name)
    if not isinstance(fields, Mapping):
        raise UserError(f"{where}: {directory.CONFIG} has no {name!r}")
    return fields


def _check_size(path: pathlib.Path, config: Any) -> None:
    held = files.require_file(path).stat().st_size
    if 4 * config.num_parameters() > held:
        raise UserError(
            f"{path} has {held:,} bytes, too few for the {config.num_parameters():,} "
            f"weights that {directory.CONFIG} asks for"
        )


def _loaded(model: keras.Model, path: pathlib.Path) -> Any:
    try:
        model.load_weights(str(path))
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{path} cannot be loaded (damaged, or of another architecture): {reason}"
        ) from None
    return model
