"""The classifier: the encoder over whole documents, pooled (ULMFiT section 3.3)."""

import keras

from tfdl.models.ulmfit import bpt3c
from tfdl.models.ulmfit.awd_lstm import AwdLstm
from tfdl.models.ulmfit.config import ClassifierConfig, EncoderConfig
from tfdl.models.ulmfit.head import Head


class Classifier(keras.Model):
    """Classifies documents of any length.

    `model({"token_ids": ids [B, T]})` returns `"logits"` [B, C] and `"pooled"`
    [B, 3E], what the head reads: the last output, the maximum and the mean over time.
    Padding (`pad_id`) may stand anywhere: rows are laid out anew as the configured
    `padding` wants it, and come back in their order.

    In training gradients stop at the borders of chunks of `bptt` tokens, each with
    dropout masks of its own, and `"dropped"`, `"raw"` [B, T', E] and `"mask"` [B, T']
    are there for the regularizers of the outputs.

    Args:
        encoder: sizes and dropout rates of the encoder.
        config: the head, and how documents are read.
    """

    def __init__(self, encoder: EncoderConfig, config: ClassifierConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.encoder_config, self.config = encoder, config
        self.encoder = AwdLstm(encoder, name="encoder")
        self.head = Head(config, name="head")

    def build(self, input_shape=None):
        """Makes every variable."""
        del input_shape
        self.encoder.build()
        self.head.build((None, 3 * self.encoder_config.embedding_size))
        self.built = True

    def call(self, inputs, training=False):
        """Maps {"token_ids"} to {"logits", "pooled"}; see the class."""
        found = self.encode(inputs["token_ids"], training)
        found["logits"] = self.head(found["pooled"], training=training)
        if not training:
            return {"logits": found["logits"], "pooled": found["pooled"]}
        return {**found, "dropped": found["raw"]}

    def encode(self, token_ids, training=False):
        """Maps ids [B, T] to `"pooled"`, `"raw"` and `"mask"`; see `bpt3c.encode`."""
        return bpt3c.encode(self.encoder, self.config, token_ids, training)
