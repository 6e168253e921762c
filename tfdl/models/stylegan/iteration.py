"""One iteration: the discriminator's steps and one of the generator.

Pictures are fed at the resolution in use. The original feeds them enlarged to the full
one by repeating pixels and takes the mean again in the discriminator: the same scores,
and penalties that `DiscriminatorLoss` scales by `enlarged`.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfdl.engine.learner import Learner
from tfdl.engine.phases import Phase
from tfdl.engine.task import Batch, Metrics
from tfdl.gan import losses, steps
from tfdl.models.stylegan import layers
from tfdl.models.stylegan.growing import Schedule, Stretch

# Streams of random numbers of one iteration; another is added to the step's seed.
_MIRROR, _Z, _Z2, _MIX, _CUT, _PENALTY, _NOISE = range(7)
_GENERATOR = 100  # added for the generator's step
_PER_STEP = 10  # times which of the discriminator's steps it is


class Iteration:
    """Updates both networks in a stretch of the schedule; in replica context.

    Args:
        learner: with the networks "generator" and "discriminator".
        schedule: the whole plan.
        stretch: the part of it that is trained.
        phase: that part as the engine knows it.
        generator_loss: a key of `losses.GENERATOR`.
        discriminator_loss: with its penalties.
        mirror: every other real picture is mirrored.
        devices: how many of the original's devices the batch is shared by: groups
            of the minibatch's deviation and draws of style mixing are a device's own.
        seed: of everything random.
        skips: what judges updates that are not finite.
    """

    def __init__(
        self,
        learner: Learner,
        schedule: Schedule,
        stretch: Stretch,
        phase: Phase,
        *,
        generator_loss: str,
        discriminator_loss: losses.DiscriminatorLoss,
        mirror: bool,
        devices: int,
        seed: Any,
        skips: steps.Skips,
    ):
        self.learner, self.schedule, self.phase = learner, schedule, phase
        self.stretch, self.stage = stretch, stretch.level
        self.generator = learner.networks["generator"]
        self.discriminator = learner.networks["discriminator"]
        self.generator_loss = losses.GENERATOR[generator_loss]
        self.discriminator_loss = discriminator_loss
        self.mirror, self.seed, self.skips = mirror, seed, skips
        self.micro = max(phase.gradient_accumulation, 1)
        self.replicas = learner.strategy.num_replicas_in_sync
        self.parts = self.replicas * self.micro
        self.devices = devices
        self.slices = devices // self.parts

    def __call__(self, batch: Batch, step: tf.Tensor) -> Metrics:
        """Makes the iteration.

        Args:
            batch: this replica's rows. `image` uint8 [B, K, h, w, C] and `label`
                [B, K, L], real, for the discriminator's K steps; `drawn_label`
                [B, L] for the generator's.
            step: within the phase.
        """
        fade = fading(self.schedule, self.stretch, step)
        rates = learning_rates(self.schedule, self.stretch, step)
        seed = tf.random.experimental.stateless_fold_in(
            tf.constant(self.seed, tf.int32), tf.cast(step, tf.int32)
        )
        compute = self._shared(self._discriminator_part)
        for k in range(self.schedule.discriminator_steps):
            parts = self._parts(
                {"image": batch["image"][:, k], "label": batch["label"][:, k]},
                fade,
                tf.random.experimental.stateless_fold_in(seed, _PER_STEP * k),
            )
            shares, d_report = self._update("discriminator", compute, parts, rates)
        parts = self._parts(
            {"label": batch["drawn_label"]},
            fade,
            tf.random.experimental.stateless_fold_in(seed, _GENERATOR),
        )
        compute = self._shared(self._generator_part)
        g_shares, g_report = self._update("generator", compute, parts, rates)
        one, weight = tf.constant(1.0), tf.constant(1.0 / self.replicas)
        found = {"loss": g_shares["generator_loss"], **g_shares, **shares}
        norms = {"generator": g_report, "discriminator": d_report}
        return {
            **{name: (value, weight) for name, value in found.items()},
            **{f"{n}_grad_norm": (r["grad_norm"], one) for n, r in norms.items()},
            **self.skips.metrics(self.replicas),
            "lod": (self.stage + fade, one),
            "learning_rate": (rates["generator"], one),
        }

    def _update(self, name, compute, parts, rates):
        shares, report = steps.update(
            self.learner, self.phase, name, compute, parts, rates[name], self.skips
        )
        self.generator.move_average(shares.pop("mean_w"))
        return shares, report

    # --- what is drawn -------------------------------------------------------------

    def _parts(self, rows: Mapping[str, tf.Tensor], fade, seed):
        """Yields the parts of this replica's rows with what is random about them."""
        for i in range(self.micro):
            part = {}
            for name, tensor in rows.items():
                size = tensor.shape[0] // self.micro
                part[name] = tensor[i * size : (i + 1) * size]
            yield {**part, **self._draws(size, i, seed), "fade": fade}

    def _draws(self, size: int, i: int, seed) -> dict[str, Any]:
        """Returns a part's rows of what is drawn for the global batch."""
        context = tf.distribute.get_replica_context()
        index = context.replica_id_in_sync_group * self.micro + i
        whole = size * self.parts

        def rows(values):
            begin = [index * size] + [0] * (values.shape.rank - 1)
            return tf.slice(values, begin, [size, *values.shape[1:]])

        def seed_of(stream):
            return tf.random.experimental.stateless_fold_in(seed, stream)

        def normal(stream):
            shape = [whole, self.generator.config.latent_size]
            return rows(tf.random.stateless_normal(shape, seed_of(stream)))

        def uniform(stream, count):
            values = tf.random.stateless_uniform([count], seed_of(stream))
            return rows(tf.repeat(values, whole // count))

        return {
            "z": normal(_Z),
            "z2": normal(_Z2),
            "mixes": uniform(_MIX, self.devices),
            "cutoff": uniform(_CUT, self.devices),
            "mirror": uniform(_MIRROR, whole),
            "penalty": uniform(_PENALTY, whole),
            "noise": self.generator.synthesis.draw_noise(
                size, seed_of(_NOISE), self.stage, (index, self.parts)
            )
            if self.generator.config.use_noise
            else [],
        }

    # --- losses --------------------------------------------------------------------

    def _discriminator_part(self, part, variables):
        """Returns gradients and shares of one part of the discriminator's batch."""
        fake, mean = self._generated(part)
        fake = tf.stop_gradient(fake)
        mirrored = part["mirror"] < 0.5 if self.mirror else None
        real = process_reals(part["image"], part["fade"], mirrored)
        with tf.GradientTape() as tape:
            loss, records = self.discriminator_loss(
                lambda images: self._score(images, part),
                real,
                fake,
                mix=part["penalty"],
                enlarged=2.0**self.stage,
            )
            share = self._share(loss)
            scaled = self.learner.loss_scales["discriminator"].scale(share)
        shares = {name: self._share(value) for name, value in records.items()}
        shares |= {"discriminator_loss": share, "mean_w": mean}
        return tape.gradient(scaled, variables), shares

    def _generator_part(self, part, variables):
        """Returns gradients and shares of one part of the generator's batch."""
        with tf.GradientTape() as tape:
            fake, mean = self._generated(part)
            share = self._share(self.generator_loss(self._score(fake, part)))
            scaled = self.learner.loss_scales["generator"].scale(share)
        shares = {"generator_loss": share, "mean_w": mean}
        return tape.gradient(scaled, variables), shares

    def _generated(self, part) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns pictures, and this part's share of the mean w of a replica."""
        generator = self.generator
        mixes = generator.config.style_mixing_prob
        w, mean = generator.styles(
            part["z"],
            self._label(part),
            z2=part["z2"] if mixes else None,
            cutoff=generator.mixing_cutoffs(part["mixes"], part["cutoff"], self.stage),
        )
        fake = generator.synthesis(
            w,
            noise=part["noise"] or "zero",
            lod=self.stage + part["fade"],
            stage=self.stage,
            upscale=False,
        )
        return fake, mean / self.micro

    def _score(self, images: tf.Tensor, part) -> tf.Tensor:
        return self.discriminator(
            images,
            self._label(part),
            lod=self.stage + part["fade"],
            stage=self.stage,
            slices=self.slices,
        )

    def _label(self, part) -> tf.Tensor | None:
        return part["label"] if self.generator.config.label_size else None

    def _share(self, values: tf.Tensor) -> tf.Tensor:
        return losses.share(values, self.parts * values.shape[0])

    def _shared(self, function):
        """Returns a function whose graph all parts share, compiled if asked for."""
        compiled = None

        def run(part, variables):
            nonlocal compiled
            if compiled is None:
                compiled = tf.function(
                    lambda part: function(part, variables),
                    jit_compile=True if self.learner.config.xla else None,
                )
            return compiled(part)

        return run


def process_reals(
    images: tf.Tensor, fade: tf.Tensor | float, mirrored: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns pictures as the discriminator sees them, at their own resolution.

    Args:
        images: uint8 [B, H, W, C].
        fade: lod - floor(lod): the part of the next smaller resolution.
        mirrored: bool [B]; None for none.

    Returns:
        float32 [B, H, W, C] in [-1, 1].
    """
    values = tf.cast(images, tf.float32) * (2.0 / 255.0) - 1.0
    if mirrored is not None:
        values = tf.where(mirrored[:, None, None, None], values[:, :, ::-1], values)
    if isinstance(fade, float) and fade == 0.0:
        return values
    return layers.lerp(values, layers.upsample(layers.downsample(values)), fade)


def fading(schedule: Schedule, stretch: Stretch, step: tf.Tensor) -> tf.Tensor | float:
    """Returns lod - floor(lod) at a step of a stretch; 0.0 of a stable one."""
    if not stretch.fading:
        return 0.0
    # Relative to where the fade began: exact in float32.
    first = stretch.first_image - schedule.fading_from(stretch.level)
    shown = first + _shown(schedule, stretch, step)
    faded = tf.cast(shown, tf.float32) / (1000.0 * schedule.transition_kimg)
    return tf.clip_by_value(1.0 - faded, 0.0, 1.0)


def learning_rates(
    schedule: Schedule, stretch: Stretch, step: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns both networks' rates at a step of a stretch."""
    rates = schedule.rates_of(stretch.values.resolution)
    ramp = tf.constant(1.0)
    if schedule.ramp_up_kimg:
        shown = stretch.first_image + _shown(schedule, stretch, step)
        kimg = tf.cast(shown, tf.float32) / 1000.0
        ramp = tf.minimum(kimg / schedule.ramp_up_kimg, 1.0)
    return {name: rate * ramp for name, rate in rates.items()}


def _shown(schedule: Schedule, stretch: Stretch, step: tf.Tensor) -> tf.Tensor:
    """Returns the pictures of a stretch before the group of steps that `step` is in."""
    group = tf.cast(step, tf.int64) // schedule.repeats
    images = schedule.group_images(stretch.values.batch_size)
    return tf.cast(group, tf.float32) * float(images)
