"""Error against the number of labelled documents (ULMFiT, figure 3), for any data.

    python -m benchmarks.ulmfit_low_shot --data=vader-movie --init_from=wt103
    python -m benchmarks.ulmfit_low_shot --data=ag:/data/ag_news_csv --seeds=1

Three curves, each over subsets with as many documents of every class:

    from scratch     the classifier alone, random at the start
    supervised       the language model is tuned on the labelled texts only
    semi-supervised  it is tuned on all texts of the data, without their labels

Without --init_from a language model is trained first, on --general. Everything goes
to --output: results.jsonl, which an interrupted run goes on with, and low_shot.png.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
from ml_collections import ConfigDict

from tfdl.data import text_corpora
from tfdl.engine import command, files

METHODS = ("from scratch", "supervised", "semi-supervised")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="embedded:topics")
    parser.add_argument("--general", default="embedded:docstrings")
    parser.add_argument("--init_from", default="", help="a language model")
    parser.add_argument("--output", default="runs/ulmfit-low-shot")
    parser.add_argument("--sizes", default="", help="e.g. 50,100,200; else a log grid")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--general_epochs", type=int, default=2)
    parser.add_argument("--tune_epochs", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument(
        "--ratio", type=float, default=2.6, help="of rates, group to group; tuned ones"
    )
    parser.add_argument(
        "--dropmult", type=float, default=0.3, help="of the classifiers' dropout"
    )
    parser.add_argument("--embedding_size", type=int, default=64)
    parser.add_argument("--hidden_size", type=int, default=128)
    parser.add_argument("--max_vocab", type=int, default=6000)
    parser.add_argument("--max_tokens", type=int, default=400)
    return parser.parse_args(argv)


class Experiment:
    """One figure."""

    def __init__(self, flags: argparse.Namespace):
        from tfdl.engine import distribution
        from tfdl.models.ulmfit import recipes

        self.flags, self.recipes = flags, recipes
        self.output = pathlib.Path(flags.output)
        self.strategy = distribution.create("one_device")
        self.encoder = {
            "embedding_size": flags.embedding_size,
            "hidden_size": flags.hidden_size,
            "num_layers": 3,
        }
        self.results = self.output / "results.jsonl"
        self.output.mkdir(parents=True, exist_ok=True)

    def train(self, config: ConfigDict, folder: str) -> dict:
        """Trains a recipe in a folder of its own; returns its record."""
        from tfdl.engine import runs

        config.log_every = config.checkpoint_every = 10_000
        return runs.train(config, self.output / folder, self.strategy)

    def general(self) -> str:
        """Returns the language model that tuning starts from."""
        if self.flags.init_from:
            return self.flags.init_from
        config = self._language_model(self.flags.general, self.flags.general_epochs)
        config.start, config.max_vocab = "random", self.flags.max_vocab
        config.held_out, config.batch_size = 0.03, 32
        return self.train(config, "general")["model"]

    def tuned(self, source: str, seed: int, count: int = 0) -> str:
        """Returns the language model tuned on all texts, or on `count` labelled."""
        config = self._language_model(self.flags.data, self.flags.tune_epochs)
        config.init_from, config.seed = source, seed
        config.dropmult, config.min_count = 0.5, 2
        config.examples = count
        name = f"tuned-{count or 'all'}" + (f"-seed{seed}" if count else "")
        return self.train(config, name)["model"]

    def classified(self, source: str, seed: int, count: int, method: str) -> dict:
        """Returns the metrics of a classifier that learned from `count` documents."""
        recipes, flags = self.recipes, self.flags
        config = recipes.classifier()
        config.encoder, config.data = ConfigDict(self.encoder), flags.data
        config.held_out = _share(flags.data)
        config.examples, config.seed, config.min_count = count, seed, 2
        config.max_tokens, config.init_from = flags.max_tokens, source
        config.start = "model" if source else "random"
        config.batch_size = min(32, max(count // 4, 4))
        recipes.scaled(config, recipes.CLASSIFYING, flags.dropmult)
        if source:
            phases = recipes.scripted(1e-2, flags.epochs - 2)
            config.phases = tuple({**x, "ratio": flags.ratio} for x in phases)
        else:
            config.phases = recipes.full(5e-3, flags.epochs)
        folder = f"{method.replace(' ', '-')}-{count}-seed{seed}"
        return self.train(config, folder)["metrics"]

    def _language_model(self, data: str, epochs: int) -> ConfigDict:
        recipes = self.recipes
        config = recipes.language_model()
        config.encoder, config.data = ConfigDict(self.encoder), data
        config.dropmult, config.bptt, config.batch_size = 0.2, 40, 8
        config.sample_tokens = 0
        config.phases = (
            recipes.phase("all", epochs, 8e-3, schedule={"name": "one_cycle"}),
        )
        return config

    def run(self) -> list[dict]:
        """Makes every run that is not there yet; returns all results."""
        flags = self.flags
        methods = [name for name in METHODS if name in flags.methods.split(",")]
        sizes = _sizes(flags)
        done = read(self.results)
        source = self.general() if methods != ["from scratch"] else ""
        everything = ""
        if "semi-supervised" in methods:
            everything = self.tuned(source, seed=0)
        for count in sizes:
            for seed in range(flags.seeds):
                for method in methods:
                    key = {"method": method, "labels": count, "seed": seed}
                    if any(key.items() <= row.items() for row in done):
                        continue
                    start = {"from scratch": "", "semi-supervised": everything}
                    first = start.get(method)
                    if first is None:
                        first = self.tuned(source, seed, count)
                    metrics = self.classified(first, seed, count, method)
                    row = {**key, "error": metrics["error"]}
                    done.append(row)
                    lines = "".join(json.dumps(row) + "\n" for row in done)
                    files.atomic_write(self.results, lines)
                    print(json.dumps(row), flush=True)
        return done


def read(path: pathlib.Path) -> list[dict]:
    """Returns the results of an earlier run."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _share(data: str) -> float:
    """Returns what to hold out: a tenth, where no test documents are given."""
    corpus = text_corpora.read(data)
    return 0.0 if corpus.validation or corpus.test else 0.1


def _sizes(flags: argparse.Namespace) -> list[int]:
    if flags.sizes:
        return [int(size) for size in flags.sizes.split(",")]
    most = int(len(text_corpora.read(flags.data).train) * (1 - _share(flags.data)))
    grid = np.geomspace(min(100, most), most, 6).astype(int)
    return sorted(set(grid.tolist()))


def draw(rows: list[dict], path: pathlib.Path, title: str) -> None:
    """Draws means, and the least and largest of the seeds as an area."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for method in METHODS:
        by_size: dict[int, list[float]] = {}
        for row in rows:
            if row["method"] == method:
                by_size.setdefault(row["labels"], []).append(100 * row["error"])
        sizes = sorted(by_size)
        if sizes:
            means = [np.mean(by_size[size]) for size in sizes]
            (line,) = axes.plot(sizes, means, marker="o", label=method)
            axes.fill_between(
                sizes,
                [min(by_size[size]) for size in sizes],
                [max(by_size[size]) for size in sizes],
                color=line.get_color(),
                alpha=0.15,
            )
    axes.set_xscale("log")
    axes.set_xlabel("labelled documents")
    axes.set_ylabel("error, %")
    axes.set_title(title)
    axes.legend()
    FigureCanvasAgg(figure)
    figure.savefig(path)


def main(argv: list[str] | None = None) -> int:
    """Runs the experiment; returns the exit code."""
    flags = arguments(argv)
    command.start_tensorflow()
    experiment = Experiment(flags)
    rows = experiment.run()
    draw(rows, experiment.output / "low_shot.png", flags.data)
    for method in METHODS:
        for count in sorted({row["labels"] for row in rows}):
            found = [
                row["error"]
                for row in rows
                if (row["method"], row["labels"]) == (method, count)
            ]
            if found:
                print(
                    f"{method:<16} {count:>6} labels  error {np.mean(found):.3f} "
                    f"({min(found):.3f} to {max(found):.3f}, {len(found)} seeds)"
                )
    print(experiment.output / "low_shot.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
