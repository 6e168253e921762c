"""Standing statistics against the reference's, and tables of them."""

import numpy as np
import pytest

from tests.helpers import golden
from tests.models.biggan import reference
from tfdl.engine import errors
from tfdl.models.biggan import sampling, standing
from tfdl.models.biggan.names import norm_layers

FOLDER = "ajb_mybn_standing"
IO = np.load(golden("biggan", FOLDER, "io.npz"))
SETTINGS = standing.Standing(passes=3, batch_size=6, seed=4)


def network():
    return reference.generator(
        FOLDER, mybn=True, spectral_epsilon=1e-6, running_variance="biased"
    )


def image(generator, **inputs):
    found = generator({"z": IO["z"], "label": IO["y"].astype(np.int32), **inputs})
    return found["image"].numpy()


def test_the_reference():
    generator = network()
    meter = standing.Meter(generator)
    count = meter.measure(
        zip(IO["stand_z"], IO["stand_y"].astype(np.int32), strict=True)
    )
    assert count == len(IO["stand_z"])
    out = image(generator).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(out[:1], IO["out_standing_first"], atol=1e-5)
    np.testing.assert_allclose(out[..., ::2, ::2], IO["out_standing_s"], atol=1e-5)
    found = reference.arrays(generator, mybn=True)
    checked = 0
    for name in IO.files:
        key = name.removeprefix("after_standing/")
        if key == name or key.endswith("accumulation_counter"):
            continue
        expected = IO[name]
        if "stored" in key:
            counter = f"after_standing/{key.rsplit('.', 1)[0]}.accumulation_counter"
            expected = expected / IO[counter]
        np.testing.assert_allclose(
            found[key], expected, rtol=1e-5, atol=1e-6, err_msg=key
        )
        checked += 1
    assert checked > 20


def test_a_table_holds_what_is_measured_at_every_truncation():
    generator = network()
    # Until the vectors of spectral normalisation stand still.
    standing.Meter(generator).measure([(IO["z"], IO["y"])] * 400)
    table = standing.with_table(standing.plain_copy(generator), SETTINGS, rows=5)
    assert table.config.statistics == "table" and table.config.num_statistics == 5
    again = standing.plain_copy(generator)
    meter = standing.Meter(again)
    rows = {}
    for truncation in (1.0, 0.75, 0.5, 0.25):
        meter.measure(SETTINGS.batches(12, 4, truncation))
        rows[truncation] = image(again)
    for truncation in (0.5, 1.0):
        found = image(table, truncation=truncation)
        np.testing.assert_allclose(found, rows[truncation], atol=5e-3)
    assert np.abs(rows[0.25] - rows[1.0]).max() > 0.01
    np.testing.assert_allclose(
        image(table, truncation=0.01), image(table, truncation=0.25), atol=1e-4
    )
    last = {name: x.moving_mean.numpy()[-1] for name, x in norm_layers(table).items()}
    for name, layer in norm_layers(standing.plain_copy(table)).items():
        np.testing.assert_array_equal(layer.moving_mean.numpy(), last[name])


def test_a_sampler_measures_for_each_truncation_and_goes_on_anywhere():
    sampler = sampling.Sampler(standing.plain_copy(network()), SETTINGS)
    whole = list(sampler.batches(10, 0.5, seed=1, batch_size=4))
    assert [len(x) for x, _ in whole] == [4, 4, 2]
    assert sampler.statistics() == "standing (3 x 6)"
    (rest,) = sampler.batches(10, 0.5, seed=1, batch_size=4, first=2)
    np.testing.assert_array_equal(rest[0], whole[2][0])
    other = next(sampler.batches(4, 1.0, seed=1, batch_size=4))
    assert not np.array_equal(other[0], whole[0][0])
    given = next(sampler.batches(4, 1.0, batch_size=4, labels=[2, 0]))
    assert given[1].tolist() == [2, 0, 2, 0]
    assert given[0].dtype == np.uint8 and given[0].shape == (4, 32, 32, 3)


def test_a_table_needs_passes():
    with pytest.raises(errors.UserError, match="passes"):
        standing.with_table(network(), standing.Standing(passes=0), rows=5)
