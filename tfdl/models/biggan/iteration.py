"""One iteration: some steps of the discriminator, one of the generator.

As the reference does it: fresh z and classes for every step and every accumulation; the
generator runs in training mode even where no gradient is wanted, so that its statistics
and the vectors of its spectral normalisation move in the discriminator's steps, and the
discriminator's move in the generator's step.
"""

import dataclasses
from collections.abc import Callable, Mapping

import tensorflow as tf

from tfdl.engine import errors
from tfdl.engine.learner import Learner
from tfdl.engine.phases import Phase
from tfdl.engine.task import Batch, Metrics
from tfdl.gan import diffaugment
from tfdl.models.biggan import orthogonal

LOSSES = ("hinge", "softplus")


@dataclasses.dataclass(frozen=True)
class Steps:
    """What an iteration is made of.

    Attributes:
        discriminator_steps: steps of the discriminator per step of the generator.
        discriminator_accumulation: batches whose gradients a step of it sums.
        generator_accumulation: the same of the generator's.
        split: the discriminator sees generated and real pictures one after the other,
            not in one pass; its spectral vectors move twice then.
        loss: "hinge", or "softplus": the non-saturating loss.
        generator_orthogonal: strength of the orthogonal regularisation; 0: none.
        discriminator_orthogonal: the same.
        orthogonal_form: "grad2" or "exact", see `orthogonal`.
        r1: gamma of R1, `gamma / 2 |dD(x)/dx|^2` on real pictures; 0: none.
        diffaugment: steps of DiffAugment, empty: none.
    """

    discriminator_steps: int = 2
    discriminator_accumulation: int = 1
    generator_accumulation: int = 1
    split: bool = False
    loss: str = "hinge"
    generator_orthogonal: float = 0.0
    discriminator_orthogonal: float = 0.0
    orthogonal_form: str = "grad2"
    r1: float = 0.0
    diffaugment: str = ""

    def __post_init__(self):
        for name in (
            "discriminator_steps",
            "discriminator_accumulation",
            "generator_accumulation",
        ):
            if getattr(self, name) < 1:
                raise errors.UserError(f"{name} has to be at least 1")
        if self.loss not in LOSSES:
            raise errors.unknown("loss", self.loss, LOSSES)
        orthogonal.check(self.orthogonal_form)
        diffaugment.parse(self.diffaugment)

    @property
    def batches(self) -> int:
        """Batches of real pictures in an iteration."""
        return self.discriminator_steps * self.discriminator_accumulation


class Iteration:
    """Updates both networks once, in replica context.

    Args:
        learner: with the networks "generator" and "discriminator".
        steps: what it is made of.
        tables: names of weights whose filters are rows, per network.
        blacklist: names that are not regularised, per network.
    """

    def __init__(
        self,
        learner: Learner,
        steps: Steps,
        tables: Mapping[str, tuple[str, ...]],
        blacklist: Mapping[str, tuple[str, ...]],
    ):
        self.learner, self.steps = learner, steps
        self.tables, self.blacklist = tables, blacklist
        self.generator = learner.networks["generator"]
        self.discriminator = learner.networks["discriminator"]
        self.replicas = learner.strategy.num_replicas_in_sync

    def __call__(
        self,
        batch: Batch,
        phase: Phase,
        rates: Mapping[str, tf.Tensor],
    ) -> Metrics:
        """Makes the iteration.

        Args:
            batch: this replica's rows, with a second axis of batches. `image` uint8
                [B, K, H, W, C] and `label` [B, K], real; `z` [B, K, dim] and
                `fake_label` [B, K] for the discriminator's steps, K of them in order;
                `generator_z` and `generator_label` [G, M, ...] for the generator's;
                with DiffAugment `draws`, `fake_draws` and `generator_draws`.
            phase: names the trained variables.
            rates: learning rate per network.
        """
        steps = self.steps
        d_variables = self.learner.trained("discriminator", phase)
        compute = self._shared(self._discriminator_part, list(d_variables.values()))
        count = steps.discriminator_accumulation
        for k in range(steps.discriminator_steps):
            parts = [
                self._real_part(batch, k * count + i)
                for i in range(steps.discriminator_accumulation)
            ]
            gradients, shares = _summed(compute, parts)
            gradients = self._regularised(
                "discriminator",
                gradients,
                d_variables,
                steps.discriminator_orthogonal,
            )
            report = self.learner.apply(
                "discriminator", gradients, d_variables, rates["discriminator"]
            )
        d_norm = report["grad_norm"]
        g_variables = self.learner.trained("generator", phase)
        compute = self._shared(self._generator_part, list(g_variables.values()))
        parts = [self._fake_part(batch, i) for i in range(steps.generator_accumulation)]
        gradients, g_shares = _summed(compute, parts)
        gradients = self._regularised(
            "generator", gradients, g_variables, steps.generator_orthogonal
        )
        report = self.learner.apply(
            "generator", gradients, g_variables, rates["generator"]
        )
        weight = tf.constant(1.0 / self.replicas)
        one = tf.constant(1.0)
        found = {"loss": g_shares["generator_loss"], **g_shares, **shares}
        return {
            **{name: (value, weight) for name, value in found.items()},
            "discriminator_grad_norm": (d_norm, one),
            "generator_grad_norm": (report["grad_norm"], one),
        }

    # --- the discriminator's step ------------------------------------------------

    def _real_part(self, batch: Batch, index: int) -> dict[str, tf.Tensor]:
        names = ("image", "label", "weight", "z", "fake_label", "draws", "fake_draws")
        return {name: batch[name][:, index] for name in names if name in batch}

    def _discriminator_part(self, part, variables):
        """Returns gradients and shares of the loss over one batch."""
        steps = self.steps
        fake = self.generator(
            {"z": part["z"], "label": part["fake_label"]}, training=True
        )["image"]
        fake = tf.stop_gradient(tf.cast(fake, tf.float32))
        real = to_float(part["image"], fake.shape[-1])
        fake = self._augmented(fake, part.get("fake_draws"))
        real = self._augmented(real, part.get("draws"))
        size = real.shape[0] * self.replicas * steps.discriminator_accumulation
        with tf.GradientTape() as tape:
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(real)
                fake_logits, real_logits = self._logits(fake, real, part)
                total = tf.reduce_sum(real_logits)
            real_loss, fake_loss = _discriminator_losses(
                steps.loss, real_logits, fake_logits
            )
            weight = part.get("weight", tf.ones_like(real_loss))
            shares = {
                "discriminator_real_loss": tf.reduce_sum(real_loss * weight) / size,
                "discriminator_fake_loss": tf.reduce_sum(fake_loss) / size,
            }
            share = tf.add_n(list(shares.values()))
            if steps.r1:
                slope = tf.reduce_sum(tf.square(inner.gradient(total, real)))
                shares["r1"] = 0.5 * steps.r1 * slope / size
                share += shares["r1"]
            scaled = self.learner.loss_scales["discriminator"].scale(share)
        right = tf.reduce_sum(tf.cast(real_logits > 0, tf.float32))
        right_fake = tf.reduce_sum(tf.cast(fake_logits < 0, tf.float32))
        shares["discriminator_accuracy"] = 0.5 * (right + right_fake) / size
        return tape.gradient(scaled, variables), shares

    def _logits(self, fake, real, part):
        """Returns the logits of generated and of real pictures."""
        if self.steps.split:
            return tuple(
                self._discriminate(images, labels)
                for images, labels in (
                    (fake, part["fake_label"]),
                    (real, part["label"]),
                )
            )
        labels = tf.concat([part["fake_label"], part["label"]], axis=0)
        both = self._discriminate(tf.concat([fake, real], axis=0), labels)
        return both[: fake.shape[0]], both[fake.shape[0] :]

    def _discriminate(self, images, labels):
        result = self.discriminator({"image": images, "label": labels}, training=True)
        return tf.cast(result["logits"], tf.float32)

    # --- the generator's step ----------------------------------------------------

    def _fake_part(self, batch: Batch, index: int) -> dict[str, tf.Tensor]:
        names = ("generator_z", "generator_label", "generator_draws")
        return {
            name.removeprefix("generator_"): batch[name][:, index]
            for name in names
            if name in batch
        }

    def _generator_part(self, part, variables):
        """Returns gradients and shares of the loss over one batch."""
        steps = self.steps
        size = part["z"].shape[0] * self.replicas * steps.generator_accumulation
        with tf.GradientTape() as tape:
            fake = self.generator(
                {"z": part["z"], "label": part["label"]}, training=True
            )["image"]
            fake = self._augmented(tf.cast(fake, tf.float32), part.get("draws"))
            logits = self._discriminate(fake, part["label"])
            each = -logits if steps.loss == "hinge" else tf.nn.softplus(-logits)
            share = tf.reduce_sum(each) / size
            scaled = self.learner.loss_scales["generator"].scale(share)
        return tape.gradient(scaled, variables), {"generator_loss": share}

    # --- what both need ----------------------------------------------------------

    def _augmented(self, images, draws):
        if not self.steps.diffaugment:
            return images
        return diffaugment.augment(images, draws, self.steps.diffaugment)

    def _regularised(self, name, gradients, variables, strength: float):
        if not strength:
            return gradients
        scale = self.learner.loss_scales[name]
        changed = orthogonal.add(
            [tf.zeros_like(g) if g is not None else None for g in gradients],
            variables,
            strength,
            self.steps.orthogonal_form,
            blacklist=self.blacklist.get(name, ()),
            tables=self.tables.get(name, ()),
            replicas=self.replicas,
        )
        return [
            None if g is None else g + scale.scale(more)
            for g, more in zip(gradients, changed, strict=True)
        ]

    def _shared(self, function: Callable, variables) -> Callable:
        """Returns a function whose graph all its calls share.

        Not with several replicas: statistics of the global batch are reduced in it,
        which cannot be done inside a function of its own.
        """

        def bound(part):
            return function(part, variables)

        if self.replicas > 1:
            return bound
        return tf.function(bound, jit_compile=True if self.learner.config.xla else None)


def to_float(images: tf.Tensor, channels: int = 3) -> tf.Tensor:
    """Returns uint8 pictures [..., 3] in [-1, 1], with as many channels as asked."""
    values = tf.cast(images, tf.float32) / 127.5 - 1.0
    if channels == 1 and images.shape[-1] == 3:
        # As Pillow makes a picture grey.
        values = tf.reduce_sum(values * [0.299, 0.587, 0.114], axis=-1, keepdims=True)
    return values


def _discriminator_losses(loss: str, real, fake) -> tuple[tf.Tensor, tf.Tensor]:
    if loss == "hinge":
        return tf.nn.relu(1.0 - real), tf.nn.relu(1.0 + fake)
    return tf.nn.softplus(-real), tf.nn.softplus(fake)


def _summed(compute: Callable, parts: list) -> tuple[list, dict[str, tf.Tensor]]:
    """Returns the sums of gradients and shares over the parts, one after another."""
    gradients, shares = compute(parts[0])
    gradients = list(gradients)
    for part in parts[1:]:
        more, more_shares = compute(part)
        gradients = [
            b if a is None else a if b is None else tf.add(a, b)
            for a, b in zip(gradients, more, strict=True)
        ]
        shares = {name: shares[name] + more_shares[name] for name in shares}
    return gradients, shares
