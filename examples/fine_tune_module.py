"""Fine-tune a published BERT module as a classifier. Needs TensorFlow, not tfdl.

    python examples/fine_tune_module.py http://127.0.0.1:8080/me/bert/1

The module and its preprocessor (the same name with -preprocess) come from hub.load.
"""

import sys

import keras
import tensorflow as tf
import tensorflow_hub as hub
import tensorflow_text  # noqa: F401, the operations of the preprocessor

QUESTIONS = [
    "is the shop open on sunday?",
    "where did you leave the keys?",
    "how far is the next town?",
    "who wrote this book?",
    "can we start the meeting now?",
    "what does the old man want?",
]
STATEMENTS = [
    "the shop is open on sunday.",
    "you left the keys at home.",
    "the next town is far away.",
    "my sister wrote this book.",
    "we start the meeting now.",
    "the old man wants some tea.",
]


def main(address: str, steps: int = 40) -> None:
    """Trains encoder and classifier together; prints loss and accuracy."""
    name, _, version = address.rpartition("/")
    preprocess = hub.load(f"{name}-preprocess/{version}")
    encoder = hub.load(address)

    inputs = preprocess(tf.constant(QUESTIONS + STATEMENTS))
    labels = tf.constant([1] * len(QUESTIONS) + [0] * len(STATEMENTS))
    classifier = keras.layers.Dense(2)
    classifier.build(encoder(inputs)["pooled_output"].shape)
    weights = [v.value for v in classifier.trainable_variables]
    variables = [*encoder.trainable_variables, *weights]
    optimizer = keras.optimizers.Adam(1e-3, global_clipnorm=1.0)
    optimizer.build(variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            vectors = encoder(inputs, training=True)["pooled_output"]
            losses = keras.losses.sparse_categorical_crossentropy(
                labels, classifier(vectors), from_logits=True
            )
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def accuracy() -> float:
        logits = classifier(encoder(inputs)["pooled_output"])
        right = tf.equal(tf.argmax(logits, -1, tf.int32), labels)
        return float(tf.reduce_mean(tf.cast(right, tf.float32)))

    print(f"before: accuracy {accuracy():.2f}")
    for i in range(steps):
        loss = step()
        if i % 10 == 0 or i == steps - 1:
            print(f"step {i}: loss {float(loss):.3f}")
    print(f"after: accuracy {accuracy():.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
