"""The growing schedule against the original's, and its cut into stretches."""

import numpy as np
import pytest

from tests.helpers import golden
from tfdl.engine.errors import UserError
from tfdl.models.stylegan import growing
from tfdl.models.stylegan.growing import Schedule

GOLDEN = {
    "ffhq1024_8gpu": Schedule(1024, replicas=8, batch_sizes=growing.BATCH_SIZES[8]),
    "ffhq256_1gpu": Schedule(256),
    "rampup_maxmb_64": Schedule(
        64,
        start=4,
        stable_kimg=100,
        transition_kimg=50,
        replicas=2,
        batch_sizes={0: 16, 8: 33},
        most_per_replica={16: 5},
        ramp_up_kimg=120,
        generator_rates={0: 0.001, 16: 0.002},
        discriminator_rates={0: 0.001},
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_equals_the_original(name):
    with np.load(golden("stylegan", "io_misc.npz")) as data:
        rows = data[f"sched_{name}"]
    assert len(rows) > 20
    for images, *expected in rows:
        values = GOLDEN[name].at(images)
        found = (
            values.lod,
            values.resolution,
            values.batch_size,
            values.generator_rate,
            values.discriminator_rate,
            values.tick_kimg,
        )
        np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=images)


def walked(schedule):
    """Returns (lod key, batch, first image) of every step, made one by one."""
    images, rows = 0, []
    while images < schedule.total_kimg * 1000:
        values = schedule.at(images)
        for _ in range(schedule.repeats):
            key = int(np.floor(values.lod)), int(np.ceil(values.lod))
            rows.append((key, values.batch_size, images))
            images += values.batch_size
    return rows


@pytest.mark.parametrize(
    "options",
    [
        {"stable_kimg": 0.5, "transition_kimg": 0.7, "total_kimg": 9.1},
        {"stable_kimg": 0.5, "transition_kimg": 0, "total_kimg": 3, "repeats": 1},
        {"stable_kimg": 0, "transition_kimg": 1.3, "total_kimg": 7, "start": 4},
        # A transition that is over before it was seen.
        {"stable_kimg": 0.5, "transition_kimg": 0.01, "total_kimg": 3},
        {"start": 32, "total_kimg": 1.0},
    ],
)
def test_stretches_are_the_steps_in_order(options):
    batch_sizes = {0: 10, 8: 24, 16: 17, 32: 6}
    schedule = Schedule(32, batch_sizes=batch_sizes, replicas=2, **options)
    rows = []
    for one in schedule.stretches():
        key = (one.level, one.level + one.fading)
        size = one.values.batch_size
        rows += [(key, size, one.first_image + i * size) for i in range(one.steps)]
    assert rows == walked(schedule)


def test_the_papers_plan():
    stretches = GOLDEN["ffhq1024_8gpu"].stretches()
    names = [one.name for one in stretches]
    assert names[:3] == ["8x8 stable", "16x16 fade-in", "16x16 stable"]
    assert names[-2:] == ["1024x1024 fade-in", "1024x1024 stable"] and len(names) == 15
    # 1024x1024 begins at 7,800 thousand pictures.
    assert abs(stretches[-2].first_image - 7_800_000) < 256 * 4
    assert sum(one.steps * one.values.batch_size for one in stretches) >= 25_000_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resolution": 48}, "power of two"),
        ({"resolution": 8, "start": 16}, "above the resolution"),
        ({"resolution": 32, "batch_sizes": {0: 2}, "replicas": 4}, "too small"),
        ({"resolution": 32, "batch_sizes": {64: 2}}, "nothing is said for 8x8"),
        ({"resolution": 32, "stable_kimg": 0, "transition_kimg": 0}, "both 0"),
    ],
)
def test_bad_plans_are_told(options, said):
    with pytest.raises(UserError, match=said):
        Schedule(**options).stretches()


def test_tables():
    assert growing.table("rates", "0:0.001, 64:2") == {0: 0.001, 64: 2.0}
    for bad in ("0=3", "48:1", {"x": 2}):
        with pytest.raises(UserError):
            growing.table("rates", bad)
