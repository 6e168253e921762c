"""Losses, gradients, one Adam step and averages against the original's."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.stylegan.goldens import arrays, assert_near, network, nhwc
from tfdl.engine import optimizers
from tfdl.gan import losses
from tfdl.models.stylegan import names

CASES = ("r1_lod0", "r1_lod1.35", "wgangp_lod0")
R1 = losses.DiscriminatorLoss("logistic", r1_gamma=10.0)
WGAN_GP = losses.DiscriminatorLoss("wgan", gp_weight=10.0, drift=0.001)


class Run:
    """The two networks of a golden, and what it was computed from."""

    def __init__(self, name: str):
        self.io = arrays(f"train_{name}")
        self.g, self.d = network("tiny32", "G"), network("tiny32", "D")
        self.gs = network("tiny32", "Gs")
        self.lod = float(self.io["lod"])
        self.stage = self.g.config.stage_of(self.lod)
        self.loss = R1 if name.startswith("r1") else WGAN_GP
        self.generator_loss = losses.GENERATOR[
            "non_saturating" if name.startswith("r1") else "wgan"
        ]

    def fakes(self, step: str):
        """Returns training-mode pictures at native size; moves the average w."""
        io, layers = self.io, range(self.g.config.num_layers)
        u, drawn = float(io["mix_u"]), int(io["mix_cutoff"])
        active = self.g.config.num_layers - 2 * self.stage
        cutoff = drawn if u < self.g.config.style_mixing_prob else active
        w, mean = self.g.styles(
            io[f"{step}_latents"], z2=io[f"{step}_latents2"], cutoff=cutoff
        )
        self.g.move_average(mean)
        noise = [nhwc(io[f"{step}_noise{layer}"]) for layer in layers]
        return self.g.synthesis(w, noise=noise, lod=self.lod, upscale=False)

    def score(self, images):
        return self.d(images, lod=self.lod)

    def discriminator_step(self):
        """Returns (loss [B], parts, gradients by name), from native pictures."""
        named = names.variable_names(self.d)
        factor = 1 << self.stage
        # The goldens' reals are enlarged; one pixel of each square is the picture.
        reals = tf.constant(nhwc(self.io["reals"])[:, ::factor, ::factor])
        mix = self.io.get("gp_mixing_factors")
        mix = None if mix is None else mix.reshape(-1)
        with tf.GradientTape() as tape:
            loss, parts = self.loss(
                self.score, reals, self.fakes("D"), mix, enlarged=factor
            )
            share = losses.share(loss, loss.shape[0])
        return loss, parts, gradients(tape, share, named, names.originals)

    def generator_step(self):
        """Returns (loss [B], gradients by name)."""
        named = names.variable_names(self.g)
        with tf.GradientTape() as tape:
            loss = self.generator_loss(self.score(self.fakes("G")))
            share = losses.share(loss, loss.shape[0])
        return loss, gradients(tape, share, named, names.originals)


def gradients(tape, loss, named, layout):
    found = tape.gradient(loss, [variable.value for variable in named.values()])
    return {
        name: np.zeros(layout(name, variable.numpy()).shape, "float32")
        if gradient is None
        else layout(name, gradient.numpy())
        for (name, variable), gradient in zip(named.items(), found, strict=True)
    }


def adam(network, found, rate):
    """Makes the original's step: zeros for what no gradient reaches."""
    named = names.variable_names(network)
    optimizer = optimizers.create(
        {"name": "adam", "beta_1": 0.0, "beta_2": 0.99, "epsilon_hat": True}
    )
    raw = {name: variable.value for name, variable in named.items()}
    optimizer.build(list(raw.values()), list(raw))
    given = [tf.constant(names.ours(name, found[name])) for name in raw]
    optimizer.apply(given, list(raw.values()), tf.constant(rate))


def average(run, beta):
    """One update of the averaged generator; what is not trained is copied."""
    trained = names.variable_names(run.g)
    for name, variable in names.variable_names(run.gs, buffers=True).items():
        value = names.variable_names(run.g, buffers=True)[name].numpy()
        if name in trained:
            value = value + (variable.numpy() - value) * beta
        variable.assign(value)


def assert_gradients(found, io, prefix):
    checked = 0
    for key, expected in io.items():
        if key.startswith(prefix):
            got = found[key.removeprefix(prefix)]
            if np.abs(expected).max() == 0:
                assert np.abs(got).max() == 0, key
            else:
                assert_near(got, expected, 2e-5)
            checked += 1
    assert checked == len(found)


def assert_after(network, found, io, prefix):
    checked = 0
    for key, expected in io.items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            variable = names.variable_names(network)[name].numpy()
            clear = np.abs(found[name]) > 1e-5
            got = names.originals(name, variable)
            np.testing.assert_allclose(
                got[clear], expected[clear], rtol=1e-5, atol=1e-6
            )
            checked += 1
    assert checked > 5


@pytest.mark.parametrize("name", CASES)
def test_one_step_of_each(name):
    run = Run(name)
    io = run.io
    assert_near(run.g.dlatent_avg, io["dlatent_avg_before"], 0)
    loss, parts, found = run.discriminator_step()
    assert_near(np.mean(loss), np.mean(io["D_loss"], dtype="float64"))
    assert_near(parts["scores_real"], io["D_rec/scores_real"][:, 0])
    assert_near(parts["scores_fake"], io["D_rec/scores_fake"][:, 0])
    if name.startswith("r1"):
        # Recorded before it is multiplied by gamma / 2.
        assert_near(parts["r1_penalty"], 5 * io["D_rec/r1_penalty"])
    else:
        penalty = 10 * np.square(io["D_rec/mixed_norms"] - 1)
        assert_near(parts["gradient_penalty"], penalty, 1e-4)
        drift = 0.001 * io["D_rec/epsilon_penalty"][:, 0]
        assert_near(parts["drift_penalty"], drift)
    assert_near(run.g.dlatent_avg, io["dlatent_avg_after_D"], 1e-6)
    assert_gradients(found, io, "D_grad/")
    # The averages follow with the discriminator's step: the generator is still old.
    average(run, float(io["ema_beta"]))
    adam(run.d, found, io["lr"])
    if name == "r1_lod0":
        assert_after(run.d, found, io, "D_after/")
    loss, found = run.generator_step()
    # Its scores are those of the updated discriminator.
    assert_near(loss, io["G_loss"][:, 0], 5e-5)
    assert_near(run.g.dlatent_avg, io["dlatent_avg_after_G"], 1e-6)
    if not name.startswith("r1"):
        return
    assert_gradients(found, io, "G_grad/")
    if name == "r1_lod0":
        adam(run.g, found, io["lr"])
        assert_after(run.g, found, io, "G_after/")
        average(run, float(io["ema_beta"]))
        assert_after(run.gs, found, io, "Gs_after/")
        assert_near(run.gs.dlatent_avg, io["dlatent_avg_after_G"], 1e-6)
