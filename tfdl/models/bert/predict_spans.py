"""Answers, entities and choices on a user's own texts."""

import json
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfdl.engine import errors
from tfdl.engine.prediction import input_file
from tfdl.metrics import spans
from tfdl.metrics import squad as squad_metrics
from tfdl.models.bert import examples, features, ner, squad, squad_answers
from tfdl.models.bert.base import inputs
from tfdl.models.bert.finetune import Rows
from tfdl.models.bert.squad_task import answer

if TYPE_CHECKING:
    from tfdl.models.bert.predict import Predictor


def answers(predictor: "Predictor") -> Iterator[dict[str, Any]]:
    """Yields answers to a SQuAD file, or to question-passage rows.

    For a SQuAD file with an output, the original's predictions.json,
    nbest_predictions.json and null_odds.json are written beside it.
    """
    request, head = predictor.request, predictor.config["head_config"]
    path = input_file(request.input)
    questions = _questions(path)
    version_2 = bool(head.get("version_2", True))
    threshold = float(
        request.options.get(
            "null_score_diff_threshold", head.get("null_score_diff_threshold") or 0.0
        )
    )
    settings = squad_answers.Settings(
        request.number("n_best_size", 20),
        request.number("max_answer_length", 30),
        version_2,
        threshold,
    )
    made = [
        squad.SquadExample(key, question, squad.split_words(passage)[0])
        for key, question, passage in questions
    ]
    windows = list(
        squad.convert_examples_to_features(
            made,
            predictor.tokenizer,
            predictor.length,
            request.number("doc_stride", head.get("doc_stride", 128)),
            min(
                request.number("max_query_length", head.get("max_query_length", 64)),
                predictor.length - 4,
            ),
        )
    )
    found = answer(
        tf.distribute.get_strategy(),
        predictor.model,
        made,
        windows,
        predictor.tokenizer,
        settings,
        predictor.batch_size,
    )
    if request.output and path.suffix == ".json":
        squad_answers.write_answers(pathlib.Path(request.output).parent, found)
    for key, question, _ in questions:
        # The likeliest entry that is the answer: with a threshold not always the first.
        best = next(x for x in found.nbest[key] if x["text"] == found.predictions[key])
        record = {
            "id": key,
            "question": question,
            "answer": found.predictions[key],
            "score": round(best["start_logit"] + best["end_logit"], 6),
            "probability": round(best["probability"], 6),
        }
        if found.null_odds is not None:
            record["null_score_diff"] = round(found.null_odds[key], 6)
        record["nbest"] = [
            {"text": entry["text"], "probability": round(entry["probability"], 6)}
            for entry in found.nbest[key][:5]
        ]
        yield record


def entities(predictor: "Predictor") -> Iterator[dict[str, Any]]:
    """Yields the labelled spans of every text; words end at white space.

    Texts over the model's length are read in windows; a word is labelled where it has
    most context. A .conll or .bio file is read by its first column.
    """
    labels = predictor.config["head_config"]["labels"]
    sentences = _sentences(predictor)
    windows = list(ner.make_windows(sentences, predictor.tokenizer, predictor.length))

    def run(batch):
        return {"guess": tf.argmax(predictor.model(inputs(batch))["logits"], -1)}

    results = predictor.run(Rows([window.features for window in windows]), run)
    guesses = [result["guess"] for result in results]
    tags = ner.tag_words(sentences, windows, guesses, labels)
    for sentence, names in zip(sentences, tags, strict=True):
        found = [
            {
                "label": span.type,
                "start": span.start,
                "end": span.end,
                "text": " ".join(sentence.words[span.start : span.end]),
            }
            for span in spans.find_spans(names)
        ]
        words = list(sentence.words)
        yield {"words": words, "labels": list(names), "entities": found}


def choices(predictor: "Predictor") -> Iterator[dict[str, Any]]:
    """Yields the likeliest ending for rows of context, start and endings (JSON)."""
    path = input_file(predictor.request.input)
    rows, made = [], []
    for number, line in examples.read_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
            endings = [str(ending) for ending in row["endings"]]
            context, start = str(row["context"]), str(row.get("start", ""))
        except (ValueError, KeyError, TypeError):
            raise errors.UserError(
                f'{where}: an object with "context", "start", "endings" is needed'
            ) from None
        if not endings:
            raise errors.UserError(f"{where}: no endings")
        rows.append((row, len(endings)))
        made += [
            features.convert(
                context, f"{start} {end}".strip(), predictor.tokenizer, predictor.length
            )
            for end in endings
        ]
    if not rows:
        raise errors.UserError(f"{path} has no rows")

    def run(batch):
        grouped = {name: value[:, None] for name, value in inputs(batch).items()}
        return {"logits": predictor.model(grouped)["logits"][:, 0]}

    scores = iter(predictor.run(Rows(made), run))
    for row, count in rows:
        logits = np.array([next(scores)["logits"] for _ in range(count)], np.float64)
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        numbers = [round(float(p), 6) for p in chances]
        yield {**row, "choice": int(chances.argmax()), "probabilities": numbers}


def _questions(path: pathlib.Path) -> list[tuple[str, str, str]]:
    """Returns (id, question, passage) of a SQuAD file or of rows."""
    if path.suffix == ".json":
        read = squad_metrics.read_questions(path, need_answers=False)
        return [(question.id, question.text, question.context) for question in read]
    if path.suffix == ".txt":
        found = []
        for number, line in examples.read_lines(path):
            if not line.strip():
                continue
            question, tab, passage = line.partition("\t")
            if not tab:
                raise errors.UserError(
                    f"{path}:{number}: a question, a tab and a passage are needed"
                )
            found.append((str(number), question, passage))
        return found
    rows = examples.read_table(path, need_label=False)
    for row in rows:
        if not row.text_b:
            raise errors.UserError(f"{row.where}: a question and a passage are needed")
    return [(row.guid, row.text_a, row.text_b) for row in rows]


def _sentences(predictor: "Predictor") -> list[ner.Sentence]:
    path = input_file(predictor.request.input)
    if path.suffix in (".conll", ".bio", ".iob"):
        return ner.read_sentences(path, need_tags=False)
    text_a = predictor.request.options.get("text_a")
    rows = examples.read_table(path, text_a, "", need_label=False)
    found = [
        ner.Sentence(row.text_a.split(), document=i, where=row.where)
        for i, row in enumerate(rows)
    ]
    if not any(sentence.words for sentence in found):
        raise errors.UserError(f"{path}: no words")
    return found
