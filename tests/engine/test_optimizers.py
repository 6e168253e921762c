"""Optimizers against the originals' trajectories and float64 NumPy."""

import concurrent.futures
import json
import socket

import numpy as np
import pytest
import tensorflow as tf

from tests.engine import rules
from tests.helpers import golden, run_python
from tfdl.engine import errors, optimizers, schedules

EXCLUDED = ("LayerNorm", "layer_norm", "bias")


def built(options, values, names=None):
    """Returns the built optimizer, and variables by name that hold `values`."""
    variables = {name: tf.Variable(value) for name, value in values.items()}
    optimizer = optimizers.create(options)
    optimizer.build(list(variables.values()), names or list(variables))
    return optimizer, variables


def gradients_of(file, step, names, prefix=""):
    return [tf.constant(file[f"{prefix}grad{step}|{name}"]) for name in names]


def start_of(file, prefix=""):
    marker = f"{prefix}init|"
    return {
        key.removeprefix(marker): file[key]
        for key in file.files
        if key.startswith(marker)
    }


def assert_close(actual, expected, tolerance=1e-6):
    """Checks the largest difference against the largest value."""
    difference = np.abs(np.asarray(actual, "float64") - expected).max()
    assert difference <= tolerance * np.abs(expected).max(), difference


# --- goldens -------------------------------------------------------------------


@pytest.mark.parametrize("graph", [False, True])
def test_bert_trajectory(graph):
    file = np.load(golden("bert", "io_optimizer.npz"))
    optimizer, variables = built(
        {
            "name": "bert_adam",
            "weight_decay": 0.01,
            "exclude_from_weight_decay": EXCLUDED,
            "global_clip_norm": 1.0,
        },
        start_of(file),
    )
    schedule = schedules.bert(1e-3, 10, 2)

    def update(gradients, step):
        return optimizer.apply(gradients, list(variables.values()), schedule(step))

    apply = tf.function(update) if graph else update
    clipped = []
    for step in range(6):
        gradients = gradients_of(file, step, variables)
        report = apply(gradients, tf.constant(step, tf.int64))
        exact = np.sqrt(sum(np.sum(np.float64(g) ** 2) for g in gradients))
        np.testing.assert_allclose(report["grad_norm"], exact, rtol=1e-6)
        clipped.append(exact > 1.0)
        assert bool(report["finite"]) and not bool(report["stop"])
        for name, variable in variables.items():
            assert_close(variable, file[f"var{step}|{name}"])
        if step == 0:  # the rate is 0: nothing moves, the moments do
            for name, value in start_of(file).items():
                np.testing.assert_array_equal(variables[name], value)
                assert np.abs(optimizer.slots(variables[name])["m"]).max() > 0
    assert any(clipped) and not all(clipped)
    assert int(optimizer.iterations) == 6


def test_bert_decay_excludes_by_name():
    names = {
        "bert/embeddings/word_embeddings": True,
        "output_weights": True,
        "bert/encoder/layer_0/output/dense/kernel": True,
        "bert/encoder/layer_0/output/dense/bias": False,
        "cls/predictions/output_bias": False,
        "bert/embeddings/LayerNorm/gamma": False,
        "my_layer_norm/scale": False,
    }
    optimizer, variables = built(
        {
            "name": "bert_adam",
            "weight_decay": 0.1,
            "exclude_from_weight_decay": EXCLUDED,
        },
        {name: np.ones([2], "float32") for name in names},
    )
    optimizer.apply([tf.zeros([2])] * 7, list(variables.values()), 1.0)
    for name, decayed in names.items():
        np.testing.assert_allclose(variables[name], [0.9 if decayed else 1.0] * 2)


def test_lamb_trajectory():
    file = np.load(golden("bert", "io_lamb.npz"))
    optimizer, variables = built(
        {
            "name": "lamb",
            "weight_decay": 0.01,
            "exclude_from_weight_decay": EXCLUDED,
        },
        start_of(file),
    )
    for step in range(5):
        optimizer.apply(
            gradients_of(file, step, variables), list(variables.values()), 0.01
        )
        for name, variable in variables.items():
            assert_close(variable, file[f"var{step}|{name}"])


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_large_batch_trajectories(name):
    file = np.load(golden("imagenet18", "io_lars_lamb.npz"))
    options = {"name": name, "weight_decay": float(file[f"{name}_wd"])}
    if name == "lars":
        options["eta"] = float(file["lars_eta"])
        options["exclude_from_weight_decay"] = "bias"
    optimizer, variables = built(
        options, {"kernel": file["kernel"], "bias": file["bias"]}
    )
    for step in range(3):
        rate = file["lars_lrs"][step] if name == "lars" else file["lamb_lr"]
        gradients = [tf.constant(file[f"g{v}_{step}"]) for v in "kb"]
        optimizer.apply(gradients, list(variables.values()), float(rate))
        assert_close(variables["kernel"], file[f"{name}_kernel_{step}"])
        if name == "lars":
            assert_close(variables["bias"], file[f"lars_bias_{step}"])


def test_gpt_trajectories():
    file = np.load(golden("gpt", "io_optimizer.npz"))
    warmup, total, peak = (float(file[key]) for key in ("warmup", "t_total", "lr"))
    shapes = {
        "linear": lambda x: (x / warmup if x <= warmup else 1.0) * (1.0 - x),
        "cosine": lambda x: (
            x / warmup if x <= warmup else 0.5 * (1 + np.cos(np.pi * x))
        ),
        "constant": lambda x: x / warmup if x <= warmup else 1.0,
    }
    assert set(shapes) == {key.split("|")[0] for key in file.files if "|" in key}
    for schedule, shape in shapes.items():
        optimizer, variables = built(
            {"name": "openai_adam", "weight_decay": 0.01, "global_clip_norm": 1.0},
            start_of(file, f"{schedule}|"),
        )
        for step in range(6):
            gradients = gradients_of(file, step, variables, f"{schedule}|")
            rate = peak * shape(step / total)
            optimizer.apply(gradients, list(variables.values()), rate)
            for name, variable in variables.items():
                assert_close(variable, file[f"{schedule}|var{step}|{name}"])


@pytest.mark.parametrize(
    "case, options",
    [
        ("adam", {}),
        ("adam_wd", {"weight_decay": 0.01, "beta_2": 0.98}),
        ("inv_sqrt", {"weight_decay": 0.01, "epsilon": 1e-6}),
        ("cosine", {}),
    ],
)
def test_xlm_trajectories(case, options):
    file = np.load(golden("xlm", "io_optimizer.npz"))
    optimizer, variables = built(
        {"name": "adamw", "epsilon_hat": True, **options}, {"w": file[f"{case}|init"]}
    )
    for step, rate in enumerate(file[f"{case}|lr"]):
        gradient = tf.constant(file[f"{case}|grad{step}"])
        optimizer.apply([gradient], [variables["w"]], float(rate))
        assert_close(variables["w"], file[f"{case}|var{step}"])


@pytest.mark.parametrize(
    "case, options, rate",
    [
        (
            "adam_08_099_wd1e-2",
            {"name": "adam", "beta_1": 0.8, "beta_2": 0.99, "weight_decay": 1e-2},
            0.01,
        ),
        ("adam_07_099", {"name": "adam", "beta_1": 0.7, "beta_2": 0.99}, 0.01),
        ("sgd_wd1.2e-3", {"name": "sgd", "weight_decay": 1.2e-3}, 0.5),
        ("asgd_t0_0_wd1.2e-3", {"name": "sgd", "weight_decay": 1.2e-3}, 0.5),
    ],
)
def test_torch_trajectories(case, options, rate):
    file = np.load(golden("ulmfit", "io_optim.npz"))
    optimizer, variables = built(options, {"p": file["p0"]})
    for gradient, expected in zip(file["grads"], file[case], strict=True):
        optimizer.apply([tf.constant(gradient)], [variables["p"]], rate)
        assert_close(variables["p"], expected)


# --- float64 NumPy -------------------------------------------------------------


@pytest.mark.parametrize("case", rules.CASES)
def test_equals_numpy(case):
    options, rule = rules.CASES[case]
    expected = rules.trajectory(rule, options)
    actual = rules.run(options)
    assert len(actual) == rules.STEPS
    for ours, theirs in zip(actual, expected, strict=True):
        for name in theirs:
            assert_close(ours[name], theirs[name])
    moved = [np.abs(actual[-1][name] - rules.start()[name]).max() for name in theirs]
    assert min(moved) > 1e-4


XLA = ("sgd_nesterov", "adam", "bert_adam", "lamb", "lars", "rmsprop", "adagrad")


@pytest.mark.parametrize("case", XLA)
def test_update_compiles_with_xla(case):
    options, rule = rules.CASES[case]
    expected = rules.trajectory(rule, options)
    actual = rules.run(options, jit_compile=True)
    for name in rules.start():
        assert_close(actual[-1][name], expected[-1][name])


def test_momentum_of_one_update():
    optimizer, variables = built(
        {"name": "sgd", "momentum": 0.9}, {"w": np.zeros([1], "float32")}
    )
    one = [tf.ones([1])]
    optimizer.apply(one, [variables["w"]], 1.0)
    optimizer.apply(one, [variables["w"]], 1.0, momentum=tf.constant(0.5))
    np.testing.assert_allclose(optimizer.slots(variables["w"])["velocity"], [1.5])

    adam, variables = built({"name": "adam"}, {"w": np.zeros([1], "float32")})
    adam.apply(one, [variables["w"]], 0.1, momentum=0.5)
    np.testing.assert_allclose(adam.slots(variables["w"])["m"], [0.5])
    np.testing.assert_allclose(variables["w"], [-0.1], rtol=1e-6)


# --- gradients that are sparse, missing, not finite ------------------------------


def test_sparse_gradients_are_summed_before_the_norm():
    table = np.arange(12, dtype="float32").reshape(4, 3)
    optimizer, variables = built({"name": "sgd", "global_clip_norm": 1.0}, {"t": table})
    slices = tf.IndexedSlices(
        values=tf.ones([3, 3]), indices=[2, 0, 2], dense_shape=[4, 3]
    )
    report = optimizer.apply([slices], [variables["t"]], 1.0)
    norm = np.sqrt(3 * 1.0 + 3 * 4.0)  # row 2 counts twice, before squaring
    np.testing.assert_allclose(report["grad_norm"], norm, rtol=1e-6)
    table[2] -= 2.0 / norm
    table[0] -= 1.0 / norm
    np.testing.assert_allclose(variables["t"], table, rtol=1e-6)


def test_missing_gradients():
    values = {"a": np.ones([2], "float32"), "b": np.ones([2], "float32")}
    optimizer, variables = built({"name": "adamw", "weight_decay": 0.5}, values)
    both = list(variables.values())
    optimizer.apply([None, tf.ones([2])], both, 0.1)
    np.testing.assert_array_equal(variables["a"], [1, 1])
    assert not np.any(optimizer.slots(variables["a"])["m"])
    assert np.all(variables["b"].numpy() < 1)
    with pytest.raises(ValueError, match="no gradient for a"):
        optimizer.apply([None, tf.ones([2])], both, 0.1, strict=True)
    with pytest.raises(ValueError, match="no gradient for a, b"):
        optimizer.apply([None, None], both, 0.1)


def test_a_subset_leaves_the_rest_alone():
    values = {name: np.ones([2], "float32") for name in "abc"}
    optimizer, variables = built({"name": "adam"}, values)
    optimizer.apply([tf.ones([2])], [variables["b"]], 0.1)
    for name in "ac":
        np.testing.assert_array_equal(variables[name], [1, 1])
        for slot in optimizer.slots(variables[name]).values():
            np.testing.assert_array_equal(slot, [0, 0])
    assert variables["b"].numpy()[0] < 1
    with pytest.raises(ValueError, match="was not given to build"):
        optimizer.apply([tf.ones([2])], [tf.Variable([1.0, 1.0])], 0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", sorted(optimizers.OPTIMIZERS))
def test_a_bad_gradient_changes_nothing(name, bad):
    values = {"a": np.ones([2], "float32"), "b": np.ones([2], "float32")}
    optimizer, variables = built({"name": name, "weight_decay": 0.1}, values)
    before = [variable.numpy() for variable in optimizer.state()]
    report = optimizer.apply(
        [tf.ones([2]), tf.constant([1.0, bad])], list(variables.values()), 0.1
    )
    assert not bool(report["finite"]) and bool(report["stop"])
    for name, value in values.items():
        np.testing.assert_array_equal(variables[name], value)
    for variable, value in zip(optimizer.state(), before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_clip_by_value_follows_the_norm():
    optimizer, variables = built(
        {"name": "sgd", "clip_value": 0.5, "global_clip_norm": 1.0},
        {"w": np.zeros([2], "float32")},
    )
    optimizer.apply([tf.constant([3.0, 4.0])], [variables["w"]], 1.0)
    np.testing.assert_allclose(variables["w"], [-0.5, -0.5])
    optimizer.apply([tf.constant([0.3, -0.4])], [variables["w"]], 1.0)
    np.testing.assert_allclose(variables["w"], [-0.8, -0.1], rtol=1e-6)


# --- replicas --------------------------------------------------------------------


def test_two_replicas_equal_numpy():
    # Takes 25 s: every optimizer is traced for two devices, in one process.
    done = run_python("-m", "tests.engine.replicas", "rules")
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert set(result) == set(rules.CASES)
    for case, (error, spread) in result.items():
        assert error <= 1e-6 and spread == 0.0, (case, error, spread)


def test_sparse_gradients_of_two_replicas():
    done = run_python("-m", "tests.engine.replicas", "sparse")
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    norm = np.sqrt(2 * 2**2 + 2 * 4**2)  # row 0 twice, row 1 four times
    np.testing.assert_allclose(result["norms"], norm, rtol=1e-6)
    for table in result["tables"]:
        np.testing.assert_allclose(np.array(table)[:, 0] * norm, [-2, -4, 0, 0], 1e-6)


def test_two_workers_equal_numpy():
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("localhost", 0))
        workers = [f"localhost:{each.getsockname()[1]}" for each in (one, other)]

    def work(index):
        task = {"type": "worker", "index": index}
        cluster = json.dumps({"cluster": {"worker": workers}, "task": task})
        return run_python(
            "-m", "tests.engine.replicas", "workers", env={"TF_CONFIG": cluster}
        )

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for done in pool.map(work, range(2)):
            assert done.returncode == 0, done.stderr[-2000:]
            result = json.loads(done.stdout)
            assert set(result) == {"bert_adam", "lamb", "sgd_nesterov"}
            for case, (error, _) in result.items():
                assert error <= 1e-6, (case, error)


# --- multipliers, state, options -------------------------------------------------


def test_multipliers_by_name():
    values = {name: np.zeros([1], "float32") for name in ("low", "high", "head")}
    optimizer, variables = built({"name": "sgd"}, values)
    everything = list(variables.values())
    optimizer.set_multipliers({"low": 0.25, "high": 0.5})
    optimizer.apply([tf.ones([1])] * 3, everything, 1.0)
    np.testing.assert_allclose(np.ravel(everything), [-0.25, -0.5, -1.0])
    optimizer.set_multipliers(lambda name: 2.0 if name == "head" else 0.0)
    optimizer.apply([tf.ones([1])] * 3, everything, 1.0)
    np.testing.assert_allclose(np.ravel(everything), [-0.25, -0.5, -3.0])
    with pytest.raises(errors.UserError, match="unknown variable 'hi'"):
        optimizer.set_multipliers({"hi": 1.0})


def test_new_multipliers_need_a_new_trace_only():
    optimizer, variables = built({"name": "sgd"}, {"w": np.zeros([1], "float32")})
    for factor, expected in ((0.5, -0.5), (2.0, -2.5)):
        optimizer.set_multipliers(lambda name, factor=factor: factor)
        step = tf.function(
            lambda: optimizer.apply([tf.ones([1])], [variables["w"]], 1.0)
        )
        step()
        np.testing.assert_allclose(variables["w"], [expected])


@pytest.mark.parametrize("case", rules.CASES)
def test_restored_state_goes_on_alike(case, tmp_path):
    options, _ = rules.CASES[case]
    whole = rules.run(options)
    optimizer, variables = rules.build(options)
    rules.run_steps(optimizer, variables, range(3))
    state = [*optimizer.state(), *variables.values()]
    path = tf.train.Checkpoint(state=state).write(str(tmp_path / "half"))

    optimizer, variables = rules.build(options)
    state = [*optimizer.state(), *variables.values()]
    tf.train.Checkpoint(state=state).read(path).assert_consumed()
    assert int(optimizer.iterations) == 3
    rest = rules.run_steps(optimizer, variables, range(3, rules.STEPS))
    for name in whole[-1]:
        np.testing.assert_array_equal(rest[-1][name], whole[-1][name])


def test_keras_variables_are_taken():
    import keras

    variable = keras.Variable(np.ones([2], "float32"), name="w")
    optimizer = optimizers.create({"name": "adam"})
    optimizer.build([variable], ["w"])
    optimizer.apply([tf.ones([2])], [variable], 0.5)
    np.testing.assert_allclose(variable, [0.5, 0.5], rtol=1e-6)
    assert set(optimizer.slots(variable)) == {"m", "v"}
    with pytest.raises(ValueError, match="built already"):
        optimizer.build([variable], ["w"])


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "the optimizer has no name"),
        ({"name": "adamm"}, "unknown optimizer 'adamm'; did you mean 'adam'"),
        (
            {"name": "bert_adam", "weightdecay": 0.1},
            "unknown option of optimizer 'bert_adam' 'weightdecay'; did you mean "
            "'weight_decay'",
        ),
        ({"name": "sgd", "options": 1}, "unknown option of optimizer 'sgd' 'options'"),
        ({"name": "adam", "beta_1": 1.0}, "beta_1 has to be at least 0 and below 1"),
        ({"name": "sgd", "momentum": "x"}, "momentum has to be a number, got 'x'"),
        ({"name": "sgd", "global_clip_norm": -1}, "global_clip_norm has to be at"),
        ({"name": "sgd", "weight_decay": float("nan")}, "weight_decay has to be at"),
        (
            {"name": "sgd", "exclude_from_weight_decay": ("(",)},
            r"exclude_from_weight_decay: '\(' is not a regular expression",
        ),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(errors.UserError, match=message):
        optimizers.create(options)


def test_a_single_pattern_is_not_taken_for_letters():
    optimizer, variables = built(
        {"name": "adamw", "weight_decay": 0.5, "exclude_from_weight_decay": "bias"},
        {"basis": np.ones([1], "float32"), "bias": np.ones([1], "float32")},
    )
    optimizer.apply([tf.zeros([1])] * 2, list(variables.values()), 1.0)
    np.testing.assert_allclose(np.ravel(list(variables.values())), [0.5, 1.0])
