"""Training a ResNet on labelled pictures by the original's phases."""

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.classifiers import contact_sheet, losses, measuring
from tfdl.classifiers.preprocessing import check, normalise
from tfdl.data import class_names as classes
from tfdl.data import indexed
from tfdl.data.evaluation_images import evaluation_images, square_plan
from tfdl.data.train_images import training_images
from tfdl.engine import distribution, errors, files, model_dir
from tfdl.engine.phases import Phase
from tfdl.engine.task import Task
from tfdl.layers.batch_norm import average_statistics
from tfdl.models.imagenet18 import (
    batches,
    dawnbench,
    rectangles,
)
from tfdl.models.imagenet18 import mixing as mixing_lib
from tfdl.models.imagenet18.clock import Clock
from tfdl.models.imagenet18.model import build_model
from tfdl.models.imagenet18.momentum import restore
from tfdl.models.imagenet18.names import normalisation_patterns, variable_names
from tfdl.models.imagenet18.network import ResNetConfig
from tfdl.models.imagenet18.pictures import Pictures
from tfdl.models.imagenet18.schedule import Schedule

# Pictures on the sheets that a run writes.
SAMPLES = 20
RECTANGULAR = ("phase", "always", "never")
METRICS = ("top1", "top5")


class ImagenetTask(Task):
    """Classification of pictures; `config.data` says which (docs/images.md)."""

    def __init__(self, config, workdir):
        super().__init__(config, workdir)
        self.clock = Clock(config.dawnbench.count_validation)
        self.preprocessing = check({"mode": "torch"})
        self.mixing = mixing_lib.Mixing(config.mixup, config.cutmix)
        self.class_names: tuple[str, ...] = ()
        self._measure: measuring.Measure | None = None
        self.pictures = Pictures(config)
        self._check_choices()

    def _check_choices(self) -> None:
        config = self.config
        losses.check(config.loss)
        if config.evaluation.rectangular not in RECTANGULAR:
            raise errors.unknown(
                "evaluation.rectangular", config.evaluation.rectangular, RECTANGULAR
            )
        if config.target.metric not in METRICS:
            raise errors.unknown("target.metric", config.target.metric, METRICS)

    # --- data --------------------------------------------------------------------

    def prepare(self) -> None:
        """Opens the pictures of every phase, and checks them against the schedule."""
        config = self.config
        if config.data.startswith("tfrecord:") and not config.validation_data:
            raise errors.UserError(
                "training on tfrecord: needs --config.validation_data as well"
            )
        folders = {str(phase.get("trndir", "")) for phase in config.schedule}
        folder = min(folders, default="")
        first = self.pictures.open(folder, "train")
        self.class_names = self.pictures.classes = first.classes
        if config.examples and config.examples != len(first):
            raise errors.UserError(
                f"the schedule is for {config.examples:,} training images, "
                f"{config.data} has {len(first):,}; --config.examples=0 counts them"
            )
        self.prepare_schedule(len(first))
        for start, _ in self.schedule.stretches():
            data = self.schedule.data(start)
            self.pictures.open(data.validation_folder, "validation")
            count = len(self.pictures.open(data.folder, "train"))
            if count != len(first):
                raise errors.UserError(
                    f"{self.pictures.spec(data.folder, 'train')} has {count:,} "
                    f"training images, {self.pictures.spec(folder, 'train')} "
                    f"{len(first):,}"
                )

    def prepare_plan(self) -> None:
        """Reads the schedule; the pictures only if it does not say how many."""
        if self.config.examples:
            self.prepare_schedule(self.config.examples)
        else:
            self.prepare()

    def prepare_schedule(self, examples: int) -> None:
        """Reads the schedule for so many training images."""
        config = self.config
        self.schedule = Schedule(
            config.schedule, examples, config.world, config.rate_at
        )
        self.network = ResNetConfig.from_dict(
            {**config.network.to_dict(), "num_classes": self.num_classes()}
        )

    def num_classes(self) -> int:
        """Returns how many classes the network tells apart."""
        count = self.config.classes or len(self.class_names) or 1000
        if count < len(self.class_names):
            raise errors.UserError(
                f"--config.classes={count}, but the data have {len(self.class_names)}"
            )
        return count

    def prepare_evaluation(self, data: str | None) -> None:
        """Opens what is measured on; the network is the model directory's."""
        config = self.config
        saved = model_dir.read_config(config.init_from)
        config.data = data or saved.get("data") or config.data
        self.preprocessing = check(saved["preprocessing"])
        self.network = ResNetConfig.from_dict(saved["network"])
        size = config.evaluation.size or saved["test_size"]
        if not config.evaluation.size:
            config.evaluation.resize_ratio = saved["resize"] / saved["test_size"]
        config.evaluation.size = size
        self.class_names = self.pictures.classes = self.saved_classes(saved)
        self.pictures.open("", "validation")

    def saved_classes(self, saved: dict[str, Any]) -> tuple[str, ...]:
        """Returns the class names of a model directory, as its data call them."""
        if not saved.get("classes"):
            return ()
        found = classes.read(model_dir.asset(self.config.init_from, saved["classes"]))
        return tuple(label.wnid or label.name for label in found)

    # --- the engine's questions --------------------------------------------------

    def build_model(self):
        """Returns the network with random weights."""
        return build_model(self.network)

    def variable_names(self, name, network):
        """Returns the trained weights by torchvision's names."""
        return variable_names(network)

    def optimizers(self) -> dict[str, Any]:
        """Returns the optimizer; gammas and betas are not decayed."""
        options = self.config.optimizer.to_dict()
        if not self.config.decay_batch_norm:
            patterns = normalisation_patterns(self.network)
            given = tuple(options.get("exclude_from_weight_decay", ()))
            options["exclude_from_weight_decay"] = (*given, *patterns)
        return {"model": options}

    def state(self) -> Sequence[tf.Variable]:
        """Returns the clock's count."""
        return [self.clock.seconds]

    def before_save(self) -> None:
        """Brings the clock's count up to date."""
        self.clock.update()

    def initialise(self, learner, source: str) -> list[str]:
        """Starts from a model directory; a classifier of other classes is random."""
        import tfdl

        saved = model_dir.read_config(source)
        if saved["model"] != "imagenet18":
            raise errors.UserError(f"{source} holds a {saved['model']}, no imagenet18")
        # What told rotations apart is no classifier, even if its size fits.
        other = saved.get("task") != self.model_config().get("task")
        given = variable_names(tfdl.load(source), statistics=True)
        fresh = []
        for name, variable in variable_names(learner.model, statistics=True).items():
            value = given.get(name)
            is_classifier = name.startswith("fc.")
            fits = value is not None and value.shape == variable.shape
            if fits and not (is_classifier and other):
                variable.assign(value.numpy())
            elif is_classifier:
                fresh.append(name)
            else:
                raise errors.UserError(f"{source} has no {name} of this shape")
        if not fresh and self.config.optimizer.name == "sgd":
            restore(learner.optimizers["model"], learner.model, source)
        return fresh

    def phases(self) -> list[Phase]:
        """Returns a phase for every stretch of epochs with the same data."""
        config = self.config
        self.stretches = batches.stretches(
            self.schedule, self.replicas, config.batch_policy, config.max_device_batch
        )
        every = config.evaluation.every
        return [
            Phase(
                one.name,
                steps=(one.end - one.start) * one.steps,
                batch_size=one.batch_size,
                learning_rate=self.schedule.learning_rate(
                    one.start, one.end, one.factor, one.steps
                ),
                trainable=self.trainable,
                eval_every=every * one.steps if every else 0,
                gradient_accumulation=one.micro_batches,
                options={"stretch": one, "first_step": self._first_step(one)},
            )
            for one in self.stretches
        ]

    def _first_step(self, one: batches.Stretch) -> int:
        before = [other for other in self.stretches if other.end <= one.start]
        return sum((other.end - other.start) * other.steps for other in before)

    def trainable(self, name: str) -> bool:
        """Tells whether `config.train_only` names a weight; all, if it is empty."""
        return not self.config.train_only or any(
            re.search(pattern, name) for pattern in self.config.train_only
        )

    def plan(self) -> list[str]:
        """Returns the table of the phases."""
        config = self.config
        found = batches.stretches(
            self.schedule, self.replicas, config.batch_policy, config.max_device_batch
        )
        return batches.table(
            found, self.schedule, self.replicas, self.network.multiply_adds
        )

    # --- a step ------------------------------------------------------------------

    def train_data(self, phase, start_step, shard):
        """Returns the phase's batches from a step on."""
        config, one = self.config, phase.options["stretch"]
        source = self.pictures.open(one.data.folder, "train")
        rows = indexed.epoch_batches(
            len(source),
            one.batch_size,
            config.seed,
            one.start,
            start_step,
            shard,
            multiple=one.multiple,
            full=not config.short_last_batch,
        )
        data = training_images(
            source,
            rows,
            one.data.size,
            seed=config.seed,
            min_scale=one.data.min_scale,
            ratio=tuple(config.crop_ratio),
            flip=config.flip,
            fallback=config.crop_fallback,
            on_bad=config.on_bad,
        )
        if self.mixing.active:
            first = phase.options["first_step"] + start_step
            steps = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
            data = tf.data.Dataset.zip(steps, data).map(
                lambda step, batch: {
                    **batch,
                    **self.mixing.draw(
                        step,
                        config.seed,
                        tf.shape(batch["label"])[0],
                        one.data.size,
                    ),
                }
            )
        self.clock.start()
        return data

    def denominators(self, batch):
        """Returns the pictures in a batch."""
        return {"examples": tf.reduce_sum(batch["weight"])}

    def loss(self, model, batch, denominators, training=True):
        """Returns this part's share of the mean loss over the global batch."""
        config = self.config
        images = normalise(batch["image"], self.preprocessing)
        soft = losses.targets(
            batch["label"], self.network.num_classes, config.label_smoothing
        )
        if self.mixing.active:
            images = mixing_lib.mix_images(images, batch)
            soft = mixing_lib.mix_targets(soft, batch)
        logits = model({"image": images}, training=training)["logits"]
        if config.loss == "binary":
            each = losses.binary(logits, soft, config.binary_threshold)
        else:
            each = losses.softmax(logits, soft)
        right = losses.correct(logits, batch["label"], 1)
        weight = batch["weight"]
        share = tf.reduce_sum(each * weight) / denominators["examples"]
        total = tf.reduce_sum(weight)
        return share, {"accuracy": (tf.reduce_sum(right * weight), total)}

    # --- what came out -----------------------------------------------------------

    def evaluate(self, learner) -> dict[str, float]:
        """Returns top-1 and top-5 in percent over all pictures, and the hours."""
        self.clock.update()
        self.clock.validation_starts()
        average_statistics(learner.model, learner.strategy)
        metrics = self.measure(learner)
        if self.phase is not None:
            self.clock.validation_ends()
            metrics["hours"] = self.clock.hours
            metrics["epoch"] = self.epoch(learner)
            self._log(learner, metrics)
            self.clock.start()
        return metrics

    def measure(self, learner) -> dict[str, float]:
        """Returns the metrics of the validation pictures."""
        if self._measure is None:
            self._measure = measuring.Measure(
                learner.strategy,
                lambda batch: self._rows(learner.model, batch),
                self.config.on_bad,
            )
        return self._measure(*self._evaluation_plan(learner.strategy))

    def _rows(self, model, batch) -> tf.Tensor:
        """Returns [B, 4]: right at 1, right at 5, loss and weight of every picture."""
        images = normalise(batch["image"], self.preprocessing)
        logits = model({"image": images})["logits"]
        if self.config.evaluation.flip:
            logits += model({"image": tf.reverse(images, [2])})["logits"]
        return measuring.rows(logits, batch)

    def _evaluation_plan(self, strategy):
        """Returns the pictures to measure on and the batches they are shown in."""
        options = self.config.evaluation
        size, folder, rectangular, batch = options.size, "", False, options.batch_size
        if self.phase is not None:
            data = self.phase.options["stretch"].data
            size, folder = size or data.size, data.validation_folder
            batch, rectangular = batch or data.validation_batch_size, data.rectangular
        if options.rectangular != "phase":
            rectangular = options.rectangular == "always"
        source, batch = self.pictures.open(folder, "validation"), batch or 128
        replicas = strategy.num_replicas_in_sync
        padded = -(-min(batch, len(source)) // replicas) * replicas
        if not rectangular:
            resize = int(size * options.resize_ratio)
            return source, square_plan(len(source), padded, size, resize)
        shapes = source.shapes(self.config.on_bad)
        return source, rectangles.plan(
            shapes, size, batch, options.resize_ratio, padded
        )

    def samples(self, learner, step) -> dict[str, np.ndarray]:
        """Returns some validation pictures with what the network sees on them."""
        if self.phase is None:
            return {}
        # On every worker: reading the moving statistics takes all of them.
        source, plan = self._evaluation_plan(learner.strategy)
        chosen = np.linspace(0, len(source) - 1, min(SAMPLES, len(source)))
        first = plan[0]._replace(indices=chosen.astype(np.int64))
        if first.height != first.width:
            side = min(first.height, first.width)
            first = first._replace(height=side, width=side)
        (batch,) = evaluation_images(source, [first], on_bad=self.config.on_bad)
        images = normalise(batch["image"], self.preprocessing)
        logits = learner.model({"image": images})["logits"]
        names = classes.parse(self.assets()[classes.ASSET].splitlines(), "classes")
        sheet = contact_sheet.labelled(
            batch["image"].numpy(),
            batch["label"].numpy(),
            tf.nn.softmax(logits).numpy(),
            [name.name for name in names],
            len(source),
        )
        return {"validation": sheet}

    def epoch(self, learner) -> int:
        """Returns the epoch that the last step ended or was in, from 0."""
        one = self.phase.options["stretch"]
        step = int(learner.step.numpy()) - self.phase.options["first_step"]
        return one.start + max(step - 1, 0) // one.steps

    def _log(self, learner, metrics) -> None:
        """Writes the run so far as DAWNBench's table and the original's event log."""
        step = int(learner.step.numpy())
        if not step or not distribution.is_chief(learner.strategy):
            return
        rows = [*self.rows(step), _row(metrics)]
        files.atomic_write(self.workdir / "dawnbench.tsv", dawnbench.table(rows))
        files.atomic_write(self.workdir / "event.log", dawnbench.event_log(rows))

    def rows(self, before: float = float("inf")) -> list[dawnbench.Row]:
        """Returns the run's evaluations before a step, out of `metrics.jsonl`."""
        path, found = self.workdir / "metrics.jsonl", {}
        if not path.is_file():
            return []
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["kind"] == "eval" and 0 < record["step"] < before:
                found[record["step"]] = _row(record)
        return [found[step] for step in sorted(found)]

    def finished(self, metrics) -> bool:
        """Tells whether the run may stop at its target."""
        target = self.config.target
        return bool(target.stop and metrics[target.metric] >= target.value)

    def score(self, metrics) -> float:
        """Returns top-1."""
        return metrics["top1"]

    def remarks(self) -> list[str]:
        """Returns time and cost to the target, and the pictures left out."""
        config, rows = self.config, self.rows()
        lines = []
        if rows:
            prices = {
                "on demand": config.dawnbench.cost_per_hour,
                "at your price": config.dawnbench.price_per_hour,
            }
            lines += dawnbench.verdict(
                rows, config.target.value, config.target.metric, prices
            )
            entry = dawnbench.write_entry(
                self.workdir / "dawnbench",
                rows,
                config.dawnbench,
                config.network.get("preset", "resnet"),
            )
            lines.append(f"DAWNBench entry: {entry}")
        return lines + self.pictures.left_out()

    def model_config(self) -> dict[str, Any]:
        """Returns `config.json` of the model directory."""
        options = self.config.evaluation
        size = options.size or self.schedule.data(self.schedule.epochs - 1).size
        return {
            "model": "imagenet18",
            "network": self.network.to_dict(),
            "preprocessing": self.preprocessing,
            "test_size": size,
            "resize": int(size * options.resize_ratio),
            "classes": classes.ASSET if self.class_names else None,
            "data": self.config.data,
        }

    def assets(self) -> dict[str, str]:
        """Returns the classes' names."""
        if not self.class_names:
            return {}
        names = tuple(classes.ClassName(name) for name in self.class_names)
        spare = classes.numbered(self.network.num_classes)[len(names) :]
        return {classes.ASSET: classes.text(classes.named(names) + spare)}

    def summary(self, before, after, model) -> list[str]:
        """Returns what to try next."""
        return [
            f"tfdl evaluate --model_dir={model}",
            f"tfdl predict --model_dir={model} --input=PICTURES --output=sheet",
            f"tfdl export --model_dir={model} --output=saved_models/imagenet18",
        ]


def _row(metrics) -> dawnbench.Row:
    return dawnbench.Row(
        int(metrics["epoch"]), metrics["hours"], metrics["top1"], metrics["top5"]
    )
