"""Fine-tuning for extractive question answering (run_squad.py; paper 4.2, 4.3)."""

import pathlib

import numpy as np

from tfdl.engine import errors, model_dir
from tfdl.metrics import squad as metrics
from tfdl.models.bert import losses, squad, squad_answers
from tfdl.models.bert.base import inputs
from tfdl.models.bert.finetune import BertFineTuneTask, Rows, run_rows


class BertSquadTask(BertFineTuneTask):
    """SQuAD 1.1 and 2.0.

    `config.data` is `squad:TRAIN,DEV`, the official files. Version 2.0 is recognised
    by its questions without answers, or set by `config.version_2`.
    """

    head = "squad"

    def prepare(self) -> None:
        """Reads the questions and cuts the passages into windows."""
        config = self.config
        kind, _, where = config.data.partition(":")
        paths = [path for path in where.split(",") if path]
        if kind != "squad" or len(paths) != 2:
            raise errors.UserError(
                f"data {config.data!r} is not known; squad:TRAIN,DEV is needed"
            )
        self.load_encoder()
        self._read_dev(paths[1])
        examples = squad.read_examples(paths[0], True, self.version_2)
        if not examples:
            raise errors.UserError(f"{paths[0]} has no question to learn from")
        windows = self._windows(examples, is_training=True)
        starts = np.array([window.start_position for window in windows], np.int32)
        ends = np.array([window.end_position for window in windows], np.int32)
        values = {"start_positions": starts, "end_positions": ends}
        self.rows = Rows([window.features for window in windows], values)

    def prepare_evaluation(self, data: str | None) -> None:
        """Reads the questions to measure on: a SQuAD file."""
        self.load_encoder()
        config = self.config
        path = (data or config.data).removeprefix("squad:").split(",")[-1]
        if not path:
            raise errors.UserError("--data is needed: a SQuAD file")
        saved = model_dir.read_config(config.init_from)
        if saved["head"] != self.head:
            raise errors.UserError(
                f"{config.init_from} is a BERT for {saved['head']}, not for questions"
            )
        config.max_seq_length = saved["max_seq_length"]
        for name in ("doc_stride", "max_query_length", "null_score_diff_threshold"):
            if saved["head_config"].get(name) is not None:
                config[name] = saved["head_config"][name]
        self._read_dev(path)

    def loss(self, model, batch, denominators, training=True):
        """Returns this part's share of (ce(start) + ce(end)) / 2."""
        out = model(inputs(batch), training=training)
        total = losses.span(
            out["start_logits"],
            out["end_logits"],
            batch["start_positions"],
            batch["end_positions"],
            batch["weights"],
            # Vectors of padding are not computed then.
            batch["padding_mask"] if self.config.unpad else None,
        )
        return total / denominators["examples"], {}

    def evaluate(self, learner) -> dict[str, float]:
        """Returns the official scores; writes the original's prediction files."""
        size = self.config.eval_batch_size * learner.strategy.num_replicas_in_sync
        answers = answer(
            learner.strategy,
            learner.model,
            self.dev_examples,
            self.dev_windows,
            self.tokenizer,
            self._settings(),
            size,
        )
        self.workdir.mkdir(parents=True, exist_ok=True)
        squad_answers.write_answers(self.workdir, answers)
        if not self.version_2:
            return metrics.evaluate_v1(self.dev_questions, answers.predictions)
        scores = metrics.evaluate_v2(self.dev_questions, answers.predictions)
        best = squad_answers.find_best_threshold(self.dev_questions, answers)
        self.head_config["null_score_diff_threshold"] = best.threshold
        return {**scores, "best_f1": best.f1, "best_f1_thresh": best.threshold}

    def score(self, metrics) -> float:
        """Returns F1."""
        return metrics["f1"]

    def summary(self, before, after, model) -> list[str]:
        """Returns what to try next."""
        return [
            f"tfdl predict --model_dir={model} --input={self.dev_path}",
            f"tfdl evaluate --model_dir={model} --data={self.dev_path}",
            f"tfdl export --model_dir={model} --output=saved_models/bert",
        ]

    def model_config(self):
        """Returns `config.json`; version and lengths are needed for answers."""
        config = self.config
        self.head_config |= {
            "version_2": self.version_2,
            "doc_stride": config.doc_stride,
            "max_query_length": config.max_query_length,
        }
        return super().model_config()

    def _read_dev(self, path: str | pathlib.Path) -> None:
        config, self.dev_path = self.config, path
        self.check_length(config.max_seq_length)
        self.dev_questions = metrics.read_questions(path)
        impossible = any(not question.answers for question in self.dev_questions)
        self.version_2 = bool(config.version_2) or impossible
        self.dev_examples = squad.read_examples(path, False, self.version_2)
        self.dev_windows = self._windows(self.dev_examples, is_training=False)

    def _windows(self, examples, is_training: bool) -> list[squad.Window]:
        config = self.config
        return list(
            squad.convert_examples_to_features(
                examples,
                self.tokenizer,
                config.max_seq_length,
                config.doc_stride,
                config.max_query_length,
                is_training,
            )
        )

    def _settings(self) -> squad_answers.Settings:
        config = self.config
        return squad_answers.Settings(
            config.n_best_size,
            config.max_answer_length,
            self.version_2,
            config.null_score_diff_threshold,
        )


def answer(
    strategy, model, examples, windows, tokenizer, settings, batch_size: int
) -> squad_answers.Answers:
    """Runs a model over windows and finds the answers.

    Logits are cut to each window's length, so that answers do not depend on how far a
    batch was padded.
    """

    def run(batch):
        out = model(inputs(batch))
        return {name: out[name] for name in ("start_logits", "end_logits")}

    rows = Rows([window.features for window in windows])
    results = {}
    outputs = run_rows(strategy, rows, run, batch_size)
    for window, output in zip(windows, outputs, strict=True):
        length = len(window.features["token_ids"])
        results[window.unique_id] = (
            output["start_logits"][:length],
            output["end_logits"][:length],
        )
    return squad_answers.find_answers(examples, windows, results, tokenizer, settings)
