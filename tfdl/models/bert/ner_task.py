"""Named entities, fine-tuned and feature-based (paper section 5.3)."""

import tensorflow as tf

from tfdl.engine import errors, model_dir
from tfdl.metrics import spans
from tfdl.models.bert import losses, ner
from tfdl.models.bert.base import inputs
from tfdl.models.bert.finetune import BertFineTuneTask, Rows


class BertNerTask(BertFineTuneTask):
    """Tags of CoNLL files: the first piece of every word speaks for it.

    `config.data` is `conll:TRAIN,DEV`, columns with the word first and the tag last.
    With `config.feature_layers` the encoder is frozen and a two-layer BiLSTM reads
    those activations; without, the whole encoder is fine-tuned.
    """

    def prepare(self) -> None:
        """Reads the sentences and cuts them into windows."""
        config = self.config
        kind, _, where = config.data.partition(":")
        paths = [path for path in where.split(",") if path]
        if kind != "conll" or len(paths) != 2:
            raise errors.UserError(
                f"data {config.data!r} is not known; conll:TRAIN,DEV is needed"
            )
        sentences = ner.read_sentences(paths[0])
        self.labels = list(config.labels) or ner.find_labels(sentences)
        self.head = "ner_features" if config.feature_layers else "ner"
        self.head_config = {
            "labels": self.labels,
            "document_context": bool(config.document_context),
        }
        if config.feature_layers:
            self.head_config |= {
                "layers": config.feature_layers,
                "units": config.lstm_units,
            }
        self.load_encoder()
        self.check_length(config.max_seq_length)
        self.rows = Rows([window.features for window in self._windows(sentences)])
        self._read_dev(paths[1])

    def prepare_evaluation(self, data: str | None) -> None:
        """Reads the sentences to measure on: a CoNLL file."""
        config = self.config
        path = (data or config.data).removeprefix("conll:").split(",")[-1]
        if not path:
            raise errors.UserError("--data is needed: a CoNLL file")
        saved = model_dir.read_config(config.init_from)
        if saved["head"] not in ("ner", "ner_features"):
            raise errors.UserError(
                f"{config.init_from} is a BERT for {saved['head']}, not for entities"
            )
        self.head, self.labels = saved["head"], saved["head_config"]["labels"]
        config.max_seq_length = saved["max_seq_length"]
        context = saved["head_config"].get("document_context")
        if context is not None:
            config.document_context = context
        self.load_encoder()
        self._read_dev(path)

    def trainable(self, name: str) -> bool:
        """Leaves the encoder alone when its activations are features."""
        if self.head == "ner_features":
            return not name.startswith("bert/")
        return super().trainable(name)

    def denominators(self, batch):
        """Returns the number of labelled words."""
        return {"words": tf.reduce_sum(self._weights(batch))}

    def loss(self, model, batch, denominators, training=True):
        """Returns this part's share of the mean cross-entropy over words."""
        logits = model(inputs(batch), training=training)["logits"]
        weights = self._weights(batch)
        total, right = losses.classification(logits, batch["label_ids"], weights)
        words = tf.reduce_sum(weights)
        share = total / tf.maximum(denominators["words"], 1.0)
        return share, {"word_accuracy": (right, words)}

    def evaluate(self, learner) -> dict[str, float]:
        """Returns entity-level precision, recall and F1, as conlleval."""

        def run(batch):
            logits = learner.model(inputs(batch))["logits"]
            return {"guess": tf.argmax(logits, -1, tf.int32)}

        rows = self.predict_rows(learner, self.eval_rows, run)
        predicted = ner.tag_words(
            self.dev_sentences,
            self.dev_windows,
            [row["guess"] for row in rows],
            self.labels,
        )
        self.workdir.mkdir(parents=True, exist_ok=True)
        ner.write_predictions(
            self.workdir / "predictions.conll", self.dev_sentences, predicted
        )
        gold = [sentence.tags for sentence in self.dev_sentences]
        return spans.evaluate(gold, predicted).metrics()

    def score(self, metrics) -> float:
        """Returns F1."""
        return metrics["f1"]

    def summary(self, before, after, model) -> list[str]:
        """Returns what to try next."""
        text = " ".join(self.dev_sentences[0].words)[:60].replace('"', "'")
        return [
            f'echo "{text}" | tfdl predict --model_dir={model} --input=-',
            f"tfdl evaluate --model_dir={model} --data={self.dev_path}",
            f"tfdl export --model_dir={model} --output=saved_models/bert",
        ]

    def _read_dev(self, path: str) -> None:
        self.dev_path = path
        self.dev_sentences = ner.read_sentences(path)
        self.dev_windows = self._windows(self.dev_sentences)
        self.eval_rows = Rows([window.features for window in self.dev_windows])

    def _windows(self, sentences) -> list[ner.Window]:
        return list(
            ner.make_windows(
                sentences,
                self.tokenizer,
                self.config.max_seq_length,
                self.labels,
                self.config.document_context,
            )
        )

    def _weights(self, batch) -> tf.Tensor:
        words = tf.cast(batch["label_weights"], tf.float32)
        return words * batch["weights"][:, None]
