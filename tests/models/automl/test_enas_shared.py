"""Networks with shared weights against single networks computed without sharing."""

import numpy as np
import pytest
import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.automl.enas.shared_macro import SharedMacro
from tfdl.models.automl.enas.shared_micro import SharedMicro

EPS = 1e-5


def norm(x, scale, offset, epsilon=EPS):
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    return (x - mean) / tf.sqrt(variance + epsilon) * scale + offset


def conv1(x, kernel):
    return tf.einsum("bhwc,cd->bhwd", x, kernel[0, 0])


class Single:
    """One network, by plain Python choices; notes which weights it reads."""

    def __init__(self, network, arc):
        self.weights = {v.name: tf.constant(v.numpy()) for v in network.variables}
        self.network, self.arc = network, [int(value) for value in arc]
        self.read = {name: None for name in self.weights}

    def get(self, name, index=None):
        value = self.weights[name]
        if index is None:
            self.read[name] = True
            return value
        if self.read[name] is None:
            self.read[name] = set()
        self.read[name].add(index)
        return value[index]

    def norm(self, x, name, index=None, epsilon=EPS):
        scale = self.get(f"{name}.scale", index)
        return norm(x, scale, self.get(f"{name}.offset", index), epsilon)

    def project(self, x, name):
        return self.norm(conv1(tf.nn.relu(x), self.get(f"{name}.w")), name)

    def reduce(self, x, name):
        bottom = tf.concat([x[:, 1:], tf.zeros_like(x[:, :1])], 1)
        bottom = tf.concat([bottom[:, :, 1:], tf.zeros_like(x[:, :, :1])], 2)
        halves = [
            conv1(x[:, ::2, ::2], self.get(f"{name}.path1")),
            conv1(bottom[:, ::2, ::2], self.get(f"{name}.path2")),
        ]
        return self.norm(tf.concat(halves, 3), name)


class SingleMicro(Single):
    def logits(self, x):
        net = self.network
        x = self.norm(tf.nn.conv2d(x, self.get("stem.w"), 1, "SAME"), "stem")
        before = last = x
        filters = self.weights["layer_0.final.scale"].shape[0]
        half = len(self.arc) // 2
        for layer in range(len(net.cells)):
            name = f"layer_{layer}"
            if layer in net.reductions:
                filters *= 2
                reduced = self.reduce(last, f"{name}.halve")
                states = [self.reduce(tf.nn.relu(last), f"{name}.pool_x"), reduced]
                last, arc = reduced, self.arc[half:]
            else:
                states, arc = [before, last], self.arc[:half]
                for i, side in enumerate("xy"):
                    if states[i].shape[3] != filters:
                        states[i] = self.project(states[i], f"{name}.pool_{side}")
            before, last = last, self.cell(states, arc, name)
        x = tf.reduce_mean(tf.nn.relu(last), [1, 2])
        return x @ self.get("fc.w")

    def cell(self, states, arc, name):
        slot, read = 0, set()
        for block in range(len(arc) // 4):
            total = 0.0
            for side in range(2):
                which, op = arc[4 * block + 2 * side : 4 * block + 2 * side + 2]
                read.add(which)
                op = self.network.ops[op]
                total += self.operation(states[which], f"{name}.{op}", slot + which)
                slot += 2 + block
            states.append(total)
        loose = [i for i in range(len(states)) if i not in read]
        kernels = [self.get(f"{name}.final.w", i) for i in loose]
        x = sum(
            conv1(tf.nn.relu(states[i]), kernel[None, None])
            for i, kernel in zip(loose, kernels, strict=True)
        )
        return self.norm(x, f"{name}.final")

    def operation(self, x, name, slot):
        op = name.split(".")[1]
        if op == "identity":
            return x
        if op == "avg_3x3":
            return tf.nn.avg_pool2d(x, 3, 1, "SAME")
        if op == "max_3x3":
            return tf.nn.max_pool2d(x, 3, 1, "SAME")
        for half in range(2):
            depth = self.get(f"{name}.depth", slot)[half]
            point = self.get(f"{name}.point", slot)[half]
            x = tf.nn.separable_conv2d(tf.nn.relu(x), depth, point, [1] * 4, "SAME")
            scale = self.get(f"{name}.scale", slot)[half]
            x = norm(x, scale, self.get(f"{name}.offset", slot)[half])
        return x


class SingleMacro(Single):
    def logits(self, x):
        x = self.norm(tf.nn.conv2d(x, self.get("stem.w"), 1, "SAME"), "stem")
        states, arc = [x], list(self.arc)
        for layer in range(self.network.layer_count):
            name = f"layer_{layer}"
            op = self.network.ops[arc.pop(0)]
            x = self.operation(states[-1], f"{name}.{op}")
            for i in range(layer):
                if arc.pop(0):
                    x += states[i]
            if layer:
                x = self.norm(x, f"{name}.skip")
            states.append(x)
            if layer in self.network.reductions:
                states = [
                    self.reduce(s, f"{name}.pool_{i}") for i, s in enumerate(states)
                ]
        return tf.reduce_mean(states[-1], [1, 2]) @ self.get("fc.w")

    def operation(self, x, name):
        kind, side = name.split(".")[1].split("_")
        x = self.norm(conv1(x, self.get(f"{name}.inp.w")), f"{name}.inp")
        x = tf.nn.relu(x)
        if kind in ("avg", "max"):
            return getattr(tf.nn, f"{kind}_pool2d")(x, 3, 1, "SAME")
        if kind == "conv":
            x = tf.nn.conv2d(x, self.get(f"{name}.w"), 1, "SAME")
        else:
            depth, point = self.get(f"{name}.depth"), self.get(f"{name}.point")
            x = tf.nn.separable_conv2d(x, depth, point, [1] * 4, "SAME")
        return tf.nn.relu(self.norm(x, name, epsilon=1e-3))


def noisy(network):
    """Makes scales and offsets no ones and zeros."""
    tf.keras.utils.set_random_seed(3)
    for variable in network.variables:
        if variable.name.endswith((".scale", ".offset")):
            variable.assign_add(tf.random.normal(variable.shape, stddev=0.3))
    return network


@pytest.fixture(scope="module")
def micro():
    network = noisy(SharedMicro(5, blocks=2, layers=3, filters=4))
    return network, SingleMicro


@pytest.fixture(scope="module")
def macro():
    network = noisy(SharedMacro(5, layers=4, filters=4))
    return network, SingleMacro


def step(network):
    """Returns a compiled function: logits, and the gradients of a training loss."""

    @tf.function
    def run(image, arc):
        with tf.GradientTape() as tape:
            logits = network({"image": image, "arc": arc})["logits"]
            loss = tf.reduce_sum(tf.square(logits - 1.0))
        return logits, tape.gradient(loss, network.trainable_variables)

    return run


# All ops, both cells, inputs read twice and states read by nobody.
MICRO_ARCS = [
    [0, 0, 1, 1, 2, 2, 0, 3, 1, 4, 1, 0, 0, 1, 2, 3],
    [1, 4, 1, 2, 1, 3, 1, 0, 0, 2, 0, 2, 2, 0, 2, 1],
]
# Op, then bits: all six ops, some skips, all, none.
MACRO_ARCS = [[0, 1, 1, 2, 0, 1, 3, 1, 0, 1], [4, 5, 0, 1, 1, 1, 2, 0, 0, 0]]


@pytest.mark.parametrize("kind", ["micro", "macro"])
def test_each_equals_the_single_network(kind, request):
    network, single = request.getfixturevalue(kind)
    run = step(network)
    image = tf.random.stateless_normal([3, 10, 10, 3], [1, 2])
    for arc in {"micro": MICRO_ARCS, "macro": MACRO_ARCS}[kind]:
        alone = single(network, arc)
        with tf.GradientTape() as tape:
            tape.watch(list(alone.weights.values()))
            expected = alone.logits(image)
            loss = tf.reduce_sum(tf.square(expected - 1.0))
        logits, gradients = run(image, tf.constant(arc))
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
        wanted = tape.gradient(loss, alone.weights)
        largest = max(np.abs(g).max() for g in wanted.values() if g is not None)
        for variable, found in zip(network.trainable_variables, gradients, strict=True):
            name = variable.name
            found = tf.convert_to_tensor(found).numpy()
            if wanted[name] is None:
                assert not found.any(), name
                continue
            np.testing.assert_allclose(
                found, wanted[name], rtol=1e-3, atol=1e-5 * largest, err_msg=name
            )
            if isinstance(alone.read[name], set):
                rest = [i for i in range(len(found)) if i not in alone.read[name]]
                assert rest and not found[rest].any(), name


def test_one_trace_for_all(micro):
    network, _ = micro
    traces = []

    @tf.function
    def run(image, arc):
        traces.append(1)
        return network({"image": image, "arc": arc})["logits"]

    image = tf.random.stateless_normal([2, 8, 8, 3], [1, 2])
    outputs = [run(image, tf.constant(arc)) for arc in MICRO_ARCS]
    assert len(traces) == 1
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3


def test_dropout_and_auxiliary_head():
    network = SharedMicro(3, 1, 3, 2, keep=0.5, aux_size=24)
    image = tf.random.stateless_normal([2, 24, 24, 3], [1, 2])
    inputs = {"image": image, "arc": tf.constant([0, 0, 1, 1, 0, 2, 1, 3])}
    assert set(network(inputs)) == {"logits"}
    one, other = (
        network(inputs, training=True, seed=tf.constant([0, i])) for i in (1, 2)
    )
    assert one["aux_logits"].shape == (2, 3)
    np.testing.assert_array_equal(one["aux_logits"], other["aux_logits"])
    assert np.abs(one["logits"] - other["logits"]).max() > 0
    names = {v.name for v in network.auxiliary()}
    assert len(names) == 7 and all(name.startswith("aux_head") for name in names)


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: SharedMicro(10, filters=5), "even"),
        (lambda: SharedMicro(10, ops=("conv",)), "op of the space"),
        (lambda: SharedMicro(10, 1, 1, 2, aux_size=16), "auxiliary"),
        (lambda: SharedMacro(10, layers=2), "layers"),
    ],
)
def test_refusals(make, said):
    with pytest.raises(errors.UserError, match=said):
        make()
