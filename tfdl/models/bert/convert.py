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
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from tfdl.checkpoints import mapping, safetensors, tf1, torch_archive
from tfdl.engine import errors, files, model_dir
from tfdl.engine.errors import UserError
from tfdl.models.bert import huggingface
from tfdl.models.bert.config import BertConfig
from tfdl.models.bert.heads import HEADS
from tfdl.models.bert.model import build_model
from tfdl.models.bert.names import variable_names
from tfdl.text.vocab import infer_casing, load_vocab

MAX_ARCHIVE_BYTES = 16 << 30
# What training leaves in a checkpoint besides the weights.
_NOT_WEIGHTS = re.compile(
    r"(^|/)(adam_[mv]|lamb_[mv]|Adam(_1)?|global_step|_CHECKPOINTABLE_OBJECT_GRAPH"
    r"|save_counter(/.*)?|good_steps|loss_scale)$"
)


def convert(
    source: files.PathLike,
    output_dir: files.PathLike,
    *,
    hidden_act: str | None = None,
    do_lower_case: bool | None = None,
    head: str | None = None,
    labels: Sequence[str] = (),
    max_seq_length: int | None = None,
    **unknown: Any,
) -> dict[str, Any]:
    """Converts a checkpoint into a model directory.

    Args:
        source: a folder, a .zip of one, or a file in one.
        output_dir: the model directory to write.
        hidden_act: overrides the activation. "gelu" is read as the tanh form from
            TF1 checkpoints and as the erf form from transformers'.
        do_lower_case: overrides the casing, which is otherwise taken from
            tokenizer_config.json or the folder's name.
        head: overrides the head that the weights show; a head whose weights are
            not there starts at random.
        labels: names of a classifier's labels.
        max_seq_length: the length inputs are cut to; by default 512, or the
            position table's.

    Returns:
        `format`, `head`, `parameters`, `random` (names that start at random),
        `skipped` (optimizer slots and the like).

    Raises:
        UserError: the files are not a BERT checkpoint, are damaged, or do not fit
            together. Nothing is written then.
    """
    if unknown:
        raise errors.unknown(
            "option of bert's convert",
            next(iter(unknown)),
            ("hidden_act", "do_lower_case", "head", "labels", "max_seq_length"),
        )
    source = pathlib.Path(source)
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    with tempfile.TemporaryDirectory() as scratch:
        folder = source
        if source.is_file() and zipfile.is_zipfile(source) and source.suffix == ".zip":
            folder = _unzip(source, pathlib.Path(scratch))
        arrays, original, kind, skipped = _read(folder)
        base = folder if folder.is_dir() else folder.parent
        head = head or original.get("head") or _head_of(arrays)
        if head not in HEADS:
            raise errors.unknown("BERT head", head, HEADS)
        vocab_path = _find_vocab(base, pathlib.Path(scratch))
        encoder = _encoder_config(arrays, original, kind, hidden_act)
        vocab = load_vocab(vocab_path)
        _check_vocab(vocab, encoder, vocab_path)
        config = {
            "model": "bert",
            "head": head,
            "encoder": encoder.to_dict(),
            "head_config": _head_config(arrays, head, labels, original),
            "tokenizer": {
                "do_lower_case": _casing(do_lower_case, original, base, source),
                "vocab": "vocab.txt",
            },
            "max_seq_length": max_seq_length
            or min(512, encoder.max_position_embeddings),
        }
        model = build_model(config)
        fresh, unused = _assign(model, arrays, head, str(source))
        text = "\n".join(vocab) + "\n"
        model_dir.save(output_dir, config, model, {"vocab.txt": text})
    return {
        "format": kind,
        "head": head,
        "parameters": int(sum(np.prod(v.shape) for v in model.weights)),
        "random": fresh,
        "skipped": sorted([*skipped, *unused]),
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
    """
    import tfdl

    config = model_dir.read_config(source)
    named = variable_names(tfdl.load(source))
    arrays = {name: variable.numpy() for name, variable in named.items()}
    if config["head"] == "ner_features":
        raise UserError("the feature-based tagger has no original format")
    if format not in ("safetensors", "tf1"):
        raise errors.unknown("format", format, ("safetensors", "tf1"))
    with files.atomic_directory(output_dir) as scratch:
        shutil.copyfile(model_dir.asset(source, "vocab.txt"), scratch / "vocab.txt")
        if format == "tf1":
            tf1.write(scratch / "bert_model.ckpt", arrays)
            text = json.dumps(_google_config(config["encoder"]), indent=2)
            (scratch / "bert_config.json").write_text(text + "\n")
            name = 'model_checkpoint_path: "bert_model.ckpt"\n'
            (scratch / "checkpoint").write_text(name)
        else:
            safetensors.write(
                scratch / "model.safetensors",
                huggingface.from_google(arrays, config["head"]),
                {"format": "pt"},
            )
            text = json.dumps(huggingface.config(config), indent=2)
            (scratch / "config.json").write_text(text + "\n")
            lower = {"do_lower_case": config["tokenizer"]["do_lower_case"]}
            (scratch / "tokenizer_config.json").write_text(json.dumps(lower) + "\n")
    return {"format": format, "head": config["head"], "tensors": len(arrays)}


# --- reading -------------------------------------------------------------------


def _read(path: pathlib.Path):
    """Returns (arrays by TF1 name, configuration, format, skipped names)."""
    folder = path if path.is_dir() else path.parent
    weights = _weights_file(path)
    if weights is None:
        return _read_tf1(path, folder)
    if weights.name.endswith((".safetensors", ".json")):
        tensors, kind = safetensors.read(weights), "safetensors"
    else:
        tensors, kind = torch_archive.read(weights), "torch"
        if isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
            tensors = tensors["state_dict"]
    if not isinstance(tensors, dict) or not all(
        isinstance(value, np.ndarray) for value in tensors.values()
    ):
        raise UserError(f"{weights} holds no plain dictionary of weights")
    original = _json(folder / "config.json")
    tokenizer = folder / "tokenizer_config.json"
    if tokenizer.is_file():
        original["do_lower_case"] = _json(tokenizer).get("do_lower_case")
    head = huggingface.head(original, tensors)
    arrays, skipped = huggingface.to_google(tensors, str(weights))
    return arrays, {**original, "head": head}, kind, skipped


def _weights_file(path: pathlib.Path) -> pathlib.Path | None:
    if path.is_file() and path.suffix in (".safetensors", ".bin", ".pt", ".pth"):
        return path
    if path.is_dir():
        for name in (
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
        ):
            if (path / name).is_file():
                return path / name
        rest = sorted([*path.glob("*.safetensors"), *path.glob("*.bin")])
        if len(rest) == 1:
            return rest[0]
    return None


def _read_tf1(path: pathlib.Path, folder: pathlib.Path):
    try:
        tensors = tf1.read(path)
    except UserError as error:
        if "no .index" not in str(error):
            raise
        raise UserError(
            f"{path} holds no BERT checkpoint: neither *.ckpt.index (TF1) nor "
            "model.safetensors nor pytorch_model.bin"
        ) from None
    arrays = {k: v for k, v in tensors.items() if not _NOT_WEIGHTS.search(k)}
    skipped = [name for name in tensors if name not in arrays]
    return arrays, _json(folder / "bert_config.json"), "tf1", skipped


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        value = json.loads(files.read_text(path, 16 << 20))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: {error.msg}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: a JSON object is needed")
    return value


def _unzip(path: pathlib.Path, scratch: pathlib.Path) -> pathlib.Path:
    """Unpacks an archive; returns the folder with the checkpoint."""
    target = scratch / "archive"
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > MAX_ARCHIVE_BYTES:
                raise UserError(f"{path} unpacks to over {MAX_ARCHIVE_BYTES:,} bytes")
            for info in infos:
                parts = pathlib.PurePosixPath(info.filename.replace("\\", "/")).parts
                if ".." in parts or parts[:1] == ("/",) or ":" in info.filename:
                    raise UserError(
                        f"{path}: member {info.filename!r} leaves the folder"
                    )
                if info.file_size > 2000 * max(info.compress_size, 1):
                    raise UserError(f"{path}: member {info.filename!r} is a zip bomb")
            archive.extractall(target)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    for config in sorted(target.rglob("*config.json")):
        if config.name in ("bert_config.json", "config.json"):
            return config.parent
    raise UserError(f"{path} holds no bert_config.json or config.json")


def _find_vocab(folder: pathlib.Path, scratch: pathlib.Path) -> pathlib.Path:
    """Returns vocab.txt, or one made from tokenizer.json."""
    path = folder / "vocab.txt"
    tokenizer = folder / "tokenizer.json"
    if path.is_file() or not tokenizer.is_file():
        return path
    try:
        ids = _json(tokenizer)["model"]["vocab"]
        tokens = sorted(ids, key=ids.__getitem__)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{tokenizer} holds no WordPiece vocabulary") from None
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise UserError(f"{tokenizer}: the ids of its vocabulary leave gaps")
    made = scratch / "vocab.txt"
    made.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return made


# --- what the tensors say ------------------------------------------------------


def _encoder_config(arrays, original, kind, hidden_act) -> BertConfig:
    """Takes sizes from tensors, the rest from the configuration; checks both."""
    try:
        word = arrays["bert/embeddings/word_embeddings"]
        position = arrays["bert/embeddings/position_embeddings"]
        segment = arrays["bert/embeddings/token_type_embeddings"]
        inner = arrays["bert/encoder/layer_0/intermediate/dense/kernel"]
    except KeyError as error:
        raise UserError(f"no BERT checkpoint: it lacks {error}") from None
    layers = {
        int(match.group(1))
        for name in arrays
        if (match := re.match(r"bert/encoder/layer_(\d+)/", name))
    }
    sizes = {
        "vocab_size": word.shape[0],
        "hidden_size": word.shape[1],
        "num_hidden_layers": max(layers) + 1,
        "intermediate_size": inner.shape[1],
        "max_position_embeddings": position.shape[0],
        "type_vocab_size": segment.shape[0],
    }
    for field, size in sizes.items():
        if original.get(field, size) != size:
            raise UserError(
                f"the configuration says {field} {original[field]}, the weights {size}"
            )
    if "num_attention_heads" not in original:
        raise UserError("the configuration lacks num_attention_heads")
    act = hidden_act or str(original.get("hidden_act", "gelu"))
    tanh = "gelu_tanh" if kind == "tf1" else "gelu_erf"
    named = {
        "gelu": tanh,
        "gelu_new": "gelu_tanh",
        "gelu_pytorch_tanh": "gelu_tanh",
        "gelu_python": "gelu_erf",
        "silu": "swish",
    }
    rest = {
        key: value
        for key, value in original.items()
        if key in ("hidden_dropout_prob", "attention_probs_dropout_prob")
        or key in ("initializer_range", "layer_norm_eps", "num_attention_heads")
    }
    return BertConfig.from_dict({**rest, **sizes, "hidden_act": named.get(act, act)})


def _head_of(arrays: Mapping[str, np.ndarray]) -> str:
    if "cls/squad/output_weights" in arrays:
        return "squad"
    if "output_weights" in arrays:
        if "output_bias" not in arrays:
            return "swag"
        return "regression" if len(arrays["output_weights"]) == 1 else "classification"
    if any(name.startswith("cls/") for name in arrays):
        return "pretraining"
    return "encoder"


def _head_config(arrays, head, labels, original) -> dict[str, Any]:
    if head in ("encoder", "pretraining", "squad", "swag", "regression"):
        return {}
    weights = arrays.get("output_weights")
    count = len(labels) if weights is None else len(weights)
    given = original.get("id2label")
    if not labels and isinstance(given, dict) and len(given) == count:
        try:
            labels = [str(given[str(i)]) for i in range(count)]
        except KeyError:
            labels = ()
    if not labels:
        labels = [str(i) for i in range(count)]
    if len(labels) != count or not count:
        raise UserError(f"{len(labels)} labels are named, the weights have {count}")
    return {"labels": list(labels)}


def _check_vocab(vocab, encoder: BertConfig, path) -> None:
    if len(vocab) > encoder.vocab_size:
        raise UserError(
            f"{path} has {len(vocab)} tokens, the word embedding only "
            f"{encoder.vocab_size} rows: they do not belong together"
        )
    if encoder.vocab_size - len(vocab) >= 128:
        raise UserError(
            f"{path} has {len(vocab)} tokens, the word embedding "
            f"{encoder.vocab_size} rows: they do not belong together"
        )
    if len(vocab) < encoder.vocab_size:
        logging.warning(
            "the word embedding has %d rows more than the vocabulary has tokens "
            "(padding of the table)",
            encoder.vocab_size - len(vocab),
        )


def _casing(given, original, folder: pathlib.Path, source: pathlib.Path) -> bool:
    """Decides the casing; a name that says otherwise is worth a warning."""
    stated = original.get("do_lower_case")
    named = infer_casing(source.resolve().name)
    if named is None:
        named = infer_casing(folder.resolve().name)
    for choice in (given, stated, named):
        if isinstance(choice, bool):
            if named is not None and choice != named:
                logging.warning(
                    "do_lower_case=%s, but the name %r says %s",
                    choice,
                    source.name,
                    named,
                )
            return choice
    logging.warning(
        "nothing says whether %s is cased; do_lower_case=True is assumed "
        "(--do_lower_case=false otherwise)",
        source,
    )
    return True


def _assign(model, arrays, head: str, source: str) -> tuple[list[str], list[str]]:
    """Puts the weights in place; returns (names at random, heads left out)."""
    variables = variable_names(model)
    heads = [name for name in variables if not name.startswith("bert/")]
    unused = [
        name
        for name in arrays
        if name not in variables and not name.startswith("bert/")
    ]
    # A model with a language-model head alone was pretrained without next sentence;
    # transformers then leaves out the pooler as well.
    optional = [*heads, "bert/pooler/dense/kernel", "bert/pooler/dense/bias"]
    given = {name: array for name, array in arrays.items() if name not in unused}
    if head == "swag" and "output_weights" in given and "output_bias" not in given:
        given["output_bias"] = np.zeros(1, np.float32)
    fresh = mapping.assign(variables, given, source, may_lack=optional)
    return fresh, unused


def _google_config(encoder: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(encoder)
    eps = result.pop("layer_norm_eps")
    if eps != 1e-12:
        result["layer_norm_eps"] = eps
    act = result["hidden_act"]
    if act == "gelu_tanh":
        result["hidden_act"] = "gelu"
    return result
