"""What all BERT tasks share: encoder, optimizer, schedule, tokenizer."""

import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from tfdl.engine import errors, model_dir, schedules
from tfdl.engine.task import Task
from tfdl.models.bert import names
from tfdl.models.bert.config import BertConfig
from tfdl.models.bert.model import build_model
from tfdl.text.vocab import check_vocab, load_vocab
from tfdl.text.wordpiece import BertTokenizer

SCHEDULE_FIELDS = ("learning_rate", "warmup_steps", "warmup_proportion")


class BertTask(Task):
    """A task on a BERT encoder; subclasses say which head and which data."""

    head = "encoder"

    def __init__(self, config: ConfigDict, workdir: pathlib.Path):
        super().__init__(config, workdir)
        self.vocab: list[str] = []
        self.do_lower_case = True
        self.encoder_config: BertConfig | None = None
        self.head_config: dict[str, Any] = {}

    def load_encoder(self) -> None:
        """Takes encoder and vocabulary from `init_from`, or from the recipe.

        Raises:
            UserError: there is no vocabulary, or it does not fit the encoder.
        """
        config = self.config
        if config.init_from:
            source = model_dir.read_config(config.init_from)
            if source["model"] != "bert":
                raise errors.UserError(
                    f"{config.init_from} holds a {source['model']}, not a bert"
                )
            self.vocab = load_vocab(model_dir.asset(config.init_from, "vocab.txt"))
            self.do_lower_case = source["tokenizer"]["do_lower_case"]
            encoder = dict(source["encoder"])
            for field in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
                if config.encoder.get(field) is not None:
                    encoder[field] = config.encoder[field]
            self.encoder_config = BertConfig.from_dict(encoder)
        else:
            if not self.vocab:
                self.vocab = self.read_vocab()
            self.do_lower_case = config.do_lower_case
            encoder = {
                k: v for k, v in config.encoder.to_dict().items() if v is not None
            }
            self.encoder_config = BertConfig.from_dict(
                {**encoder, "vocab_size": len(self.vocab)}
            )
        self.tokenizer = BertTokenizer(self.vocab, self.do_lower_case)

    def read_vocab(self) -> list[str]:
        """Returns the vocabulary that the recipe names."""
        if not self.config.get("vocab"):
            raise errors.UserError(
                "training from scratch needs --config.vocab=vocab.txt; to start from a "
                "pretrained model give --init_from=MODEL_DIR"
            )
        vocab = load_vocab(self.config.vocab)
        lacking = [text for text in check_vocab(vocab) if text.startswith("lacks")]
        if lacking:
            raise errors.UserError(f"{self.config.vocab}: {', '.join(lacking)}")
        return vocab

    def check_length(self, length: int) -> None:
        """Raises `UserError` when sequences are longer than the position table."""
        most = self.encoder_config.max_position_embeddings
        if length > most:
            raise errors.UserError(
                f"max_seq_length {length} is over the encoder's {most} positions; "
                "longer texts are read in windows (doc_stride)"
            )

    # --- the engine's questions ------------------------------------------------

    def build_model(self) -> keras.Model:
        """Returns the built model under this task's head."""
        return build_model(
            self.model_config(),
            gradient_checkpointing=self.config.get("gradient_checkpointing", False),
            unpad=self.config.get("unpad", False),
        )

    def optimizers(self) -> dict[str, Any]:
        """Returns the optimizer without the fields of its schedule."""
        options = self.config.optimizer.to_dict()
        return {"model": {k: v for k, v in options.items() if k not in SCHEDULE_FIELDS}}

    def variable_names(self, name: str, network: keras.Model) -> dict[str, Any]:
        """Returns the trained variables by the original's names."""
        return names.variable_names(network)

    def schedule(self, total: int) -> schedules.Schedule:
        """Returns BERT's schedule over `total` steps."""
        options = self.config.optimizer
        warmup = options.get("warmup_steps")
        if warmup is None:
            warmup = int(total * options.get("warmup_proportion", 0.1))
        return schedules.bert(options.learning_rate, total, warmup)

    def trainable(self, name: str) -> bool:
        """Leaves the embeddings and the first `freeze_layers` layers alone."""
        frozen = self.config.get("freeze_layers", 0)
        if not frozen:
            return True
        parts = name.split("/")
        if parts[:2] == ["bert", "encoder"]:
            return int(parts[2].removeprefix("layer_")) >= frozen
        return parts[:2] != ["bert", "embeddings"]

    def initialise(self, learner, source: str) -> list[str]:
        """Copies every weight of the same name and shape from a BERT of ours.

        Returns:
            The names that start at random: a head the source lacks.
        """
        import tfdl

        given = {
            name: variable.numpy()
            for name, variable in names.variable_names(tfdl.load(source)).items()
        }
        fresh = []
        for name, variable in names.variable_names(learner.model).items():
            value = given.get(name)
            if value is not None and value.shape == tuple(variable.shape):
                variable.assign(value)
            elif name.startswith("bert/"):
                raise errors.UserError(f"{source} has no {name} of this shape")
            else:
                fresh.append(name)
        return fresh

    def model_config(self) -> dict[str, Any]:
        """Returns `config.json` of the model directory."""
        return {
            "model": "bert",
            "head": self.head,
            "encoder": self.encoder_config.to_dict(),
            "head_config": self.head_config,
            "tokenizer": {"do_lower_case": self.do_lower_case, "vocab": "vocab.txt"},
            "max_seq_length": self.max_seq_length(),
        }

    def max_seq_length(self) -> int:
        """Returns the length that inputs are cut to when the model is used."""
        return self.config.max_seq_length

    def assets(self) -> dict[str, bytes | str | pathlib.Path]:
        """Returns the vocabulary."""
        return {"vocab.txt": "\n".join(self.vocab) + "\n"}


def inputs(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the encoder's part of a batch."""
    return {k: batch[k] for k in ("token_ids", "segment_ids", "padding_mask")}
