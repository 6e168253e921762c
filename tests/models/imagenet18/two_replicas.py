"""Two replicas on two logical CPUs; prints what test_model.py compares, as JSON."""

import json
import sys
import tempfile

import numpy as np
import tensorflow as tf

import tfdl
from tests.models.imagenet18.networks import load, pictures
from tfdl.engine import distribution
from tfdl.layers.batch_norm import average_statistics
from tfdl.models.imagenet18.model import build_model
from tfdl.models.imagenet18.names import variable_names
from tfdl.models.imagenet18.torchvision_names import theirs


def main(folder: str) -> None:
    """Runs the golden batches of both ranks, by themselves and synchronised."""
    strategy = distribution.create("mirrored", 2)
    source = tfdl.load(folder).get_weights()
    config = tfdl.load(folder).config.to_dict()
    arrays = load("io_data_parallel.npz")
    result = {}
    for kind in ("local", "synchronised"):
        with strategy.scope():
            model = build_model({**config, "synchronised": kind == "synchronised"})
        model.set_weights(source)
        gradients, losses = step(strategy, model, arrays)
        named = variable_names(model, statistics=True)
        layer = model.stem[0].norm
        values = strategy.experimental_local_results(layer.moving_mean.value)
        result[kind] = {
            "losses": losses,
            "gradients": gradients,
            "own_means": [value.numpy().tolist() for value in values],
            "statistics": {
                name: variable.numpy().tolist()
                for name, variable in named.items()
                if "running" in name and name.startswith(("bn1", "layer4.0.bn3"))
            },
        }
        average_statistics(model, strategy)
        values = strategy.experimental_local_results(layer.moving_mean.value)
        result[kind]["averaged"] = [value.numpy().tolist() for value in values]
        with tempfile.TemporaryDirectory() as scratch:
            model.save_weights(f"{scratch}/m.weights.h5")
            alone = build_model(config)
            alone.load_weights(f"{scratch}/m.weights.h5")
        kept = variable_names(alone, statistics=True)
        result[kind]["saved"] = all(
            np.allclose(kept[name].numpy(), variable.numpy(), rtol=1e-6, atol=1e-7)
            for name, variable in named.items()
        )
    print(json.dumps(result))


def step(strategy, model, arrays):
    """Returns the mean gradients by name and each replica's loss."""
    weights = variable_names(model)
    pixels = tf.constant(np.stack([arrays[f"u8_rank{r}"] for r in (0, 1)]))
    labels = tf.constant(np.stack([arrays[f"y_rank{r}"] for r in (0, 1)]))

    def replica(rank):
        def forward(_):
            with tf.GradientTape() as tape:
                batch = pictures(tf.gather(pixels, rank))
                logits = model(batch, training=True)["logits"]
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(
                        tf.gather(labels, rank), logits
                    )
                )
            watched = [variable.value for variable in weights.values()]
            return loss, tape.gradient(loss, watched)

        if model.config.synchronised:
            return forward(0)
        # As under gradient accumulation: in a loop within the replica.
        zeros = [tf.zeros(v.shape) for v in weights.values()]
        _, loss, gradients = tf.while_loop(
            lambda i, *_: i < 1,
            lambda i, *_: (i + 1, *forward(i)),
            (tf.constant(0), tf.constant(0.0), zeros),
        )
        return loss, gradients

    @tf.function
    def run():
        ranks = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(context.replica_id_in_sync_group)
        )
        return strategy.run(replica, args=(ranks,))

    losses, gradients = run()
    local = strategy.experimental_local_results
    named = {
        name: theirs(name, np.mean([g.numpy() for g in local(gradient)], axis=0))
        for name, gradient in zip(weights, gradients, strict=True)
    }
    kept = {
        name: value.tolist()
        for name, value in named.items()
        if f"avg_grad/{name}" in arrays.files
    }
    return kept, [float(loss) for loss in local(losses)]


if __name__ == "__main__":
    main(sys.argv[1])
