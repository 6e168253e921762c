"""The update rules written down in float64 NumPy, and the same steps in ours."""

import numpy as np
import tensorflow as tf

from tfdl.engine import optimizers

STEPS = 6
CLIP, DECAY = 2.0, 0.03
RATES = [0.0, 0.02, 0.05, 0.01, 0.03, 0.02]


def start():
    """Returns three variables; one is excluded from the decay, one starts at 0."""
    random = np.random.default_rng(1)
    return {
        "dense/kernel": random.normal(size=[5, 3]).astype("float32"),
        "dense/bias": random.normal(size=[3]).astype("float32"),
        "zero/kernel": np.zeros([2, 4], "float32"),
    }


def gradients(step):
    """Returns this step's gradients: some steps are clipped, some are not."""
    random = np.random.default_rng(100 + step)
    size = 1.5 if step % 2 else 0.2
    return {
        name: (size * random.normal(size=value.shape)).astype("float32")
        for name, value in start().items()
    }


# --- the rules: (w, g, slots, rate, t, decay, options) -> new w, in float64 -------


def _sgd(w, g, s, rate, t, decay, o):
    g = g + decay * w
    mu = o.get("momentum", 0.0)
    s["v"] = mu * s.get("v", 0.0) + g
    return w - rate * (g + mu * s["v"] if o.get("nesterov") else s["v"])


def _moments(g, s, o):
    b1, b2 = o.get("beta_1", 0.9), o.get("beta_2", 0.999)
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0.0) + (1 - b2) * g * g
    return b1, b2


def _direction(g, s, t, o, eps):
    b1, b2 = _moments(g, s, o)
    if o.get("epsilon_hat"):
        return s["m"] * np.sqrt(1 - b2**t) / (1 - b1**t) / (np.sqrt(s["v"]) + eps)
    return s["m"] / (1 - b1**t) / (np.sqrt(s["v"] / (1 - b2**t)) + eps)


def _adam(w, g, s, rate, t, decay, o):
    return w - rate * _direction(g + decay * w, s, t, o, o.get("epsilon", 1e-8))


def _adamw(w, g, s, rate, t, decay, o):
    return w - rate * (_direction(g, s, t, o, 1e-8) + decay * w)


def _openai(w, g, s, rate, t, decay, o):
    b1, b2 = _moments(g, s, o)
    rate = rate * np.sqrt(1 - b2**t) / (1 - b1**t)
    decay = decay if w.ndim > 1 else 0.0
    return w - rate * (s["m"] / (np.sqrt(s["v"]) + 1e-8) + decay * w)


def _bert(w, g, s, rate, t, decay, o):
    if o.get("bias_correction"):
        return w - rate * (_direction(g, s, t, o, 1e-6) + decay * w)
    _moments(g, s, o)
    return w - rate * (s["m"] / (np.sqrt(s["v"]) + 1e-6) + decay * w)


def _ratio(a, b):
    a, b = np.linalg.norm(a), np.linalg.norm(b)
    return a / b if a > 0 and b > 0 else 1.0


def _lamb(w, g, s, rate, t, decay, o):
    u = _direction(g, s, t, o, 1e-6) + decay * w
    adapt = decay or "exclude_from_layer_adaptation" in o
    return w - rate * (_ratio(w, u) if adapt else 1.0) * u


def _lars(w, g, s, rate, t, decay, o):
    mu, ratio = o.get("momentum", 0.9), 1.0
    wn, gn = np.linalg.norm(w), np.linalg.norm(g)
    if (decay or "exclude_from_layer_adaptation" in o) and wn > 0 and gn > 0:
        ratio = o["eta"] * wn / (gn + decay * wn)
    push = rate * ratio * (g + decay * w)
    s["v"] = mu * s.get("v", 0.0) + push
    return w - (mu * s["v"] + push if o.get("nesterov") else s["v"])


def _rmsprop(w, g, s, rate, t, decay, o):
    g = g + decay * w
    rho, mu = o.get("rho", 0.9), o.get("momentum", 0.0)
    s["s"] = rho * s.get("s", o.get("initial_square", 1.0)) + (1 - rho) * g * g
    inside, eps = o.get("epsilon_inside", True), o.get("epsilon", 1e-10)
    root = np.sqrt(s["s"] + eps) if inside else np.sqrt(s["s"]) + eps
    s["v"] = mu * s.get("v", 0.0) + rate * g / root
    return w - s["v"]


def _adagrad(w, g, s, rate, t, decay, o):
    g = g + decay * w
    s["s"] = s.get("s", o.get("initial_square", 0.1)) + g * g
    return w - rate * g / (np.sqrt(s["s"]) + o.get("epsilon", 0.0))


CASES = {
    "sgd": ({"name": "sgd"}, _sgd),
    "sgd_momentum": ({"name": "sgd", "momentum": 0.9}, _sgd),
    "sgd_nesterov": ({"name": "sgd", "momentum": 0.8, "nesterov": True}, _sgd),
    "adam": ({"name": "adam"}, _adam),
    "adam_hat": ({"name": "adam", "epsilon_hat": True, "epsilon": 1e-3}, _adam),
    "adam_epsilon": ({"name": "adam", "epsilon": 1e-3}, _adam),
    "adam_no_beta_1": ({"name": "adam", "beta_1": 0.0, "beta_2": 0.99}, _adam),
    "adamw": ({"name": "adamw", "beta_1": 0.7, "beta_2": 0.99}, _adamw),
    "openai_adam": ({"name": "openai_adam"}, _openai),
    "bert_adam": ({"name": "bert_adam"}, _bert),
    "bert_adam_corrected": ({"name": "bert_adam", "bias_correction": True}, _bert),
    "lamb": ({"name": "lamb"}, _lamb),
    "lamb_everywhere": ({"name": "lamb", "exclude_from_layer_adaptation": ()}, _lamb),
    "lars": ({"name": "lars", "eta": 0.1}, _lars),
    "lars_nesterov": (
        {
            "name": "lars",
            "eta": 0.1,
            "nesterov": True,
            "exclude_from_layer_adaptation": (),
        },
        _lars,
    ),
    "rmsprop": ({"name": "rmsprop", "momentum": 0.9, "epsilon": 1.0}, _rmsprop),
    "rmsprop_outside": (
        {
            "name": "rmsprop",
            "rho": 0.99,
            "epsilon_inside": False,
            "epsilon": 1e-8,
            "initial_square": 0.0,
        },
        _rmsprop,
    ),
    "adagrad": ({"name": "adagrad", "initial_square": 1.0}, _adagrad),
    "adagrad_epsilon": ({"name": "adagrad", "epsilon": 0.01}, _adagrad),
}


def trajectory(rule, options):
    """Returns the variables after every step, in float64."""
    values = {name: value.astype("float64") for name, value in start().items()}
    slots = {name: {} for name in values}
    result = []
    for step in range(STEPS):
        given = {n: g.astype("float64") for n, g in gradients(step).items()}
        norm = np.sqrt(sum(np.sum(g * g) for g in given.values()))
        factor = min(1.0, CLIP / norm)
        for name, value in values.items():
            decay = 0.0 if "bias" in name else DECAY
            values[name] = rule(
                value,
                given[name] * factor,
                slots[name],
                RATES[step],
                step + 1,
                decay,
                options,
            )
        result.append(dict(values))
    return result


# --- the same with ours -----------------------------------------------------------


def build(options):
    """Returns our optimizer and its variables, in the current strategy's scope."""
    variables = {name: tf.Variable(value) for name, value in start().items()}
    optimizer = optimizers.create(
        {
            "weight_decay": DECAY,
            "exclude_from_weight_decay": ("bias",),
            "global_clip_norm": CLIP,
            **options,
        }
    )
    optimizer.build(list(variables.values()), list(variables))
    return optimizer, variables


def run_steps(optimizer, variables, steps, jit_compile=False):
    """Makes the given steps; returns the variables after each."""

    @tf.function(jit_compile=jit_compile)
    def update(given, rate):
        return optimizer.apply(given, list(variables.values()), rate)

    result = []
    for step in steps:
        given = gradients(step)
        update([given[n] for n in variables], tf.constant(RATES[step], tf.float32))
        result.append({name: v.numpy() for name, v in variables.items()})
    return result


def run(options, jit_compile=False):
    """Returns the variables after every step, made by our optimizer."""
    optimizer, variables = build(options)
    return run_steps(optimizer, variables, range(STEPS), jit_compile)
