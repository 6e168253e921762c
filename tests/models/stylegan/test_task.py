"""The steps of a growing run: what is fed, averaged, forgotten, and left out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden
from tests.models.stylegan import small_runs
from tfdl.engine import distribution
from tfdl.engine.ema import half_life
from tfdl.engine.errors import UserError
from tfdl.models.stylegan import growing, iteration, layers, recipes
from tfdl.models.stylegan.task import StyleGANTask


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Digits of 16x16."""
    return small_runs.digits(tmp_path_factory.mktemp("digits"))


@pytest.mark.parametrize("lod", ["0.0", "0.25", "1.0", "1.6", "2.0"])
def test_reals_equal_the_originals(lod):
    with np.load(golden("stylegan", "io_misc.npz")) as arrays:
        given = arrays[f"reals_in_lod{lod}"].transpose(0, 2, 3, 1)
        expected = arrays[f"reals_out_lod{lod}"].transpose(0, 2, 3, 1)
    stage = int(float(lod))
    found = iteration.process_reals(tf.constant(given), float(lod) - stage)
    enlarged = layers.upsample(found, 1 << stage)
    np.testing.assert_allclose(enlarged, expected, atol=1e-6)


def test_every_picture_is_mirrored_for_itself():
    images = np.random.RandomState(0).randint(0, 256, [4, 4, 4, 1], np.uint8)
    mirrored = np.array([True, False, False, True])
    found = iteration.process_reals(tf.constant(images), 0.0, tf.constant(mirrored))
    expected = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    np.testing.assert_allclose(found, expected * (2 / 255) - 1, atol=1e-6)


def test_a_stretch_follows_the_schedule():
    schedule = growing.Schedule(
        1024,
        batch_sizes=growing.BATCH_SIZES[8],
        replicas=8,
        ramp_up_kimg=1000,
        discriminator_steps=2,
        generator_rates={0: 0.002},
    )
    for stretch in schedule.stretches()[:6]:
        size = stretch.values.batch_size
        for step in np.linspace(0, stretch.steps - 1, 7).astype(int):
            shown = stretch.first_image + step // 4 * 4 * size * 2
            fade = iteration.fading(schedule, stretch, tf.constant(step))
            lod = schedule.lod(shown)
            assert abs(stretch.level + float(fade) - lod) < 2e-6, (stretch, step)
            rates = iteration.learning_rates(schedule, stretch, tf.constant(step))
            values = schedule.at(shown)
            assert float(rates["generator"]) == pytest.approx(values.generator_rate)
            expected = values.discriminator_rate
            assert float(rates["discriminator"]) == pytest.approx(expected)


def test_averages_and_what_is_forgotten(data, tmp_path):
    task, made, phases = small_runs.learner(small_runs.configuration(data), tmp_path)
    assert [phase.name for phase in phases] == [
        "8x8 stable",
        "16x16 fade-in",
        "16x16 stable",
    ]
    assert [phase.steps for phase in phases] == [8, 8, 6]
    weights = made.model.trainable_variables
    before = [w.numpy() for w in weights]
    top = made.model.synthesis.layers[-1].conv.weight.numpy()
    report = small_runs.trainer(task, made, phases[0])(1)
    assert report["bad"] is None
    share = half_life(50 / 8)
    moved = 0
    order = [v.ref() for v in (w.value for w in weights)]
    averages = dict(
        zip([v.ref() for v in made.ema._weights], made.ema.averages, strict=True)
    )
    for ref, old, weight in zip(order, before, weights, strict=True):
        expected = share * old + (1 - share) * weight.numpy()
        np.testing.assert_allclose(averages[ref].numpy(), expected, atol=1e-5)
        moved += np.abs(old - weight.numpy()).max() > 0
    assert moved > 10
    # Layers that are not in use yet stay as they are.
    np.testing.assert_array_equal(
        made.model.synthesis.layers[-1].conv.weight.numpy(), top
    )
    # The average w moves in the steps of both networks, and is no average of weights.
    assert np.abs(made.model.dlatent_avg.numpy()).max() > 0
    optimizer = made.optimizers["generator"]
    assert int(optimizer.iterations.numpy()) == 1
    task.phase_starts(phases[1], made)
    for optimizer in made.optimizers.values():
        for variable in optimizer.state():
            assert not np.any(variable.numpy()), variable.name


def test_parts_of_a_batch_equal_the_whole(data, tmp_path):
    # Two devices of the original: on one replica at once, or one after the other.
    results = []
    for parts in (1, 2):
        config = small_runs.configuration(
            data, devices=2, gradient_accumulation=parts, growing__discriminator_steps=2
        )
        task, made, phases = small_runs.learner(config, tmp_path)
        # Away from the start, where the constant and all biases have no gradient.
        draws = np.random.RandomState(1)
        for weight in made.model.trainable_variables:
            weight.assign_add(0.3 * draws.randn(*weight.shape))
        metrics = small_runs.trainer(task, made, phases[1])(2)["metrics"]
        results.append((metrics, [v.numpy() for v in made.model.variables]))
    for name, value in results[0][0].items():
        assert value == pytest.approx(results[1][0][name], rel=2e-3), name
    # Adam without momentum moves every weight by the rate, whatever its gradient:
    # where that is rounding the two differ by as much.
    pairs = zip(results[0][1], results[1][1], strict=True)
    off = np.concatenate([np.abs(one - other).ravel() for one, other in pairs])
    assert np.mean(off > 1e-4) < 0.02


def test_updates_that_are_not_finite_are_left_out_and_counted(data, tmp_path):
    config = small_runs.configuration(data, skips=2)
    task, made, phases = small_runs.learner(config, tmp_path)
    critic = made.networks["discriminator"]
    critic.dense1.bias.assign([np.nan] * 10)
    before = [v.numpy() for v in made.model.trainable_variables]
    train = small_runs.trainer(task, made, phases[0])
    assert train(2)["bad"] is None
    assert int(task.skips.totals["discriminator"].numpy()) == 2
    for old, weight in zip(before, made.model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, weight.numpy())
    step, where = train(2)["bad"]
    assert step == 2 and "gradient of" in where
    # Recovered, it counts from the beginning again.
    critic.dense1.bias.assign([0.0] * 10)
    assert train(2)["bad"] is None
    assert int(task.skips.totals["discriminator"].numpy()) == 4
    assert "NaN or Inf: 4 updates of the discriminator left out" in task.remarks()


def test_the_discriminator_learns_digits_from_noise(data, tmp_path):
    # With the generator standing still.
    config = small_runs.configuration(
        data, growing__stable_kimg=2.0, growing__rates="0:0.01"
    )
    task, made, phases = small_runs.learner(config, tmp_path)
    made.optimizers["generator"].set_multipliers(lambda name: 0.0)
    train = small_runs.trainer(task, made, phases[0])
    first = train(4)["metrics"]
    train(60)
    last = train(10)["metrics"]
    assert first["discriminator_loss"] > 1.2
    assert last["discriminator_loss"] < 0.8 * first["discriminator_loss"]
    assert last["scores_real"] > last["scores_fake"] + 0.5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gradients_compile_for_accelerators(data, tmp_path, precision):
    config = small_runs.configuration(data, precision=precision, labels="none")
    try:
        task, made, phases = small_runs.learner(config, tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
    batch = next(iter(task.train_data(phases[1], 0, distribution.Shard())))
    run = iteration.Iteration(
        made,
        task.plan_of_growth,
        phases[1].options["stretch"],
        phases[1],
        generator_loss="non_saturating",
        discriminator_loss=task.discriminator_loss,
        mirror=True,
        devices=1,
        seed=(0, 0),
        skips=task.skips,
    )
    parts = {"discriminator": run._discriminator_part, "generator": run._generator_part}
    arguments = (batch["image"][:, 0], batch["label"][:, 0], tf.constant(0.3))
    specs = [tf.TensorSpec(one.shape, one.dtype) for one in arguments]
    for name, compute in parts.items():
        watched = list(made.trained(name, phases[1]).values())
        step = compiled(run, compute, watched)
        hlo = step.experimental_get_compiler_ir(*specs)(stage="hlo")
        assert "convolution" in hlo
        assert ("bf16" in hlo) == (precision == "bfloat16")
        outputs = step.get_concrete_function(*specs).structured_outputs
        assert all(one.shape.is_fully_defined() for one in outputs)


def compiled(run, compute, watched):
    """Returns the gradients' function, to be compiled."""

    @tf.function(jit_compile=True)
    def step(image, label, fade):
        rows = {"image": image, "label": label}
        (part,) = run._parts(rows, fade, tf.constant([1, 2]))
        gradients, _ = compute(part, watched)
        return [gradient for gradient in gradients if gradient is not None]

    return step


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"generator__resolution": 24}, "power of two"),
        ({"generator__resolution": 32}, "16x16 pixels, 32x32 is asked for"),
        ({"table1": "z"}, "row of table 1"),
        ({"generator_loss": "best"}, "unknown generator_loss"),
        ({"growing__batch_sizes": "0:6"}, "no multiple of the 4 pictures"),
        ({"growing__batch_sizes": "8:8"}, "nothing is said for 16x16"),
        ({"growing__batch_sizes": "many"}, "pairs of resolution and number"),
        ({"devices": 3, "gradient_accumulation": 2}, "--config.devices=0"),
        ({"labels": "7 of them"}, "labels has to be none, full or"),
    ],
)
def test_bad_configurations_are_told(data, tmp_path, fields, said):
    with pytest.raises(UserError, match=said):
        config = small_runs.configuration(data, **fields)
        task = StyleGANTask(config, tmp_path)
        task.prepare()
        task.phases()


def test_rows_of_table_1(data, tmp_path):
    sizes = {}
    for row in recipes.ROWS:
        config = small_runs.configuration(data, table1=row, labels="none")
        task = StyleGANTask(config, tmp_path)
        task.prepare()
        sizes[row] = task.generator_config.num_parameters()
    # d starts from a constant, not from a layer; e adds noise; f only mixes.
    assert sizes["d"] < sizes["e"] < sizes["c"] and sizes["e"] == sizes["f"]
