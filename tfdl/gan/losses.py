"""Losses of generative adversarial networks, one value per example.

Losses and penalties are per example, [B]. Their mean over the global batch is what
is learned: `share` gives a part's contribution, which adds over replicas and
micro-batches. A score function maps a batch to scores [B] or [B, 1].
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from tfdl.engine import errors
from tfdl.engine.errors import UserError

Score = Callable[[tf.Tensor], tf.Tensor]


# --- the generator -----------------------------------------------------------------


def non_saturating(fake: tf.Tensor) -> tf.Tensor:
    """-log sigmoid(D(G(z))) (Goodfellow et al. 2014)."""
    return tf.nn.softplus(-_flat(fake))


def saturating(fake: tf.Tensor) -> tf.Tensor:
    """log(1 - sigmoid(D(G(z)))), the minimax game as written."""
    return -tf.nn.softplus(_flat(fake))


def wgan_generator(fake: tf.Tensor) -> tf.Tensor:
    """-D(G(z)) (Arjovsky et al. 2017)."""
    return -_flat(fake)


def hinge_generator(fake: tf.Tensor) -> tf.Tensor:
    """-D(G(z)) (Lim & Ye 2017)."""
    return -_flat(fake)


# --- the discriminator -------------------------------------------------------------


def logistic(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """-log sigmoid(D(x)) - log(1 - sigmoid(D(G(z))))."""
    return tf.nn.softplus(_flat(fake)) + tf.nn.softplus(-_flat(real))


def wgan_critic(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """D(G(z)) - D(x)."""
    return _flat(fake) - _flat(real)


def hinge_discriminator(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """max(0, 1 + D(G(z))) + max(0, 1 - D(x))."""
    return tf.nn.relu(1.0 + _flat(fake)) + tf.nn.relu(1.0 - _flat(real))


GENERATOR = {
    "non_saturating": non_saturating,
    "saturating": saturating,
    "wgan": wgan_generator,
    "hinge": hinge_generator,
}
DISCRIMINATOR = {
    "logistic": logistic,
    "wgan": wgan_critic,
    "hinge": hinge_discriminator,
}


# --- penalties ---------------------------------------------------------------------


def squared_gradients(score: Score, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (scores, |gradient|^2 [B]) of the summed scores by the pictures.

    Half of it times gamma is R1 on real pictures, R2 on generated ones (Mescheder et
    al. 2018).
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        scores = score(images)
        total = tf.reduce_sum(scores)
    gradient = tf.cast(tape.gradient(total, images), tf.float32)
    return scores, _sum_inside(tf.square(gradient))


def gradient_norms(
    score: Score, real: tf.Tensor, fake: tf.Tensor, mix: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (scores, |gradient| [B]) between real and generated pictures.

    Args:
        score: the discriminator.
        real: pictures [B, H, W, C].
        fake: pictures of the same shape.
        mix: [B], 0 for the real picture, 1 for the generated one.
    """
    mix = tf.reshape(tf.cast(mix, real.dtype), [-1] + [1] * (real.shape.rank - 1))
    scores, squares = squared_gradients(score, real + (fake - real) * mix)
    return scores, tf.sqrt(squares)


@dataclasses.dataclass(frozen=True)
class DiscriminatorLoss:
    """A discriminator's loss with its penalties.

    Attributes:
        name: a key of `DISCRIMINATOR`.
        r1_gamma: weight of R1: gamma / 2 |gradient|^2 at real pictures.
        r2_gamma: weight of R2: the same at generated ones.
        gp_weight: weight of WGAN-GP's penalty (Gulrajani et al. 2017).
        gp_target: the gradient's length that it asks for.
        drift: weight of the squared score of real pictures (Karras et al. 2017).
    """

    name: str = "logistic"
    r1_gamma: float = 0.0
    r2_gamma: float = 0.0
    gp_weight: float = 0.0
    gp_target: float = 1.0
    drift: float = 0.0

    def __post_init__(self):
        if self.name not in DISCRIMINATOR:
            raise errors.unknown("discriminator's loss", self.name, DISCRIMINATOR)
        for name in ("r1_gamma", "r2_gamma", "gp_weight", "drift"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} may not be negative: {getattr(self, name)!r}")
        if not self.gp_target > 0:
            raise UserError(f"gp_target has to be positive: {self.gp_target!r}")

    def __call__(
        self,
        score: Score,
        real: tf.Tensor,
        fake: tf.Tensor,
        mix: tf.Tensor | None = None,
        enlarged: float = 1.0,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns (loss [B], its parts by name [B]).

        Args:
            score: the discriminator.
            real: pictures.
            fake: generated pictures.
            mix: uniform draws [B], where `gp_weight` is set.
            enlarged: gradients are those by pictures enlarged so many times by
                repeating pixels, of which the discriminator takes the mean first:
                1/enlarged as long. For networks that grow and are defined on
                pictures of the full size.
        """
        parts = {}
        if self.r1_gamma:
            real_scores, squares = squared_gradients(score, real)
            parts["r1_penalty"] = squares * (0.5 * self.r1_gamma / enlarged**2)
        else:
            real_scores = score(real)
        if self.r2_gamma:
            fake_scores, squares = squared_gradients(score, fake)
            parts["r2_penalty"] = squares * (0.5 * self.r2_gamma / enlarged**2)
        else:
            fake_scores = score(fake)
        if self.gp_weight:
            if mix is None:
                raise ValueError("the gradient penalty needs `mix`")
            _, norms = gradient_norms(score, real, fake, mix)
            off = norms / enlarged - self.gp_target
            factor = self.gp_weight / self.gp_target**2
            parts["gradient_penalty"] = tf.square(off) * factor
        if self.drift:
            parts["drift_penalty"] = tf.square(_flat(real_scores)) * self.drift
        loss = DISCRIMINATOR[self.name](real_scores, fake_scores)
        loss = tf.add_n([loss, *parts.values()])
        scores = {"scores_real": _flat(real_scores), "scores_fake": _flat(fake_scores)}
        return loss, {**scores, **parts}


def share(values: tf.Tensor, count: tf.Tensor | float) -> tf.Tensor:
    """Returns a part's share of the mean over `count` examples of the global batch."""
    return tf.reduce_sum(values) / tf.cast(count, values.dtype)


def _flat(scores: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.cast(scores, tf.float32), [-1])


def _sum_inside(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, list(range(1, values.shape.rank)))
