"""A StyleGAN as a SavedModel that makes PNG files, and as a TF Hub module.

What is exported is the generator for inference, see `inference.py`. Every input has a
row for every picture, so that a server can join requests, and a picture does not depend
on what else is asked with it.
"""

from typing import Any

import numpy as np
import tensorflow as tf

import tfdl
from tfdl.engine import exports, model_dir
from tfdl.engine.errors import UserError
from tfdl.models.stylegan.discriminator import Discriminator
from tfdl.models.stylegan.inference import STORED, FoldedGenerator

# What PNG files can hold.
PNG_CHANNELS = (1, 2, 3, 4)
CONVERTED = "nvlabs-pickle"
LICENCE = (
    " Converted from a file of NVlabs/stylegan: the official weights are licensed "
    "CC BY-NC 4.0, for non-commercial use only."
)


class ServingModule(exports.Reusable):
    """The network's variables once, and the signatures."""

    def __init__(self, directory: str):
        model = tfdl.load(directory)
        if isinstance(model, Discriminator):
            raise UserError(
                f"{directory} holds a discriminator alone: nothing to serve"
            )
        config, folded = model.config, FoldedGenerator(model)
        super().__init__(*folded.every(), extra=[folded.average])
        # What is not trained here would be trained on numbers that were folded.
        self.trainable_variables = []
        self._folded = lambda: folded
        self.config = lambda: config
        defaults = (config.truncation_psi, config.truncation_cutoff)
        off = None in defaults
        self.psi, self.cutoff = (1.0, 0) if off else defaults
        z = tf.TensorSpec([None, config.latent_size], tf.float32)
        psi = tf.TensorSpec([], tf.float32)
        label = tf.TensorSpec([None], tf.int32)
        given = {"z": z, "label": label} if config.label_size else {"z": z}
        self.set_call(self.generate, given, {**given, "truncation_psi": psi})

    # --- called as module({"z": ...}) --------------------------------------------

    def generate(self, inputs, training=False):
        """Maps {"z", "label", "truncation_psi"} to {"image"}; noise is the stored."""
        del training
        count = tf.shape(inputs["z"])[0]
        psi = tf.fill([count], inputs.get("truncation_psi", self.psi))
        cutoff = tf.fill([count], self.cutoff)
        w = self._truncated(inputs["z"], inputs.get("label"), psi, cutoff)
        return {"image": self._folded().synthesize(w)}

    # --- signatures ----------------------------------------------------------------

    def images(self, z, truncation_psi, truncation_cutoff, noise_seed, label=None):
        """Maps latents to float32 pictures."""
        w = self._truncated(z, label, truncation_psi, truncation_cutoff)
        return {"image": self._folded().synthesize(w, noise_seed)}

    def pixels(self, **inputs):
        """Maps latents to uint8 pictures."""
        return {"pixels": to_uint8(self.images(**inputs)["image"])}

    def files(self, **inputs):
        """Maps latents to PNG files."""
        return {"image_bytes": to_png(self.images(**inputs)["image"])}

    def mapping(self, z, label=None):
        """Maps latents to w [B, L, D], not truncated."""
        return {"w": self._folded().mapping(z, label)}

    def from_w(self, w, noise_seed):
        """Maps w [B, D] or [B, L, D] to float32 pictures."""
        if w.shape.rank == 2:
            w = tf.tile(w[:, None], [1, self.config().num_styles, 1])
        return {"image": self._folded().synthesize(w, noise_seed)}

    def files_from_w(self, w, noise_seed):
        """Maps w [B, D] or [B, L, D] to PNG files."""
        return {"image_bytes": to_png(self.from_w(w, noise_seed)["image"])}

    def _truncated(self, z, label, psi, cutoff):
        folded = self._folded()
        return folded.truncate(folded.mapping(z, label), psi, cutoff)

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions by name."""
        config = self.config()
        label = {"label": _spec("label", tf.int32)} if config.label_size else {}
        z = {"z": _spec("z", tf.float32, config.latent_size), **label}
        seed = {"noise_seed": _spec("noise_seed", tf.int64)}
        latents = {
            **z,
            "truncation_psi": _spec("truncation_psi", tf.float32),
            "truncation_cutoff": _spec("truncation_cutoff", tf.int32),
            **seed,
        }
        one = {"w": _spec("w", tf.float32, config.dlatent_size), **seed}
        shape = (config.num_styles, config.dlatent_size)
        each = {"w": _spec("w", tf.float32, *shape), **seed}

        def trace(function, spec):
            return tf.function(function).get_concrete_function(**spec)

        traced = {
            "images": trace(self.images, latents),
            "pixels": trace(self.pixels, latents),
            "mapping": trace(self.mapping, z),
            "w_images": trace(self.from_w, one),
            "w_plus_images": trace(self.from_w, each),
        }
        if config.num_channels in PNG_CHANNELS:
            traced["serving_default"] = trace(self.files, latents)
            traced["w"] = trace(self.files_from_w, one)
            traced["w_plus"] = trace(self.files_from_w, each)
        else:
            traced["serving_default"] = traced.pop("pixels")
        return traced


def to_uint8(images: tf.Tensor) -> tf.Tensor:
    """Returns pictures in [-1, 1] as uint8: x * 127.5 + 128, cut off and floored."""
    scaled = tf.clip_by_value(tf.floor(images * 127.5 + 128.0), 0.0, 255.0)
    return tf.cast(scaled, tf.uint8)


def to_png(images: tf.Tensor) -> tf.Tensor:
    """Returns pictures in [-1, 1] as PNG files, strings [B]."""
    spec = tf.TensorSpec([], tf.string)
    return tf.map_fn(tf.io.encode_png, to_uint8(images), fn_output_signature=spec)


def serving_module(directory: str) -> tuple[ServingModule, dict[str, Any]]:
    """Returns (module, signatures) of a model directory.

    `serving_default` makes PNG files, `pixels` uint8 pictures and `images` float32
    ones, from z, label (of a conditional network), truncation_psi, truncation_cutoff
    and noise_seed (below 0: the stored noise). `mapping` gives w; `w` and `w_plus` make
    PNG files from one w or one w per layer, `w_images` and `w_plus_images` float32.
    """
    module = ServingModule(str(directory))
    return module, module.signatures()


def warm_ups(directory: str) -> list[exports.WarmUp]:
    """Returns requests for every signature: one picture, and two."""
    config = tfdl.load(str(directory)).config
    random = np.random.default_rng(0)
    result = []
    for count in (1, 2):
        z = {"z": random.normal(size=[count, config.latent_size]).astype("float32")}
        if config.label_size:
            z["label"] = np.arange(count, dtype="int32") % config.label_size
        seed = {"noise_seed": np.arange(STORED, count - 1, dtype="int64")}
        latents = {
            **z,
            "truncation_psi": np.full(count, 0.7, "float32"),
            "truncation_cutoff": np.full(count, 8, "int32"),
            **seed,
        }
        shape = [count, config.num_styles, config.dlatent_size]
        w = random.normal(size=shape).astype("float32")
        one, each = {"w": w[:, 0], **seed}, {"w": w, **seed}
        named = {"serving_default": latents, "images": latents, "mapping": z}
        named |= {"w_images": one, "w_plus_images": each}
        if config.num_channels in PNG_CHANNELS:
            named |= {"pixels": latents, "w": one, "w_plus": each}
        result += [exports.WarmUp(inputs, name) for name, inputs in named.items()]
    return result


def card(directory: str) -> exports.Card:
    """Returns what the documentation of the generator says."""
    settings = model_dir.read_config(str(directory))
    config = settings["generator"]
    side, channels = config["resolution"], config["num_channels"]
    source = (settings.get("source") or {}).get("format")
    z = f"float32 [B, {config['latent_size']}], normally distributed"
    inputs = {"z": z}
    if config["label_size"]:
        inputs["label"] = f"int32 [B], the class, below {config['label_size']}"
    inputs["truncation_psi"] = (
        "float32 scalar, may be left out; below 1 for more usual pictures"
    )
    label = ', "label": tf.constant([0])' if config["label_size"] else ""
    return exports.Card(
        summary=f"StyleGAN that makes pictures of {side}x{side}."
        + (LICENCE if source == CONVERTED else ""),
        task="image-generator",
        inputs=inputs,
        outputs={"image": f"float32 [B, {side}, {side}, {channels}], about in [-1, 1]"},
        usage=_USAGE.format(size=config["latent_size"], label=label),
        architecture="stylegan",
        fine_tunable=False,
    )


_USAGE = """\
z = tf.random.normal([1, {size}])
image = module({{"z": z{label}}})["image"][0]
pixels = tf.cast(tf.clip_by_value(image * 127.5 + 128, 0, 255), tf.uint8)
tf.io.write_file("picture.png", tf.io.encode_png(pixels))"""


def _spec(name: str, dtype: tf.DType, *shape: int) -> tf.TensorSpec:
    return tf.TensorSpec([None, *shape], dtype, name=name)
