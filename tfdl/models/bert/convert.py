"""Original BERT checkpoints into model directories, and back.

Read: the archives and folders of google-research/bert (TF1 checkpoints, fine-tuned
ones too) and of transformers (safetensors, sharded or not, and pytorch_model.bin of
either generation). Every size comes from the tensors; the configuration beside them
only says what tensors cannot (heads, activation, dropout) and is checked.
"""

import json
import pathlib
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from tfdl.checkpoints import mapping, safetensors, tf1
from tfdl.engine import errors, files, model_dir
from tfdl.engine.errors import UserError
from tfdl.models.bert import huggingface, sources
from tfdl.models.bert.config import BertConfig
from tfdl.models.bert.heads import HEADS
from tfdl.models.bert.model import build_model
from tfdl.models.bert.names import variable_names
from tfdl.text.vocab import infer_casing, load_vocab

OPTIONS = (
    "hidden_act",
    "do_lower_case",
    "head",
    "labels",
    "max_seq_length",
    "vocab",
    "config",
)
FORMATS = ("safetensors", "tf1")
# More rows than tokens than this is no padding to a round number any more.
MAX_PADDING_ROWS = 128

# What a configuration's "gelu" means depends on whose configuration it is.
_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python": "gelu_erf",
    "silu": "swish",
}
# What no tensor's shape tells.
_FROM_CONFIG = (
    "num_attention_heads",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
    "layer_norm_eps",
)
_HEAD_WEIGHTS = re.compile(
    r"(cls/(predictions|seq_relationship|squad)/.*|output_(weights|bias))"
)
_POOLER = ("bert/pooler/dense/kernel", "bert/pooler/dense/bias")


def convert(
    source: files.PathLike,
    output_dir: files.PathLike,
    *,
    hidden_act: str | None = None,
    do_lower_case: bool | None = None,
    head: str | None = None,
    labels: Sequence[str] = (),
    max_seq_length: int | None = None,
    vocab: files.PathLike | None = None,
    config: files.PathLike | None = None,
    **unknown: Any,
) -> dict[str, Any]:
    """Converts a checkpoint into a model directory.

    Args:
        source: a folder, a .zip of one, a file of weights, or a TF1 prefix.
        output_dir: the model directory to write.
        hidden_act: overrides the activation. "gelu" is read as the tanh form from
            TF1 checkpoints and as the erf form from transformers'.
        do_lower_case: overrides the casing, which is otherwise taken from the
            tokenizer's files or the folder's name.
        head: overrides the head that the weights show; a head whose weights are
            not there starts at random, one that is not asked for is dropped.
        labels: names of a classifier's labels.
        max_seq_length: the length inputs are cut to; by default 512, or the
            position table's.
        vocab: the vocabulary file, where it is not beside the weights (fine-tuning
            in google-research/bert leaves it and the configuration elsewhere).
        config: the configuration file, likewise.
        **unknown: refused by name.

    Returns:
        `format`, `head`, `parameters`, `hidden_act`, `do_lower_case`, `random`
        (names that start at random), `dropped` (heads' weights not asked for),
        `skipped` (optimizer slots and the like).

    Raises:
        UserError: the files are not a BERT checkpoint, are damaged, or do not fit
            together. Nothing is written then.
    """
    if unknown:
        raise errors.unknown("option of bert's convert", next(iter(unknown)), OPTIONS)
    if head is not None and head not in HEADS:
        raise errors.unknown("BERT head", head, HEADS)
    files.check_apart(source, output_dir)
    with tempfile.TemporaryDirectory() as scratch:
        read = sources.read(source, pathlib.Path(scratch), vocab, config)
        head = head or read.head or _head_of(read.arrays)
        encoder = _encoder_config(read, hidden_act)
        _check_vocab(len(load_vocab(read.vocab)), encoder, read.vocab)
        settings = {
            "model": "bert",
            "head": head,
            "encoder": encoder.to_dict(),
            "head_config": _head_config(read, head, labels),
            "tokenizer": {
                "do_lower_case": _casing(do_lower_case, read),
                "vocab": "vocab.txt",
            },
            "max_seq_length": _length(max_seq_length, encoder),
        }
        model = build_model(settings)
        random, dropped = _assign(model, read)
        model_dir.save(output_dir, settings, model, {"vocab.txt": read.vocab})
    return {
        "format": read.kind,
        "head": head,
        "parameters": int(sum(np.prod(v.shape) for v in model.weights)),
        "hidden_act": encoder.hidden_act,
        "do_lower_case": settings["tokenizer"]["do_lower_case"],
        "random": random,
        "dropped": dropped,
        "skipped": sorted(read.skipped),
    }


def to_original(
    source: files.PathLike, output_dir: files.PathLike, format: str = "safetensors"
) -> dict[str, Any]:
    """Writes a model directory as an original checkpoint, bit for bit.

    Args:
        source: a model directory.
        output_dir: the folder to write.
        format: `"safetensors"` (transformers' layout) or `"tf1"` (google-research/
            bert's: bert_config.json, vocab.txt, bert_model.ckpt).

    Returns:
        `format`, `head` and `tensors`, how many were written.

    Raises:
        UserError: no model directory, a head that has no original format, or the
            folder cannot be written to.
    """
    import tfdl

    if format not in FORMATS:
        raise errors.unknown("format", format, FORMATS)
    files.check_apart(source, output_dir)
    config = model_dir.read_config(source)
    if config["model"] != "bert":
        raise UserError(f"{source} is a {config['model']!r} model, not BERT")
    if config["head"] == "ner_features":
        raise UserError("the feature-based tagger has no original format")
    named = variable_names(tfdl.load(source))
    arrays = {name: variable.numpy() for name, variable in named.items()}
    write = _write_tf1 if format == "tf1" else _write_safetensors
    with files.atomic_directory(output_dir) as scratch:
        shutil.copyfile(model_dir.asset(source, "vocab.txt"), scratch / "vocab.txt")
        write(scratch, arrays, config)
    return {"format": format, "head": config["head"], "tensors": len(arrays)}


def _write_tf1(folder: pathlib.Path, arrays, config) -> None:
    tf1.write(folder / "bert_model.ckpt", arrays)
    encoder = dict(config["encoder"])
    # The original's 1e-12 is in its code. Its "gelu" is the tanh form; activations
    # that it does not have keep our names, which it refuses.
    if encoder["layer_norm_eps"] == 1e-12:
        del encoder["layer_norm_eps"]
    if encoder["hidden_act"] == "gelu_tanh":
        encoder["hidden_act"] = "gelu"
    _write_json(folder / "bert_config.json", encoder)
    files.atomic_write(
        folder / "checkpoint",
        'model_checkpoint_path: "bert_model.ckpt"\n'
        'all_model_checkpoint_paths: "bert_model.ckpt"\n',
    )


def _write_safetensors(folder: pathlib.Path, arrays, config) -> None:
    tensors = huggingface.from_google(arrays, config["head"])
    safetensors.write(folder / "model.safetensors", tensors, {"format": "pt"})
    _write_json(folder / "config.json", huggingface.config(config))
    _write_json(folder / "tokenizer_config.json", huggingface.tokenizer(config))


def _write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    files.atomic_write(path, text + "\n")


# --- what the tensors say ------------------------------------------------------


def _encoder_config(read: sources.Source, hidden_act: str | None) -> BertConfig:
    """Takes sizes from tensors, the rest from the configuration; checks both."""
    arrays, original = read.arrays, read.config
    sizes = _sizes(arrays, read.where)
    for field, size in sizes.items():
        if original.get(field, size) != size:
            raise UserError(
                f"{read.where}: the configuration says {field} {original[field]!r}, "
                f"the weights {size}"
            )
    if "num_attention_heads" not in original:
        raise UserError(f"{read.where}: the configuration lacks num_attention_heads")
    rest = {field: original[field] for field in _FROM_CONFIG if field in original}
    act = hidden_act or original.get("hidden_act", "gelu")
    gelu = {"gelu": "gelu_tanh" if read.kind == "tf1" else "gelu_erf"}
    act = {**_ACTIVATIONS, **gelu}.get(str(act), act)
    try:
        config = BertConfig.from_dict({**rest, **sizes, "hidden_act": act})
    except UserError as error:
        raise UserError(f"{read.where}: {error}") from None
    # Sizes from a few tensors must not ask for a model far larger than the file.
    given = sum(array.size for array in arrays.values())
    if config.num_parameters() > 2 * given:
        raise UserError(
            f"{read.where} has {given:,} weights, its sizes ask for "
            f"{config.num_parameters():,}: most of the model is missing"
        )
    return config


def _sizes(arrays: Mapping[str, np.ndarray], where: str) -> dict[str, int]:
    """Returns the sizes that the weights have."""

    def shape(name: str) -> tuple[int, int]:
        if name not in arrays:
            raise UserError(f"{where} is no BERT checkpoint: it lacks {name!r}")
        if arrays[name].ndim != 2:
            raise UserError(f"{where}: {name!r} has shape {list(arrays[name].shape)}")
        return arrays[name].shape

    layers = {
        int(match.group(1))
        for name in arrays
        if (match := re.match(r"bert/encoder/layer_(\d{1,4})/", name))
    }
    gaps = sorted(set(range(max(layers, default=0) + 1)) - layers)
    if gaps:
        raise UserError(f"{where} lacks encoder layer {gaps[0]}")
    vocabulary, hidden = shape("bert/embeddings/word_embeddings")
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": len(layers),
        "intermediate_size": shape("bert/encoder/layer_0/intermediate/dense/kernel")[1],
        "max_position_embeddings": shape("bert/embeddings/position_embeddings")[0],
        "type_vocab_size": shape("bert/embeddings/token_type_embeddings")[0],
    }


def _head_of(arrays: Mapping[str, np.ndarray]) -> str:
    if "cls/squad/output_weights" in arrays:
        return "squad"
    if "output_weights" in arrays:
        return "regression" if len(arrays["output_weights"]) == 1 else "classification"
    if any(name.startswith("cls/") for name in arrays):
        return "pretraining"
    return "encoder"


def _head_config(
    read: sources.Source, head: str, labels: Sequence[str]
) -> dict[str, Any]:
    if head in ("encoder", "pretraining", "squad", "swag", "regression"):
        if labels:
            raise UserError(f"labels are given, but the head {head!r} has none")
        return {}
    weights = read.arrays.get("output_weights")
    given = read.config.get("id2label")
    if not labels and isinstance(given, dict):
        if set(given) != {str(i) for i in range(len(given))}:
            raise UserError(f"{read.where}: the ids in id2label leave gaps")
        labels = [str(given[str(i)]) for i in range(len(given))]
    count = len(labels) if weights is None else len(weights)
    if not labels:
        labels = [str(i) for i in range(count)]
    if not count:
        raise UserError(f"a head for {head} that is not in the source needs labels")
    if len(labels) != count:
        raise UserError(
            f"{read.where}: {len(labels)} labels are named, the weights have {count}"
        )
    if len(set(labels)) != count:
        raise UserError(f"{read.where}: two labels have the same name")
    return {"labels": list(labels)}


def _length(given: int | None, encoder: BertConfig) -> int:
    longest = encoder.max_position_embeddings
    if given is None:
        return min(512, longest)
    if not isinstance(given, int) or not 3 <= given <= longest:
        raise UserError(f"max_seq_length {given!r} is not between 3 and {longest}")
    return given


def _check_vocab(tokens: int, encoder: BertConfig, path: pathlib.Path) -> None:
    rows = encoder.vocab_size
    if tokens > rows or rows - tokens >= MAX_PADDING_ROWS:
        raise UserError(
            f"{path} has {tokens:,} tokens, the word embedding {rows:,} rows: they do "
            "not belong together"
        )
    if tokens < rows:
        logging.warning(
            "the word embedding has %d rows more than the vocabulary has tokens; "
            "they are kept as padding of the table",
            rows - tokens,
        )


def _casing(given: bool | None, read: sources.Source) -> bool:
    """Decides the casing; a name that says otherwise is worth a warning."""
    if not isinstance(given, bool | None):
        raise UserError(f"do_lower_case is {given!r}, not true or false")
    named = [case for name in read.names if (case := infer_casing(name)) is not None]
    stated = [("the tokenizer's files say", read.do_lower_case)]
    stated += [(f"the name {'/'.join(read.names)!r} says", case) for case in named[:1]]
    stated = [(who, case) for who, case in stated if case is not None]
    choice = given if given is not None else next((c for _, c in stated), None)
    for who, case in stated:
        if choice != case:
            logging.warning("do_lower_case=%s is used, but %s %s", choice, who, case)
    if choice is None:
        logging.warning(
            "nothing says whether %s is cased; do_lower_case=true is assumed (set the "
            "option do_lower_case otherwise)",
            read.where,
        )
        return True
    return choice


def _assign(model, read: sources.Source) -> tuple[list[str], list[str]]:
    """Puts the weights in place; returns (names at random, heads left out)."""
    variables = variable_names(model)
    heads = [name for name in variables if not name.startswith("bert/")]
    dropped = [
        name
        for name in read.arrays
        if name not in variables and _HEAD_WEIGHTS.fullmatch(name)
    ]
    given = {name: read.arrays[name] for name in read.arrays if name not in dropped}
    # Models that do not use the pooler (language-model head alone, spans, tokens)
    # come without it from transformers. A head is there whole or not at all.
    optional = list(_POOLER) if not any(name in given for name in _POOLER) else []
    for scope in ("cls/predictions/", "cls/seq_relationship/", "cls/squad/", ""):
        names = [name for name in heads if name.startswith(scope)]
        heads = [name for name in heads if name not in names]
        if not any(name in given for name in names):
            optional += names
    random = mapping.assign(variables, given, read.where, optional)
    if random:
        logging.warning(
            "%s holds no weights for %s: they start at random",
            read.where,
            ", ".join(random),
        )
    return random, sorted(dropped)
