"""What is put on top of the encoder for each task (paper section 3, figure 4)."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfdl.engine import errors
from tfdl.layers.dropout import Dropout
from tfdl.models.bert.model import BertEncoder, Dense, LayerNorm, activation

# The layers that the paper's feature-based tagger reads (table 7).
FEATURE_LAYERS = (
    "embeddings",
    "last",
    "second_to_last",
    "weighted_sum_last_four",
    "concat_last_four",
    "weighted_sum_all",
)

# What a configuration may ask for: it is read before there is any weight.
MAX_LABELS = 1_000_000
MAX_UNITS = 16_384


class _Output(keras.layers.Layer):
    """`x @ output_weights^T + output_bias`, weights [n, H] as in the original."""

    def __init__(self, units: int, stddev: float, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.units, self.stddev = units, stddev
        self.supports_masking = True  # a row's logits depend on that row alone

    def build(self, input_shape):
        """Makes output_weights [n, H] and output_bias [n]."""
        self.output_weights = self.add_weight(
            name="output_weights",
            shape=(self.units, input_shape[-1]),
            initializer=keras.initializers.TruncatedNormal(stddev=self.stddev),
        )
        self.output_bias = self.add_weight(
            name="output_bias", shape=(self.units,), initializer="zeros"
        )

    def call(self, x):
        """Maps [..., H] to float32 [..., n]."""
        x = tf.cast(x, tf.float32)
        rows = tf.reshape(x, [-1, x.shape[-1]])
        weights = tf.cast(self.output_weights, tf.float32)
        logits = tf.matmul(rows, weights, transpose_b=True)
        logits = tf.nn.bias_add(logits, tf.cast(self.output_bias, tf.float32))
        return tf.reshape(logits, tf.concat([tf.shape(x)[:-1], [self.units]], 0))


class _WithEncoder(keras.Model):
    """A model with a BERT encoder under its head."""

    def __init__(self, encoder: BertEncoder, **kwargs):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.head: _Output | None = None

    def build(self, input_shape=None):
        """Makes the variables of the encoder and of the output layer."""
        if not self.encoder.built:
            self.encoder.build(None)
        self.head.build((None, self.encoder.config.hidden_size))
        self.built = True

    def _output(self, units: int, name: str) -> _Output:
        return _Output(units, self.encoder.config.initializer_range, name=name)


class BertPretrainer(_WithEncoder):
    """Masked language model and next-sentence prediction (paper section 3.1)."""

    def __init__(self, encoder: BertEncoder, **kwargs):
        super().__init__(encoder, **kwargs)
        config = encoder.config
        std = config.initializer_range
        self.transform = Dense(config.hidden_size, std, name="transform")
        self.transform_activation = activation(config.hidden_act)
        self.transform_norm = LayerNorm(config.layer_norm_eps, name="transform_norm")
        self.head = self._output(2, "seq_relationship")

    def build(self, input_shape=None):
        """Makes the heads' variables; the MLM's output table is the embedding."""
        config = self.encoder.config
        if not self.encoder.built:
            self.encoder.build(None)
        self.transform.build((None, config.hidden_size))
        self.transform_norm.build((None, config.hidden_size))
        self.head.build((None, config.hidden_size))
        self.output_bias = self.add_weight(
            name="output_bias", shape=(config.vocab_size,), initializer="zeros"
        )
        self.built = True

    def call(self, inputs, training=False, **options):
        """Adds the heads' logits to the encoder's outputs.

        Args:
            inputs: what the encoder takes; with `masked_positions` int32 [B, P],
                the MLM is computed at those positions only.
            training: whether dropout is on.
            **options: passed to the encoder.

        Returns:
            The encoder's outputs, `mlm_logits` [B, S, V] ([B, P, V] with
            positions) and `nsp_logits` [B, 2] (index 0: B follows A).
        """
        outputs = self.encoder(inputs, training=training, **options)
        vectors = outputs["sequence_output"]
        positions = inputs.get("masked_positions")
        if positions is not None:
            vectors = tf.gather(vectors, positions, batch_dims=1)
        outputs["mlm_logits"] = self.mlm_logits(vectors)
        outputs["nsp_logits"] = self.head(outputs["pooled_output"])
        return outputs

    def mlm_logits(self, vectors):
        """Maps final vectors [B, P, H] to float32 logits [B, P, V]."""
        config = self.encoder.config
        dtype = self.compute_dtype
        shape = tf.shape(vectors)
        rows = tf.reshape(tf.cast(vectors, dtype), [-1, config.hidden_size])
        rows = self.transform_norm(self.transform_activation(self.transform(rows)))
        table = tf.cast(self.encoder.embeddings.word, dtype)
        logits = tf.cast(tf.matmul(rows, table, transpose_b=True), tf.float32)
        logits = tf.nn.bias_add(logits, tf.cast(self.output_bias, tf.float32))
        return tf.reshape(logits, [shape[0], shape[1], config.vocab_size])


class BertClassifier(_WithEncoder):
    """One linear layer on the pooled output (paper section 4.1).

    Args:
        encoder: the encoder.
        num_labels: outputs; 1 for regression.
        dropout: on the pooled output, in training.
    """

    def __init__(self, encoder: BertEncoder, num_labels: int, dropout=0.1, **kwargs):
        super().__init__(encoder, **kwargs)
        self.dropout = Dropout(dropout)
        self.head = self._output(num_labels, "classifier")

    def call(self, inputs, training=False, **options):
        """Adds `logits` [B, C] to the encoder's outputs."""
        outputs = self.encoder(inputs, training=training, **options)
        pooled = self.dropout(outputs["pooled_output"], training=training)
        outputs["logits"] = self.head(pooled)
        return outputs


class BertSpanSelector(_WithEncoder):
    """Start and end vectors for extractive answers (paper section 4.2)."""

    def __init__(self, encoder: BertEncoder, **kwargs):
        super().__init__(encoder, **kwargs)
        self.head = self._output(2, "squad")

    def call(self, inputs, training=False, **options):
        """Adds `start_logits` and `end_logits` [B, S]."""
        outputs = self.encoder(inputs, training=training, **options)
        logits = self.head(outputs["sequence_output"])
        outputs["start_logits"], outputs["end_logits"] = tf.unstack(logits, axis=-1)
        return outputs


class BertMultipleChoice(_WithEncoder):
    """One score per (context, ending) pair, softmax over them (paper section 4.4).

    The score is the pooled output times one vector. It also has a bias, as in
    published checkpoints: equal for all endings, it changes no probability.
    """

    def __init__(self, encoder: BertEncoder, dropout: float = 0.1, **kwargs):
        super().__init__(encoder, **kwargs)
        self.dropout = Dropout(dropout)
        self.head = self._output(1, "choice")

    def call(self, inputs, training=False, **options):
        """Takes [B, N, S] inputs; returns [B, N, ...] outputs and `logits` [B, N]."""
        shape = tf.shape(inputs["token_ids"])
        flat = {
            name: tf.reshape(inputs[name], [-1, shape[2]])
            for name in ("token_ids", "segment_ids", "padding_mask")
            if inputs.get(name) is not None
        }
        outputs = self.encoder(flat, training=training, **options)
        pooled = self.dropout(outputs["pooled_output"], training=training)
        outputs["logits"] = self.head(pooled)[:, 0]

        def by_example(tensor):
            rest = tf.shape(tensor)[1:]
            return tf.reshape(tensor, tf.concat([shape[:2], rest], axis=0))

        return tf.nest.map_structure(by_example, outputs)


class BertTokenClassifier(_WithEncoder):
    """One linear layer on every final vector (paper section 5.3)."""

    def __init__(self, encoder: BertEncoder, num_labels: int, dropout=0.1, **kwargs):
        super().__init__(encoder, **kwargs)
        self.dropout = Dropout(dropout)
        self.head = self._output(num_labels, "classifier")

    def call(self, inputs, training=False, **options):
        """Adds `logits` [B, S, C]."""
        outputs = self.encoder(inputs, training=training, **options)
        vectors = self.dropout(outputs["sequence_output"], training=training)
        outputs["logits"] = self.head(vectors)
        return outputs


class BertFeatureTagger(_WithEncoder):
    """The feature-based tagger: frozen activations under a BiLSTM (table 7).

    Args:
        encoder: the encoder; no gradient reaches it and its dropout is off.
        num_labels: tags.
        layers: which activations, one of `FEATURE_LAYERS`.
        units: width of each direction of the two-layer BiLSTM (768 in the paper).

    Raises:
        UserError: the encoder has too few layers, or an argument is not allowed.
    """

    def __init__(
        self,
        encoder: BertEncoder,
        num_labels: int,
        layers: str = "concat_last_four",
        units: int = 768,
        **kwargs,
    ):
        super().__init__(encoder, **kwargs)
        if layers not in FEATURE_LAYERS:
            raise errors.unknown("feature layers", layers, FEATURE_LAYERS)
        depth = encoder.config.num_hidden_layers
        if "four" in layers and depth < 4:
            raise errors.UserError(f"{layers} needs 4 layers, the encoder has {depth}")
        if type(units) is not int or not 0 < units <= MAX_UNITS:
            raise errors.UserError(
                f"units has to be an integer in 1..{MAX_UNITS}, got {units!r}"
            )
        self.layers_read, self.units = layers, units
        self.recurrent = [
            keras.layers.Bidirectional(
                keras.layers.LSTM(units, return_sequences=True), name=f"bilstm_{i}"
            )
            for i in range(2)
        ]
        self.head = self._output(num_labels, "classifier")

    def build(self, input_shape=None):
        """Makes the BiLSTM's variables and the mixing weights, if any."""
        if not self.encoder.built:
            self.encoder.build(None)
        hidden = self.encoder.config.hidden_size
        width = 4 * hidden if self.layers_read == "concat_last_four" else hidden
        self.recurrent[0].build((None, None, width))
        self.recurrent[1].build((None, None, 2 * self.units))
        self.head.build((None, None, 2 * self.units))
        count = {
            "weighted_sum_last_four": 4,
            "weighted_sum_all": self.encoder.config.num_hidden_layers,
        }.get(self.layers_read)
        self.mixture = None
        if count:
            self.mixture = self.add_weight(
                name="mixture", shape=(count,), initializer="zeros"
            )
        self.built = True

    def call(self, inputs, training=False, **options):
        """Adds `features` [B, S, D] and `logits` [B, S, C]."""
        outputs = self.encoder(
            inputs, training=False, **{**options, "all_layers": True}
        )
        layers = [tf.stop_gradient(layer) for layer in outputs["encoder_outputs"]]
        x = self.features(layers)
        outputs["features"] = x
        mask = inputs.get("padding_mask")
        mask = None if mask is None else tf.cast(mask, tf.bool)
        for layer in self.recurrent:
            x = layer(x, mask=mask, training=training)
        outputs["logits"] = self.head(x)
        return outputs

    def features(self, layers):
        """Combines embedding output and layer outputs, L + 1 of [B, S, H]."""
        if self.layers_read == "embeddings":
            return layers[0]
        if self.layers_read == "last":
            return layers[-1]
        if self.layers_read == "second_to_last":
            return layers[-2]
        if self.layers_read == "concat_last_four":
            return tf.concat(layers[-4:], axis=-1)
        chosen = layers[-4:] if self.layers_read.endswith("four") else layers[1:]
        weights = tf.unstack(tf.nn.softmax(tf.cast(self.mixture, tf.float32)))
        return tf.add_n([w * layer for w, layer in zip(weights, chosen, strict=True)])


HEADS = (
    "encoder",
    "pretraining",
    "classification",
    "regression",
    "multilabel",
    "squad",
    "swag",
    "ner",
    "ner_features",
)


def create(
    head: str, encoder: BertEncoder, options: Mapping[str, Any] | None = None
) -> keras.Model:
    """Returns the encoder under a head.

    Args:
        head: one of `HEADS`.
        encoder: the encoder.
        options: `labels` (or `num_labels`) where the head has labels; `dropout`
            under a fine-tuned output layer (0.1, the original's, unless given);
            `layers` and `units` for the feature-based tagger.

    Raises:
        UserError: the head is unknown or an option does not fit it.
    """
    options = options or {}
    if head not in HEADS:
        raise errors.unknown("BERT head", head, HEADS)
    if head == "encoder":
        return encoder
    if head == "pretraining":
        return BertPretrainer(encoder)
    if head == "squad":
        return BertSpanSelector(encoder)
    dropout = _dropout(options)
    if head == "swag":
        return BertMultipleChoice(encoder, dropout)
    if head == "regression":
        return BertClassifier(encoder, 1, dropout)
    labels = _num_labels(head, options)
    if head == "ner":
        return BertTokenClassifier(encoder, labels, dropout)
    if head == "ner_features":
        extra = {key: options[key] for key in ("layers", "units") if key in options}
        return BertFeatureTagger(encoder, labels, **extra)
    return BertClassifier(encoder, labels, dropout)


def _dropout(options: Mapping[str, Any]) -> float:
    rate = options.get("dropout", 0.1)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise errors.UserError(f"a head's dropout has to be in [0, 1), got {rate!r}")
    return rate


def _num_labels(head: str, options: Mapping[str, Any]) -> int:
    named = len(options.get("labels") or ())
    count = options.get("num_labels") or named
    if not count:
        raise errors.UserError(f"a BERT model for {head} needs its labels")
    if type(count) is not int or not 0 < count <= MAX_LABELS:
        raise errors.UserError(
            f"num_labels has to be an integer in 1..{MAX_LABELS}, got {count!r}"
        )
    if named and named != count:
        raise errors.UserError(f"num_labels is {count}, but {named} labels are named")
    return count
