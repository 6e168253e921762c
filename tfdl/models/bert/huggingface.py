"""The names and the configuration that transformers gives BERT's weights."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdl.checkpoints import mapping
from tfdl.engine.errors import UserError

# Their module <-> the original's scope; `{i}` is the layer.
_LAYER = {
    "attention.self.query": "attention/self/query",
    "attention.self.key": "attention/self/key",
    "attention.self.value": "attention/self/value",
    "attention.output.dense": "attention/output/dense",
    "attention.output.LayerNorm": "attention/output/LayerNorm",
    "intermediate.dense": "intermediate/dense",
    "output.dense": "output/dense",
    "output.LayerNorm": "output/LayerNorm",
}
_MODULES = {
    "bert.embeddings.LayerNorm": "bert/embeddings/LayerNorm",
    "bert.pooler.dense": "bert/pooler/dense",
    "cls.predictions.transform.dense": "cls/predictions/transform/dense",
    "cls.predictions.transform.LayerNorm": "cls/predictions/transform/LayerNorm",
}
_TABLES = {
    f"bert.embeddings.{name}.weight": f"bert/embeddings/{name}"
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings")
}
_HEADS = {
    "cls.predictions.bias": "cls/predictions/output_bias",
    "cls.seq_relationship.weight": "cls/seq_relationship/output_weights",
    "cls.seq_relationship.bias": "cls/seq_relationship/output_bias",
    "classifier.weight": "output_weights",
    "classifier.bias": "output_bias",
    "qa_outputs.weight": "cls/squad/output_weights",
    "qa_outputs.bias": "cls/squad/output_bias",
}
# Copies that some files hold.
_TIED = {
    "cls.predictions.decoder.weight": "bert/embeddings/word_embeddings",
    "cls.predictions.decoder.bias": "cls/predictions/output_bias",
}
_IGNORED = re.compile(r"(^|\.)embeddings\.(position_ids|token_type_ids)$")

_ARCHITECTURES = {
    "pretraining": "BertForPreTraining",
    "encoder": "BertModel",
    "classification": "BertForSequenceClassification",
    "regression": "BertForSequenceClassification",
    "multilabel": "BertForSequenceClassification",
    "squad": "BertForQuestionAnswering",
    "swag": "BertForMultipleChoice",
    "ner": "BertForTokenClassification",
}
_ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu_erf": "gelu", "swish": "silu"}


def to_google(
    tensors: Mapping[str, np.ndarray], source: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Renames and transposes weights to the original's names and shapes.

    Returns:
        The arrays, and the names that hold no weights of their own.

    Raises:
        UserError: a name is not BERT's, or the decoder differs from the embedding
            it has to be tied to.
    """
    bare = not any(name.startswith("bert.") for name in tensors)
    arrays: dict[str, np.ndarray] = {}
    skipped, unknown = [], []
    tied: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        full = name
        if bare and name.split(".")[0] in ("embeddings", "encoder", "pooler"):
            full = f"bert.{name}"
        full = full.replace("LayerNorm.gamma", "LayerNorm.weight")
        full = full.replace("LayerNorm.beta", "LayerNorm.bias")
        if _IGNORED.search(full):
            skipped.append(name)
        elif full in _TIED:
            tied[full] = value
            skipped.append(name)
        else:
            target = _TABLES.get(full) or _HEADS.get(full) or _module(full)
            if target is None or target in arrays:
                unknown.append(name)
            else:
                kernel = target.endswith("/kernel")
                arrays[target] = value.T if kernel else value
    if unknown:
        raise UserError(
            f"{source} does not fit BERT: {mapping.listing('unexpected', unknown)}"
        )
    for name, target in _TIED.items():
        if name not in tied:
            continue
        if target.endswith("output_bias"):
            arrays.setdefault(target, tied[name])
        if not np.array_equal(tied[name], arrays.get(target, ())):
            raise UserError(
                f"{source}: {name} differs from {target}, which it must equal"
            )
    return arrays, skipped


def from_google(arrays: Mapping[str, np.ndarray], head: str) -> dict[str, np.ndarray]:
    """Renames and transposes back; encoder-only models have no `bert.` prefix."""
    plain = {ours: theirs for theirs, ours in (_TABLES | _HEADS).items()}
    modules = {ours: theirs for theirs, ours in _MODULES.items()}
    layers = {ours: theirs for theirs, ours in _LAYER.items()}
    result = {}
    for name, value in arrays.items():
        if name in plain:
            target = plain[name]
        else:
            scope, _, leaf = name.rpartition("/")
            match = re.match(r"bert/encoder/layer_(\d+)/(.*)", scope)
            if match:
                module = f"bert.encoder.layer.{match.group(1)}.{layers[match.group(2)]}"
            else:
                module = modules[scope]
            leaf = {"kernel": "weight", "gamma": "weight"}.get(leaf, "bias")
            target = f"{module}.{leaf}"
        if head == "encoder":
            target = target.removeprefix("bert.")
        result[target] = value.T if name.endswith("/kernel") else value
    return result


def head(config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str | None:
    """Returns the head that a configuration names, None to look at the weights.

    Args:
        config: config.json.
        arrays: the weights by the original's names.

    Raises:
        UserError: the architecture is not one of BERT's.
    """
    names = config.get("architectures") or [""]
    architecture = str(names[0]) if isinstance(names, list) else ""
    if architecture and not architecture.startswith("Bert"):
        raise UserError(f"architecture {architecture!r} is not one of BERT's")
    if architecture.endswith("ForTokenClassification"):
        return "ner"
    if architecture.endswith("ForMultipleChoice"):
        return "swag"
    if "output_weights" not in arrays:
        return None
    if not architecture and "bert/pooler/dense/kernel" not in arrays:
        return "ner"
    problem = config.get("problem_type")
    if problem == "multi_label_classification":
        return "multilabel"
    one = len(arrays["output_weights"]) == 1
    return "regression" if one or problem == "regression" else "classification"


def config(ours: Mapping[str, Any]) -> dict[str, Any]:
    """Returns transformers' config.json of a model directory's configuration."""
    encoder = dict(ours["encoder"])
    act = encoder["hidden_act"]
    encoder["hidden_act"] = _ACTIVATIONS.get(act, act)
    result = {
        "architectures": [_ARCHITECTURES[ours["head"]]],
        "model_type": "bert",
        "pad_token_id": 0,
        **encoder,
    }
    options = ours.get("head_config") or {}
    count = options.get("num_labels") or 0
    labels = options.get("labels") or [f"LABEL_{i}" for i in range(count)]
    if ours["head"] == "regression":
        labels = ["LABEL_0"]
        result["problem_type"] = "regression"
    if ours["head"] == "multilabel":
        result["problem_type"] = "multi_label_classification"
    if labels:
        result["id2label"] = {str(i): label for i, label in enumerate(labels)}
        result["label2id"] = {label: i for i, label in enumerate(labels)}
    return result


def tokenizer(ours: Mapping[str, Any]) -> dict[str, Any]:
    """Returns transformers' tokenizer_config.json for a configuration."""
    return {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": ours["tokenizer"]["do_lower_case"],
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "model_max_length": ours["encoder"]["max_position_embeddings"],
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
    }


def _module(name: str) -> str | None:
    module, _, leaf = name.rpartition(".")
    match = re.fullmatch(r"bert\.encoder\.layer\.(\d{1,4})\.(.*)", module)
    if match and match.group(2) in _LAYER:
        scope = f"bert/encoder/layer_{int(match.group(1))}/{_LAYER[match.group(2)]}"
    elif module in _MODULES:
        scope = _MODULES[module]
    else:
        return None
    if scope.endswith("LayerNorm"):
        return f"{scope}/{ {'weight': 'gamma', 'bias': 'beta'}.get(leaf, leaf) }"
    return f"{scope}/{ {'weight': 'kernel', 'bias': 'bias'}.get(leaf, leaf) }"
