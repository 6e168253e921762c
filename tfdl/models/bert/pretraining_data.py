"""Pretraining instances (google-research/bert, create_pretraining_data.py).

The calls to the random generator come in the original's order, so that a seed
gives the original's instances.
"""

import dataclasses
import random
from collections.abc import Iterable, Sequence

import numpy as np

from tfdl.text.vocab import CLS, MASK, SEP
from tfdl.text.wordpiece import BertTokenizer


@dataclasses.dataclass(frozen=True)
class Settings:
    """How instances are made; names and defaults are the original's flags."""

    max_seq_length: int = 128
    max_predictions_per_seq: int = 20
    random_seed: int = 12345
    dupe_factor: int = 10
    masked_lm_prob: float = 0.15
    short_seq_prob: float = 0.1
    do_whole_word_mask: bool = False


@dataclasses.dataclass
class Instance:
    """One training instance: [CLS] A [SEP] B [SEP] with some tokens masked."""

    tokens: list[str]
    segment_ids: list[int]
    is_random_next: bool
    masked_lm_positions: list[int]
    masked_lm_labels: list[str]


def read_documents(
    lines: Iterable[str], tokenizer: BertTokenizer
) -> list[list[list[str]]]:
    """Returns documents as lists of tokenized sentences.

    Args:
        lines: one sentence per line; an empty line ends a document.
        tokenizer: makes tokens of sentences.
    """
    documents: list[list[list[str]]] = [[]]
    for line in lines:
        line = line.strip()
        if not line:
            documents.append([])
            continue
        tokens = tokenizer.tokenize(line)
        if tokens:
            documents[-1].append(tokens)
    return [document for document in documents if document]


def create_instances(
    documents: Sequence[list[list[str]]],
    vocab: Sequence[str],
    settings: Settings,
    rng: random.Random | None = None,
) -> list[Instance]:
    """Makes instances from tokenized documents, shuffled.

    Args:
        documents: what `read_documents` returns.
        vocab: the tokens random replacements are drawn from, in id order.
        settings: lengths, probabilities and repetitions.
        rng: the generator; by default one seeded by the settings.
    """
    rng = rng or random.Random(settings.random_seed)
    documents = list(documents)
    rng.shuffle(documents)
    instances: list[Instance] = []
    for _ in range(settings.dupe_factor):
        for index in range(len(documents)):
            instances.extend(_from_document(documents, index, vocab, settings, rng))
    rng.shuffle(instances)
    return instances


def features(
    instance: Instance, tokenizer: BertTokenizer, settings: Settings
) -> dict[str, np.ndarray]:
    """Returns the padded arrays of an instance, named as in the original's records."""
    length, slots = settings.max_seq_length, settings.max_predictions_per_seq
    ids = tokenizer.ids(instance.tokens)
    labels = tokenizer.ids(instance.masked_lm_labels)

    def padded(values, size, dtype=np.int64):
        row = np.zeros(size, dtype)
        row[: len(values)] = values
        return row

    return {
        "input_ids": padded(ids, length),
        "input_mask": padded([1] * len(ids), length),
        "segment_ids": padded(instance.segment_ids, length),
        "masked_lm_positions": padded(instance.masked_lm_positions, slots),
        "masked_lm_ids": padded(labels, slots),
        "masked_lm_weights": padded([1.0] * len(labels), slots, np.float32),
        "next_sentence_labels": np.array([int(instance.is_random_next)], np.int64),
    }


def _from_document(documents, index, vocab, settings, rng) -> list[Instance]:
    """Cuts a document into pairs of segments (the original's three-way choice)."""
    document = documents[index]
    max_tokens = settings.max_seq_length - 3
    target = max_tokens
    if rng.random() < settings.short_seq_prob:
        target = rng.randint(2, max_tokens)
    instances = []
    chunk: list[list[str]] = []
    chunk_length = 0
    i = 0
    while i < len(document):
        chunk.append(document[i])
        chunk_length += len(document[i])
        if i == len(document) - 1 or chunk_length >= target:
            if chunk:
                a_end = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
                tokens_a = [token for part in chunk[:a_end] for token in part]
                is_random_next = len(chunk) == 1 or rng.random() < 0.5
                if is_random_next:
                    tokens_b = _random_next(
                        documents, index, target - len(tokens_a), rng
                    )
                    # What was not used of this document is put back.
                    i -= len(chunk) - a_end
                else:
                    tokens_b = [token for part in chunk[a_end:] for token in part]
                _truncate_pair(tokens_a, tokens_b, max_tokens, rng)
                instances.append(
                    _instance(tokens_a, tokens_b, is_random_next, vocab, settings, rng)
                )
            chunk, chunk_length = [], 0
        i += 1
    return instances


def _random_next(documents, index, target_length, rng) -> list[str]:
    """Returns text from another document, from a random sentence on."""
    for _ in range(10):
        other = rng.randint(0, len(documents) - 1)
        if other != index:
            break
    document = documents[other]
    tokens: list[str] = []
    for sentence in document[rng.randint(0, len(document) - 1) :]:
        tokens.extend(sentence)
        if len(tokens) >= target_length:
            break
    return tokens


def _truncate_pair(tokens_a, tokens_b, max_tokens, rng) -> None:
    while len(tokens_a) + len(tokens_b) > max_tokens:
        longer = tokens_a if len(tokens_a) > len(tokens_b) else tokens_b
        # Front or back at random, to avoid a bias.
        if rng.random() < 0.5:
            del longer[0]
        else:
            longer.pop()


def _instance(tokens_a, tokens_b, is_random_next, vocab, settings, rng) -> Instance:
    tokens = [CLS, *tokens_a, SEP, *tokens_b, SEP]
    segments = [0] * (len(tokens_a) + 2) + [1] * (len(tokens_b) + 1)
    tokens, positions, labels = _mask(tokens, vocab, settings, rng)
    return Instance(tokens, segments, is_random_next, positions, labels)


def _mask(tokens, vocab, settings, rng):
    """Masks tokens (the original's create_masked_lm_predictions)."""
    candidates: list[list[int]] = []
    for i, token in enumerate(tokens):
        if token in (CLS, SEP):
            continue
        if settings.do_whole_word_mask and candidates and token.startswith("##"):
            candidates[-1].append(i)
        else:
            candidates.append([i])
    rng.shuffle(candidates)
    output = list(tokens)
    wanted = max(1, int(round(len(tokens) * settings.masked_lm_prob)))
    wanted = min(settings.max_predictions_per_seq, wanted)
    chosen: list[tuple[int, str]] = []
    for group in candidates:
        if len(chosen) >= wanted:
            break
        if len(chosen) + len(group) > wanted:
            continue
        for position in group:
            if rng.random() < 0.8:
                output[position] = MASK
            elif rng.random() >= 0.5:
                output[position] = vocab[rng.randint(0, len(vocab) - 1)]
            chosen.append((position, tokens[position]))
    chosen.sort(key=lambda pair: pair[0])
    return output, [p for p, _ in chosen], [label for _, label in chosen]
