"""Multiple choice of endings (paper section 4.4)."""

import numpy as np
import tensorflow as tf

from tfdl.data.indexed import Ragged
from tfdl.engine import errors, model_dir
from tfdl.metrics import classification
from tfdl.models.bert import losses, swag
from tfdl.models.bert.base import inputs
from tfdl.models.bert.finetune import BertFineTuneTask

ENDINGS = 4


class ChoiceRows:
    """Features of examples with four sequences each, like `finetune.Rows`."""

    def __init__(self, examples, tokenizer, length: int):
        sequences = [
            row
            for example in examples
            for row in swag.convert(example, tokenizer, length)
        ]
        self._ragged = Ragged(
            {name: [row[name] for row in sequences] for name in sequences[0]}
        )
        self.lengths = self._ragged.lengths.reshape(-1, ENDINGS).max(axis=1)
        labels = [example.label or 0 for example in examples]
        self._labels = tf.constant(labels, tf.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: tf.Tensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns columns [B, 4, width], `labels` and `weights` [B]."""
        each = tf.range(ENDINGS, dtype=tf.int64)
        rows = tf.where(indices[:, None] >= 0, indices[:, None] * ENDINGS + each, -1)
        columns = self._ragged.gather(tf.reshape(rows, [-1]), width)
        batch = {
            name: tf.reshape(value, [-1, ENDINGS, width])
            for name, value in columns.items()
        }
        batch["labels"] = tf.gather(self._labels, tf.maximum(indices, 0))
        batch["weights"] = tf.cast(indices >= 0, tf.float32)
        return batch


class BertSwagTask(BertFineTuneTask):
    """SWAG: `config.data` is `swag:TRAIN,DEV`, the official .csv files."""

    head = "swag"

    def prepare(self) -> None:
        """Reads the examples and makes their four sequences."""
        config = self.config
        kind, _, where = config.data.partition(":")
        paths = [path for path in where.split(",") if path]
        if kind != "swag" or len(paths) != 2:
            raise errors.UserError(
                f"data {config.data!r} is not known; swag:TRAIN.csv,VAL.csv is needed"
            )
        self.load_encoder()
        self.check_length(config.max_seq_length)
        train = swag.read(paths[0])
        self.rows = ChoiceRows(train, self.tokenizer, config.max_seq_length)
        self._read_dev(paths[1])

    def prepare_evaluation(self, data: str | None) -> None:
        """Reads the examples to measure on."""
        config = self.config
        path = (data or config.data).removeprefix("swag:").split(",")[-1]
        if not path:
            raise errors.UserError("--data is needed: a SWAG file")
        saved = model_dir.read_config(config.init_from)
        if saved["head"] != self.head:
            raise errors.UserError(
                f"{config.init_from} is a BERT for {saved['head']}, not for choices"
            )
        config.max_seq_length = saved["max_seq_length"]
        self.load_encoder()
        self._read_dev(path)

    def loss(self, model, batch, denominators, training=True):
        """Returns this part's share of the mean cross-entropy over the four."""
        out = model(inputs(batch), training=training, first_token_only=True)
        total, right = losses.classification(
            out["logits"], batch["labels"], batch["weights"]
        )
        share = total / denominators["examples"]
        return share, {"accuracy": (right, tf.reduce_sum(batch["weights"]))}

    def evaluate(self, learner) -> dict[str, float]:
        """Returns the accuracy."""

        def run(batch):
            out = learner.model(inputs(batch), first_token_only=True)
            guess = tf.argmax(out["logits"], -1, tf.int32)
            return {"guess": guess, "labels": batch["labels"]}

        rows = self.predict_rows(learner, self.eval_rows, run)
        guess = np.array([row["guess"] for row in rows])
        labels = np.array([row["labels"] for row in rows])
        return {"accuracy": classification.accuracy(labels, guess)}

    def score(self, metrics) -> float:
        """Returns the accuracy."""
        return metrics["accuracy"]

    def _read_dev(self, path: str) -> None:
        examples = swag.read(path)
        self.eval_rows = ChoiceRows(
            examples, self.tokenizer, self.config.max_seq_length
        )
