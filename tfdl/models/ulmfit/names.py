"""The tensors' names in fastai's three generations, and ours.

Torch keeps matrices as [out, in]; ours are transposed. Stored twice or more: the
embedding (once more inside its dropout, and as the decoder), and in fastai 1 a copy of
the recurrent matrix with its last dropout in it, which no one reads.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdl.checkpoints import mapping, sniff
from tfdl.engine.errors import UserError

GENERATIONS = ("v0.7", "v1", "v2")
_ENCODER = re.compile(r"(?:(?:module\.)?0\.)?(?:module\.)?(?P<rest>(?:encoder|rnns).*)")
_EMBEDDING = "encoder.weight"
_EMBEDDING_AGAIN = ("encoder_with_dropout.embed.weight", "encoder_dp.emb.weight")
_RNN = re.compile(
    r"rnns\.(?P<layer>\d+)\.(?P<module>module\.)?"
    r"(?P<what>weight_ih|weight_hh|bias_ih|bias_hh)_l0(?P<raw>_raw)?"
)
_DECODER = re.compile(r"(?:1\.)?decoder\.(?P<what>weight|bias)")
_HEAD = re.compile(r"(?:1\.)?layers\.(?P<place>[\w.]*?)\.?(?P<what>[a-z_]+)")
_STATISTICS = "running_mean", "running_var"
_WHAT = {
    "weight_ih": "kernel",
    "weight_hh": "recurrent",
    "bias_ih": "bias_ih",
    "bias_hh": "bias_hh",
}


class Read:
    """Weights by our names, and what their old names tell.

    Args:
        arrays: tensors by the original's names.
        where: the file, for messages.

    Attributes:
        arrays: by our names, matrices transposed.
        head: "language_model", "classifier" or "encoder".
        generation: "v0.7", "v1" or "v2".
        tracked: how many batches each normalisation has seen; None where unsaid.

    Raises:
        UserError: they are not the weights of an AWD-LSTM.
    """

    def __init__(self, arrays: Mapping[str, Any], where: str):
        self.where = where
        self.arrays: dict[str, np.ndarray] = {}
        self.tracked: list[int] | None = None
        self._old = self._stale = False
        self._plain: dict[str, np.ndarray] = {}
        copies: dict[str, np.ndarray] = {}
        head: dict[str, np.ndarray] = {}
        unknown = []
        for name, array in arrays.items():
            if not isinstance(name, str) or not isinstance(array, np.ndarray):
                raise UserError(f"{where}: {sniff.shown(name)} is no tensor")
            if not self._take(name, array, copies, head):
                unknown.append(name)
        if any("layers.0.linear" in name for name in unknown):
            raise UserError(f"{where} is a QRNN, which is not supported: LSTMs are")
        if unknown or "encoder.embedding" not in self.arrays:
            told = mapping.listing("unknown", unknown) or "no encoder.weight"
            raise UserError(f"{where} holds no AWD-LSTM's weights: {told}")
        # The matrix itself where there is no weight drop; beside a raw one, stale.
        self._stale = any(name in self.arrays for name in self._plain)
        self.arrays = {**self._plain, **self.arrays}
        self._check_copies(copies)
        style = self._take_head(head)
        self.head = "encoder"
        if head:
            self.head = "classifier"
        elif "1.decoder" in copies:
            self.head = "language_model"
        newer = "v1" if self._stale else "v2"
        self.generation = "v0.7" if self._old else style or newer

    def _take(self, name: str, array: np.ndarray, copies, head) -> bool:
        decoder = _DECODER.fullmatch(name)
        if decoder:
            if decoder["what"] == "bias":
                self.arrays["decoder_bias"] = array
            else:
                copies["1.decoder"] = array
            return True
        if _HEAD.fullmatch(name):
            head[name] = array
            return True
        encoder = _ENCODER.fullmatch(name)
        rest = encoder["rest"] if encoder else ""
        if rest == _EMBEDDING:
            self.arrays["encoder.embedding"] = array
        elif rest in _EMBEDDING_AGAIN:
            self._old |= rest == _EMBEDDING_AGAIN[0]
            copies[name] = array
        elif found := _RNN.fullmatch(rest):
            self._take_rnn(name, found, array)
        else:
            return False
        return True

    def _take_rnn(self, name: str, found: re.Match, array: np.ndarray) -> None:
        ours = f"encoder.rnns.{int(found['layer'])}.{_WHAT[found['what']]}"
        array = array.T if array.ndim == 2 else array
        if found["what"] == "weight_hh" and not found["raw"]:
            self._plain[ours] = array
            return
        self._old |= bool(found["raw"] and found["module"])
        self.arrays[ours] = array

    def _check_copies(self, copies: Mapping[str, np.ndarray]) -> None:
        embedding = self.arrays["encoder.embedding"]
        for name, array in copies.items():
            if array.shape != embedding.shape or not np.array_equal(
                array, embedding, equal_nan=array.dtype.kind == "f"
            ):
                raise UserError(
                    f"{self.where}: {name}.weight differs from the embedding; only "
                    "tied weights are supported"
                )

    def _take_head(self, head: Mapping[str, np.ndarray]) -> str | None:
        """Finds normalisations and linear layers by what they hold, in order."""
        layers: dict[tuple, dict[str, np.ndarray]] = {}
        style = None
        for name, array in head.items():
            found = _HEAD.fullmatch(name)
            place = found["place"]
            layers.setdefault(_order(place), {})[found["what"]] = array
            if "bn" in place or "lin" in place:
                style = "v0.7"
            elif style is None or "." in place:
                style = "v2" if "." in place else "v1"
        tracked = []
        blocks = 0
        norm = None
        for place in sorted(layers):
            found = layers[place]
            if _STATISTICS[0] in found:
                norm = found
                continue
            if norm is None or "weight" not in found:
                raise UserError(
                    f"{self.where}: the classifier is not normalisation and linear "
                    "layer in turn"
                )
            if "num_batches_tracked" in norm:
                tracked.append(int(norm["num_batches_tracked"]))
            self._add_block(blocks, norm, found)
            blocks, norm = blocks + 1, None
        if norm is not None:
            raise UserError(f"{self.where}: the classifier ends with a normalisation")
        self.tracked = tracked if tracked and len(tracked) == blocks else None
        return style

    def _add_block(self, i: int, norm, linear) -> None:
        names = {
            "weight": "gamma",
            "bias": "beta",
            "running_mean": "moving_mean",
            "running_var": "moving_variance",
        }
        for theirs, ours in names.items():
            if theirs not in norm:
                raise UserError(f"{self.where}: a normalisation without {theirs}")
            self.arrays[f"head.norms.{i}.{ours}"] = norm[theirs]
        self.arrays[f"head.linears.{i}.kernel"] = linear["weight"].T
        if "bias" in linear:
            self.arrays[f"head.linears.{i}.bias"] = linear["bias"]


def _order(place: str) -> tuple:
    """Sorts 0, 2, 10 as numbers, and a block's bn (which comes first) before lin."""
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in place.split(".")
    )


def variable_names(model) -> dict[str, Any]:
    """Returns a built model's variables by our names."""
    named = {"encoder.embedding": model.encoder.embedding}
    for i, rnn in enumerate(model.encoder.rnns):
        for what in ("kernel", "recurrent", "bias_ih", "bias_hh"):
            named[f"encoder.rnns.{i}.{what}"] = getattr(rnn, what)
    if getattr(model, "decoder_bias", None) is not None:
        named["decoder_bias"] = model.decoder_bias
    head = getattr(model, "head", None)
    for i in range(len(head.norms) if head is not None else 0):
        for what in ("gamma", "beta", "moving_mean", "moving_variance"):
            named[f"head.norms.{i}.{what}"] = getattr(head.norms[i], what)
        named[f"head.linears.{i}.kernel"] = head.linears[i].kernel
        if head.linears[i].bias is not None:
            named[f"head.linears.{i}.bias"] = head.linears[i].bias
    return named


def to_original(
    arrays: Mapping[str, np.ndarray],
    head: str,
    generation: str,
    dropouts: tuple[float, ...] = (),
    tracked: list[int] | None = None,
) -> dict[str, np.ndarray]:
    """Returns tensors under a generation's names, copies included.

    Args:
        arrays: by our names.
        head: "language_model" or "classifier".
        generation: whose names.
        dropouts: the head's rates: a layer with rate 0 takes no number in v1 and v2.
        tracked: batches that each normalisation has seen, 0 by default.

    Raises:
        UserError: the generation has no place for a weight that is there.
    """
    old = generation == "v0.7"
    prefix = "0.module." if head == "classifier" and not old else "0."
    again = _EMBEDDING_AGAIN[0 if old else 1]
    embedding = arrays["encoder.embedding"]
    found = {prefix + _EMBEDDING: embedding, prefix + again: embedding}
    layers = sum(name.endswith(".recurrent") for name in arrays)
    for i in range(layers):
        ours, theirs = f"encoder.rnns.{i}.", f"{prefix}rnns.{i}."
        recurrent = arrays[ours + "recurrent"].T
        raw = f"{theirs}{'module.' if old else ''}weight_hh_l0_raw"
        found[raw] = recurrent
        found[f"{theirs}module.weight_ih_l0"] = arrays[ours + "kernel"].T
        if generation == "v1":
            found[f"{theirs}module.weight_hh_l0"] = recurrent
        for bias in ("bias_ih", "bias_hh"):
            found[f"{theirs}module.{bias}_l0"] = arrays[ours + bias]
    if head == "language_model":
        found["1.decoder.weight"] = embedding
        found |= _decoder_bias(arrays, generation)
    else:
        found |= _head(arrays, generation, dropouts, tracked)
    return found


def _decoder_bias(arrays, generation: str) -> dict[str, np.ndarray]:
    bias = arrays.get("decoder_bias")
    if generation == "v0.7":
        if bias is not None and np.any(bias):
            raise UserError("v0.7's decoder has no bias, this one has: v1 and v2 do")
        return {}
    if bias is None:
        bias = np.zeros(len(arrays["encoder.embedding"]), np.float32)
    return {"1.decoder.bias": bias}


def _head(arrays, generation: str, dropouts, tracked) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    blocks = sum(name.endswith(".gamma") for name in arrays)
    place = 0
    for i in range(blocks):
        norm, linear = f"head.norms.{i}.", f"head.linears.{i}."
        drops = not dropouts or dropouts[i] > 0
        if generation == "v0.7":
            bn, lin = f"1.layers.{i}.bn.", f"1.layers.{i}.lin."
        elif generation == "v1":
            bn, lin = f"1.layers.{place}.", f"1.layers.{place + 1 + drops}."
            # Normalisation, dropout where there is one, linear, and a ReLU between.
            place += 3 + drops
        else:
            bn, lin = f"1.layers.{i}.0.", f"1.layers.{i}.{1 + drops}."
        for theirs, ours in (
            ("weight", "gamma"),
            ("bias", "beta"),
            ("running_mean", "moving_mean"),
            ("running_var", "moving_variance"),
        ):
            found[bn + theirs] = arrays[norm + ours]
        count = tracked[i] if tracked else 0
        found[bn + "num_batches_tracked"] = np.array(count, np.int64)
        kernel, bias = arrays[linear + "kernel"].T, arrays.get(linear + "bias")
        found[lin + "weight"] = kernel
        if generation == "v2":
            if bias is not None and np.any(bias):
                raise UserError(
                    "v2's classifier has no biases in its linear layers, this one "
                    "has: v0.7 and v1 do"
                )
        else:
            none = np.zeros(len(kernel), np.float32)
            found[lin + "bias"] = none if bias is None else bias
    return found
