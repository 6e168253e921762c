"""BERT on a user's own texts, for every head."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

import tfdl
from tfdl.engine import errors, model_dir
from tfdl.engine.prediction import Request, input_file
from tfdl.models.bert import (
    examples,
    features,
    glue,
    long_documents,
    predict_features,
    predict_spans,
)
from tfdl.models.bert.base import inputs
from tfdl.models.bert.examples import Example
from tfdl.models.bert.finetune import Rows, run_rows
from tfdl.text.vocab import load_vocab
from tfdl.text.wordpiece import BertTokenizer

MODES = ("fill_mask", "embedding", "next_sentence", "features")
MAX_INPUT_BYTES = 2 << 30
GLUE = "glue:"


class Predictor:
    """A loaded model directory with its tokenizer."""

    def __init__(self, request: Request):
        self.request, self.config = request, request.config
        self.model = tfdl.load(request.model_dir)
        vocab = load_vocab(model_dir.asset(request.model_dir, "vocab.txt"))
        lower = self.config["tokenizer"]["do_lower_case"]
        self.tokenizer = BertTokenizer(vocab, lower)
        # What a person types as [MASK] is meant as the special token.
        self.mask_tokenizer = BertTokenizer(vocab, lower, split_special_tokens=False)
        positions = self.config["encoder"]["max_position_embeddings"]
        self.length = request.number("max_seq_length", self.config["max_seq_length"])
        if self.length > positions:
            raise errors.UserError(
                f"max_seq_length {self.length}: the model has {positions} positions"
            )
        self.batch_size = request.number("batch_size", 32)

    def run(self, rows: Rows, function) -> list[dict[str, Any]]:
        """Runs `function(batch)` over rows in batches of similar lengths."""
        strategy = tf.distribute.get_strategy()
        return run_rows(strategy, rows, function, self.batch_size)


def predict(request: Request) -> Iterator[dict[str, Any]]:
    """Yields a record per input row.

    Raises:
        UserError: the input or an option does not fit the model.
    """
    request.check_options(
        "mode", "pooling", "top_k", "max_seq_length", "batch_size", "text_a", "text_b",
        "doc_stride", "n_best_size", "max_answer_length", "null_score_diff_threshold",
        "max_query_length", "layers", "combine", "glue_task", "window_pooling",
    )  # fmt: skip
    head = request.config["head"]
    predictor = Predictor(request)
    mode = request.options.get("mode")
    if mode and mode not in MODES:
        raise errors.unknown("mode", mode, MODES)
    if mode in ("fill_mask", "next_sentence") and head != "pretraining":
        raise errors.UserError(
            f"mode {mode} needs the pretraining heads, this is {head}"
        )
    if mode == "embedding" or (not mode and head == "encoder"):
        yield from predict_features.embeddings(predictor, read(request))
    elif mode == "features":
        yield from predict_features.tokens(predictor, read(request))
    elif head == "pretraining":
        yield from (
            _next_sentence(predictor)
            if mode == "next_sentence"
            else _fill_mask(predictor)
        )
    elif head == "squad":
        yield from predict_spans.answers(predictor)
    elif head in ("ner", "ner_features"):
        yield from predict_spans.entities(predictor)
    elif head == "swag":
        yield from predict_spans.choices(predictor)
    else:
        yield from _classes(predictor)


def writes_files(request: Request) -> bool:
    """Tells whether the output is no JSON lines: token vectors as arrays."""
    return request.options.get("mode") == "features" and request.output.endswith(".npz")


def read(request: Request) -> list[Example]:
    """Reads the input: a table, JSON lines, or a text per line."""
    path = input_file(request.input, MAX_INPUT_BYTES)
    return examples.read_table(
        path,
        request.options.get("text_a"),
        request.options.get("text_b"),
        need_label=False,
    )


def _texts(example: Example) -> dict[str, str]:
    record = {"text": example.text_a}
    if example.text_b is not None:
        record["text_b"] = example.text_b
    return record


def _rows(predictor: Predictor, rows: list[Example]) -> Rows:
    tokenizer, length = predictor.tokenizer, predictor.length
    return Rows([features.convert(x.text_a, x.text_b, tokenizer, length) for x in rows])


def _classes(predictor: Predictor) -> Iterator[dict[str, Any]]:
    request, config = predictor.request, predictor.config["head_config"]
    task, split = "", ""
    if request.input.startswith(GLUE):
        folder, _, split = request.input.removeprefix(GLUE).partition(":")
        split = split or "test"
        task = request.options.get("glue_task", config.get("glue_task", ""))
        rows = glue.read(folder, task, split)
    else:
        rows = read(request)
    logits = _logits(predictor, rows)
    if task and request.output:
        _write_submission(pathlib.Path(request.output).parent, task, logits, split)
    head, labels = predictor.config["head"], config.get("labels")
    for example, row in zip(rows, logits, strict=True):
        record: dict[str, Any] = _texts(example)
        if head == "regression":
            record["score"] = float(row[0])
        elif head == "multilabel":
            chances = 1.0 / (1.0 + np.exp(-row))
            record["labels"] = [
                n for n, p in zip(labels, chances, strict=True) if p > 0.5
            ]
            record["probabilities"] = _named(labels, chances)
        else:
            chances = softmax(row)
            record["label"] = labels[int(chances.argmax())]
            record["probabilities"] = _named(labels, chances)
        yield record


def _logits(predictor: Predictor, rows: list[Example]) -> np.ndarray:
    """Returns logits [N, C], float64; of long texts those of their windows, joined."""
    request, config = predictor.request, predictor.config["head_config"]

    def run(batch):
        out = predictor.model(inputs(batch), first_token_only=True)
        return {"logits": out["logits"]}

    owners, stride = None, config.get("doc_stride")
    if "doc_stride" in request.options:
        stride = request.number("doc_stride", 0)
    if stride:
        made, owners = long_documents.convert(
            rows, predictor.tokenizer, predictor.length, stride
        )
        packed = Rows(made)
    else:
        packed = _rows(predictor, rows)
    logits = np.stack([row["logits"] for row in predictor.run(packed, run)])
    if owners is None:
        return logits.astype(np.float64)
    default = config.get("window_pooling", "mean")
    how = request.option("window_pooling", default, long_documents.AGGREGATIONS)
    return long_documents.aggregate(logits, owners, how)


def _write_submission(
    folder: pathlib.Path, task: str, logits: np.ndarray, split: str
) -> None:
    """Writes what the GLUE server takes, and the original's test_results.tsv."""
    if glue.task(task).is_regression:
        glue.write_submission(folder, task, logits[:, 0], split)
        return
    glue.write_submission(folder, task, logits.argmax(-1), split)
    glue.write_probabilities(folder / "test_results.tsv", softmax(logits))


def _fill_mask(predictor: Predictor) -> Iterator[dict[str, Any]]:
    rows = read(predictor.request)
    top_k = predictor.request.number("top_k", 5)
    tokenizer, mask_id = predictor.mask_tokenizer, predictor.mask_tokenizer.mask_id
    packed, positions = [], []
    for x in rows:
        b = tokenizer.encode(x.text_b) if x.text_b else None
        ids = tokenizer.encode(x.text_a)
        row = features.pack(ids, b, tokenizer, predictor.length)
        where = [i for i, token in enumerate(row["token_ids"]) if token == mask_id]
        if not where:
            raise errors.UserError(
                f"{x.where}: no [MASK] in the text (within {predictor.length} tokens)"
            )
        packed.append(row)
        positions.append(where)
    slots = max(map(len, positions))
    padded = np.array([where + [0] * (slots - len(where)) for where in positions])

    def run(batch):
        chosen = {**inputs(batch), "masked_positions": batch["positions"]}
        chances = tf.nn.softmax(predictor.model(chosen)["mlm_logits"])
        best = tf.math.top_k(chances, min(top_k, chances.shape[-1]))
        return {"values": best.values, "indices": best.indices}

    results = predictor.run(Rows(packed, {"positions": padded.astype(np.int32)}), run)
    for x, where, result in zip(rows, positions, results, strict=True):
        text, masks = x.text_a, []
        for k in range(len(where)):
            tokens = [tokenizer.vocab[i] for i in result["indices"][k]]
            masks.append(_named(tokens, result["values"][k]))
            text = text.replace("[MASK]", tokens[0].removeprefix("##"), 1)
        yield {**_texts(x), "filled": text, "masks": masks}


def _next_sentence(predictor: Predictor) -> Iterator[dict[str, Any]]:
    rows = read(predictor.request)
    for x in rows:
        if not x.text_b:
            raise errors.UserError(f"{x.where}: next_sentence needs text_a and text_b")

    def run(batch):
        return {"logits": predictor.model(inputs(batch))["nsp_logits"]}

    results = predictor.run(_rows(predictor, rows), run)
    for x, result in zip(rows, results, strict=True):
        yield {**_texts(x), "is_next": float(softmax(result["logits"])[0])}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis, float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def _named(names, values) -> dict[str, float]:
    pairs = zip(names, values, strict=True)
    return {str(name): round(float(value), 6) for name, value in pairs}
