"""What a user of a published BERT does, in a process without tfdl.

consumer.py ENCODER_URL PREPROCESS_URL < {"texts": [...], "pairs": [[...], [...]]}
"""

import json
import sys

import keras
import tensorflow as tf
import tensorflow_hub as hub
import tensorflow_text  # noqa: F401


def main() -> None:
    """Prints outputs, gradients' presence and weights' movement as JSON."""
    request = json.load(sys.stdin)
    encoder, preprocess = hub.load(sys.argv[1]), hub.load(sys.argv[2])
    inputs = preprocess(tf.constant(request["texts"]))
    first, second = (preprocess.tokenize(tf.constant(x)) for x in request["pairs"])
    pair = preprocess.bert_pack_inputs([first, second], seq_length=12)
    found = {
        "inputs": _lists(inputs),
        "default_pair": _lists(preprocess.bert_pack_inputs([first, second])),
        "pair": _lists(pair),
        "outputs": _lists(encoder(pair)),
        "positions": [[1, 3]] * len(request["pairs"][0]),
    }
    positions = tf.constant(found["positions"])
    masked = {**pair, "masked_lm_positions": positions}
    found["mlm_logits"] = encoder.mlm(masked)["mlm_logits"].numpy().tolist()

    def loss(outputs):
        kept = [v for k, v in outputs.items() if k != "encoder_outputs"]
        return tf.add_n([tf.reduce_mean(tf.square(v - 0.5)) for v in kept])

    # Dropout is on in training only.
    again = [float(loss(encoder(pair, training=True))) for _ in range(2)]
    still = [float(loss(encoder(pair))) for _ in range(2)]
    found["random"] = [again[0] != again[1], still[0] != still[1]]

    variables = encoder.mlm.trainable_variables
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(variables)
    before = [v.numpy() for v in variables]
    start = float(loss(encoder.mlm(masked)))
    for _ in range(3):
        with tf.GradientTape() as tape:
            value = loss(encoder.mlm(masked, training=True))
        grads = tape.gradient(value, variables)
        optimizer.apply(grads, variables)
    found["no_gradient"] = [
        v.name for v, g in zip(variables, grads, strict=True) if g is None
    ]
    found["unmoved"] = [
        v.name
        for v, old in zip(variables, before, strict=True)
        if (v.numpy() == old).all()
    ]
    found["losses"] = [start, float(loss(encoder.mlm(masked)))]
    found["trainable"] = [len(encoder.trainable_variables), len(variables)]
    found["tfdl"] = "tfdl" in sys.modules
    print(json.dumps(found))


def _lists(outputs):
    return {
        k: [x.numpy().tolist() for x in v]
        if k == "encoder_outputs"
        else v.numpy().tolist()
        for k, v in outputs.items()
    }


if __name__ == "__main__":
    main()
