import random
import sqlite3

import numpy as np
import pytest

from tfdl.engine import errors
from tfdl.models.automl.search import packing, trials
from tfdl.models.automl.search.trials import Trial, Trials

CONFIGURATION = {"space": {"name": "bits", "bits": 8}, "seed": 0}


def trial(number: int, **fields) -> Trial:
    return Trial(number, "0 1", "0 1", None, 5 + number, **fields)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trials.sqlite"


def test_states_come_back_as_they_were():
    rng = random.Random(3)
    state = {
        "random": rng.getstate(),
        "weights": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
        "by number": {3: (1, 2), 4: None},
        "population": [((0, 1), 0.1 + 0.2), ((1, 1), float(np.float64(1e-300)))],
        "empty": np.zeros([0, 2], np.int64),
        "count": np.int64(7),
    }
    text, arrays = packing.pack(state)
    again = packing.unpack(
        text, [packing.from_bytes(packing.to_bytes(array)) for array in arrays]
    )
    for key in ("weights", "empty"):
        assert again[key].dtype == state[key].dtype
        np.testing.assert_array_equal(again.pop(key), state.pop(key))
    assert again == state
    random.Random().setstate(again["random"])
    with pytest.raises(TypeError, match="no set"):
        packing.pack({"a": {1}})


def test_rows_and_states_are_kept(path):
    rows = [
        trial(0, status="done", reward=0.1 + 0.2, metrics={"valid": np.float32(0.5)}),
        trial(1),
    ]
    with Trials(path, "search", CONFIGURATION) as file:
        with file.transaction():
            for row in rows:
                file.write(row)
            file.save_state({"a": np.ones(3), "b": np.zeros(2)})
    with Trials(path, "search", CONFIGURATION) as file:
        assert file.all() == rows
        with file.transaction():
            file.save_state({"b": np.full(2, 4.0)})
        np.testing.assert_array_equal(file.state()["b"], [4, 4])
    with Trials(path, "random", {}) as file:
        assert file.all() == [] and file.state() is None
    assert trials.searches(path) == ["search", "random"]
    assert [p.name for p in path.parent.iterdir()] == ["trials.sqlite"]
    # What the module says that a person may ask.
    query = "select number, reward from trials where search = 'search' order by number"
    assert sqlite3.connect(path).execute(query).fetchall() == [
        *((0, 0.1 + 0.2), (1, None))
    ]


def test_a_transaction_is_whole_or_nothing(path):
    with Trials(path, "search", CONFIGURATION) as file:
        with file.transaction():
            file.write(trial(0))
            file.save_state([1])
        with pytest.raises(KeyError), file.transaction():
            file.write(trial(1))
            file.save_state([2])
            raise KeyError
        assert len(file.all()) == 1 and file.state() == [1]
        with file.transaction():
            file.save_state([1, 2])
        assert file.state() == [1, 2]


def test_it_can_be_read_and_copied_while_a_search_writes(path):
    with Trials(path, "search", CONFIGURATION) as file:
        with file.transaction():
            file.write(trial(0))
        with file.transaction():
            file.write(trial(1))
            assert len(trials.read(path)) == 1
            trials.copy(path, path.parent / "copy.sqlite")
        assert len(trials.read(path)) == 2
    assert trials.read(path.parent / "copy.sqlite") == [trial(0)]
    with pytest.raises(errors.UserError, match="unknown search"):
        trials.read(path, "evolution")
    with pytest.raises(errors.UserError, match="no such file"):
        trials.read(path.parent / "none.sqlite")


def test_files_that_cannot_be_used_are_told_in_one_line(path, tmp_path):
    with Trials(path, "search", CONFIGURATION) as file:
        with file.transaction():
            for number in range(300):
                file.write(trial(number))
        with pytest.raises(errors.UserError, match="another search is writing"):
            Trials(path, "random", {})
    other = {**CONFIGURATION, "space": {"name": "bits", "bits": 9}}
    with pytest.raises(errors.UserError, match="another search .*space.bits: 8 -> 9"):
        Trials(path, "search", other)

    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"number,reward\n" * 100):
        path.write_bytes(content)
        with pytest.raises(errors.UserError, match="trials.sqlite cannot be used"):
            Trials(path, "search", CONFIGURATION)
        assert path.read_bytes() == content
    path.unlink()
    sqlite3.connect(path).execute("create table trials (a)")
    with pytest.raises(errors.UserError, match="of something else"):
        Trials(path, "search", CONFIGURATION)
    with pytest.raises(errors.UserError, match="cannot"):
        Trials(tmp_path / "trials.sqlite" / "trials.sqlite", "search", {})
