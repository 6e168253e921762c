"""Schedules against the original's tables and FFCV's."""

import json
import math

import numpy as np
import pytest

from tests.helpers import golden
from tfdl.engine import config as config_lib
from tfdl.engine.errors import UserError
from tfdl.models.imagenet18 import recipes
from tfdl.models.imagenet18.schedule import Schedule

NAMES = {"i18-1": 1, "i18b-2": 2, "i18-4": 4, "i18-8": 8, "i18-16": 16}
TABLES = json.loads(golden("imagenet18", "schedules.json").read_text())


def rates(schedule, factor=1.0):
    """Returns the rate of every step, as the training loop asks for it."""
    found = []
    for start, end in schedule.stretches():
        function = schedule.learning_rate(start, end, factor)
        count = (end - start) * schedule.steps(start)
        found.append(function(np.arange(count, dtype=np.int64)).numpy())
    return np.concatenate(found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ours", [True, False])
def test_tables_of_the_original(name, ours):
    table = TABLES[name]
    phases = recipes.original(NAMES[name]) if ours else table["phases"]
    schedule = Schedule(phases, recipes.IMAGENET, table["world"])
    assert schedule.epochs == table["total_epochs"]
    every = rates(schedule)
    first = 0
    for row in table["epochs"]:
        epoch = row["epoch"]
        data, steps = schedule.data(epoch), schedule.steps(epoch)
        assert steps == row["steps"]
        assert schedule.global_batch_size(epoch) == row["global_bs"]
        assert (data.size, data.batch_size, data.folder) == (
            row["sz"],
            row["bs"],
            row["dir"],
        )
        assert (data.min_scale, data.rectangular) == (row["min_scale"], row["rect"])
        assert data.validation_batch_size == row["val_bs"]
        for key, batch in (("first", 1), ("mid", (steps + 1) // 2), ("last", steps)):
            expected = row[f"lr_{key}"]
            assert schedule.rate(epoch, batch) == pytest.approx(expected, rel=1e-12)
            assert every[first + batch - 1] == pytest.approx(expected, rel=1e-7)
        first += steps
    assert first == len(every)


def test_every_step_of_eight_machines():
    expected = np.load(golden("imagenet18", "schedules_lr.npz"))["lr_i18_8"]
    schedule = Schedule(recipes.original(8), recipes.IMAGENET, 64)
    np.testing.assert_allclose(rates(schedule), expected, rtol=1e-7)
    np.testing.assert_allclose(rates(schedule, 0.25), 0.25 * expected, rtol=1e-7)


def test_ffcv():
    file = np.load(golden("imagenet18", "ffcv_schedule.npz"))
    for key in file:
        if not key.startswith("params_"):
            continue
        which = key.removeprefix("params_")
        epochs, first, last, low, high, rate, peak, steps = file[key]
        phases = recipes.ffcv(
            int(epochs),
            (int(first), int(last)),
            512,
            float(rate),
            (int(low), int(high)),
            int(peak),
        )
        schedule = Schedule(phases, int(steps) * 512 * 8, 8, "step_start")
        # The original interpolates rates that are float32 at an epoch's ends.
        np.testing.assert_allclose(
            rates(schedule), file[f"lr_{which}"], rtol=1e-6, atol=1e-7 * rate
        )
        sizes = [schedule.data(epoch).size for epoch in range(schedule.epochs)]
        assert sizes == file[f"resolution_{which}"].tolist()


def test_curves_and_rates_without_an_end():
    data = {"ep": 0, "sz": 32, "bs": 2}
    schedule = Schedule(
        [
            data,
            {"ep": 0, "lr": 0.5},
            {"ep": (2, 4), "lr": (1.0, 0.2), "curve": "cosine"},
            {"ep": (4, 6), "lr": (0.2, 0.1), "curve": "poly2"},
        ],
        10,
        1,
    )
    assert schedule.stretches() == [(0, 6)]
    got = rates(schedule)
    assert len(got) == 30
    np.testing.assert_allclose(got[:10], 0.5)
    shares = np.arange(1, 11) / 10
    expected = 0.2 + 0.8 * 0.5 * (1 + np.cos(math.pi * shares))
    np.testing.assert_allclose(got[10:20], expected, rtol=1e-6)
    np.testing.assert_allclose(got[20:], 0.1 + 0.1 * (1 - shares) ** 2, rtol=1e-6)
    np.testing.assert_allclose(
        got, [schedule.rate(e, b) for e in range(6) for b in range(1, 6)], rtol=1e-6
    )


@pytest.mark.parametrize(
    "phases, said",
    [
        ([{"ep": 0, "sz": 32, "bs": 2, "min_scal": 0.1}], "did you mean 'min_scale'"),
        ([{"ep": 1, "sz": 32, "bs": 2}, {"ep": (0, 2), "lr": 1.0}], "epoch 1, not 0"),
        (
            [
                {"ep": 0, "sz": 32, "bs": 2},
                {"ep": (0, 2), "lr": (1.0, 0.5)},
                {"ep": (3, 4), "lr": (0.5, 0.1)},
            ],
            "a gap: no rate for the epochs 2 to 3",
        ),
        ([{"ep": 0, "sz": 32, "bs": 2}, {"ep": 0, "lr": (1.0, 0.5)}], "needs ep="),
        ([{"ep": 0, "sz": 32, "bs": 2}], "no rate"),
        ([{"ep": (0, 1), "lr": 0.1}], "no data"),
        ([{"ep": 0, "sz": 32}], "neither 'bs'"),
        ([{"ep": 0, "bs": 2}], "no 'sz'"),
        ([{"ep": 0, "sz": 32, "bs": "2"}], "bs has to be a whole number"),
        ([{"ep": 0, "sz": 32, "bs": 2, "min_scale": 2}], r"\(0, 1\], got 2"),
        ([{"ep": 0, "lr": 1.0, "curve": "cubic"}], "unknown curve"),
        ([{"sz": 32, "bs": 2}], "has no 'ep'"),
        ([{"ep": (2, 2), "lr": 0.1}], "ends at its start"),
        ([{"ep": 0, "bs": 2, "keep_dl": True}], "nothing is loaded"),
        (
            [
                {"ep": 0, "sz": 32, "bs": 2},
                {"ep": (0, 2), "lr": 0.1},
                {"ep": 5, "bs": 4, "sz": 64},
            ],
            "starts at epoch 5, but the rates end at 2",
        ),
    ],
)
def test_schedules_that_make_no_sense(phases, said):
    with pytest.raises(UserError, match=said):
        Schedule(phases, 100, 1)


def test_recipes_read_and_freeze():
    for name in config_lib.recipes("imagenet18"):
        recipe = config_lib.load_recipe("imagenet18", name)
        again = config_lib.from_json(config_lib.to_json(recipe))
        assert config_lib.differences(recipe, again) == []
