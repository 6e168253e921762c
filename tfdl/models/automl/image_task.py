"""Training an image network in full: what a search found, or a published one."""

import pathlib
import re
from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.classifiers import contact_sheet, losses, measuring
from tfdl.classifiers.preprocessing import check, normalise
from tfdl.data import class_names as classes
from tfdl.data import image_sources, indexed
from tfdl.data.evaluation_images import evaluation_images, square_plan
from tfdl.data.square_images import square_images
from tfdl.data.train_images import training_images
from tfdl.engine import errors, model_dir, options, schedules
from tfdl.engine.phases import Phase
from tfdl.engine.task import Task
from tfdl.layers.batch_norm import average_statistics
from tfdl.models.automl import image_data
from tfdl.models.automl.image_augmentation import Augmentation
from tfdl.models.automl.model import build_model, read
from tfdl.models.automl.search import result
from tfdl.models.automl.search.task import plain

CROPS = ("square", "area")
STARTS = ("weights", "architecture")
DECAYED = ("kernels", "all")
SAMPLES = 20
# Of the pictures that the mean is of, where not all are in memory.
_FEW = 2000


class ImageTask(Task):
    """Classification of pictures; see `image_recipes.final` for its configuration."""

    def __init__(self, config, workdir):
        super().__init__(config, workdir)
        self.sources: dict[str, image_sources.ImageSource] = {}
        self.class_names: tuple[str, ...] = ()
        self._measure: measuring.Measure | None = None

    # --- data --------------------------------------------------------------------

    def prepare(self) -> None:
        """Opens the pictures and decides what the network is."""
        config = self.config
        self._check()
        if config.data.startswith("tfrecord:") and not config.validation_data:
            raise errors.UserError(
                "training on tfrecord: needs --config.validation_data as well"
            )
        first = self._open("train")
        self.class_names = first.classes
        self._open("validation")
        load_size = config.load_size or config.size
        inside = config.crop == "square"
        self.augmentation = Augmentation(
            load_size if inside else config.size,
            config.size,
            config.padding * inside,
            config.padding_value,
            config.flip and inside,
            config.cutout,
            config.cutout_place,
        )
        self.steps_per_epoch = indexed.batches_per_epoch(len(first), config.batch_size)
        self.steps = int(np.ceil(config.epochs * self.steps_per_epoch))
        self.preprocessing = check(plain(config.preprocessing) or self._normalisation())
        self.network = read(self._network()).to_dict()

    def _check(self) -> None:
        """Raises `UserError` for values that make no sense."""
        config = self.config
        for name, allowed in (
            ("crop", CROPS),
            ("start", STARTS),
            ("decayed", DECAYED),
        ):
            if config[name] not in allowed:
                raise errors.unknown(name, config[name], allowed)
        options.number("epochs", config.epochs, 1e-9)
        options.number("label_smoothing", config.label_smoothing, below=1.0)
        for name in ("batch_size", "size"):
            options.number(name, config[name], 1)
        for name in ("weight_decay", "aux_weight", "warmup_epochs", "load_size"):
            options.number(name, config[name])
        if config.start == "architecture" and not config.init_from:
            raise errors.UserError(
                "start=architecture needs the result of a search or a network to take "
                "it from: --init_from"
            )

    def _open(self, split: str) -> image_sources.ImageSource:
        config = self.config
        data = config.data
        if split == "validation":
            data = config.validation_data or data
        if split not in self.sources:
            self.sources[split] = image_sources.open_source(
                data, split, classes=self.class_names or None, on_bad=config.on_bad
            )
        return self.sources[split]

    def _normalisation(self) -> dict[str, Any]:
        """Returns the preprocessing by the training images' mean and deviation."""
        source = self._open("train")
        pixels = getattr(source, "images", None)
        if pixels is None or pixels.shape[1:3] != (self.config.size,) * 2:
            few = np.linspace(0, len(source) - 1, min(_FEW, len(source)))
            which = np.unique(few.astype(np.int64))
            pixels, _ = image_data.read(
                source, which, self.config.size, self.config.on_bad
            )
        elif pixels.shape[3] == 1:
            pixels = np.repeat(pixels, 3, 3)
        mean, std = image_data.normalisation(pixels)
        return {"mode": "torch", "mean": mean, "std": std}

    def _network(self) -> dict[str, Any]:
        """Returns the network's configuration, with what the data decide."""
        config = self.config
        network = plain(config.network)
        if config.start == "architecture":
            network.pop("preset", None)
            network["genotype"] = self._genotype()
            network.setdefault("kind", network["genotype"].get("kind", "cells"))
        elif config.init_from:
            saved = self._saved()
            if "genotype" in saved["network"]:
                network.pop("preset", None)
            network = {**saved["network"], **network}
        network["num_classes"] = len(self.class_names)
        if network.get("kind", "cells") == "cells":
            network["image_size"] = config.size
        return network

    def _genotype(self) -> dict[str, Any]:
        source = self.config.init_from
        saved = model_dir.read_config(source)
        if result.is_result(saved):
            return dict(result.read(source).genotype)
        found = saved.get("network", {}).get("genotype")
        if found is None:
            raise errors.UserError(
                f"{source} holds neither the result of a search nor a network of "
                "AutoML's"
            )
        return dict(found)

    def _saved(self) -> dict[str, Any]:
        source = self.config.init_from
        saved = model_dir.read_config(source)
        if result.is_result(saved):
            raise errors.UserError(
                f"{source} is the result of a search; --config.start=architecture "
                "trains what it found"
            )
        if saved.get("model") != "automl" or "network" not in saved:
            raise errors.UserError(f"{source} is no network of AutoML's")
        return saved

    def prepare_evaluation(self, data: str | None) -> None:
        """Opens what is measured on; the network is the model directory's."""
        config, saved = self.config, self._saved()
        config.data = data or saved.get("data") or config.data
        self.preprocessing = check(saved["preprocessing"])
        self.network = saved["network"]
        config.size = saved["test_size"]
        config.resize_ratio = saved["resize"] / saved["test_size"]
        if saved.get("classes"):
            found = classes.read(model_dir.asset(config.init_from, saved["classes"]))
            self.class_names = tuple(label.wnid or label.name for label in found)
        self._open("validation")

    # --- the engine's questions --------------------------------------------------

    def build_model(self):
        """Returns the network with random weights."""
        return build_model(self.network)

    def variable_names(self, name, network):
        """Returns the trained weights by TF-slim's names."""
        return {n: v for n, v in network.named() if v.trainable}

    def initialise(self, learner, source: str) -> list[str]:
        """Starts from a network's weights; a classifier of other classes is random."""
        if self.config.start == "architecture":
            return []
        import tfdl

        given = dict(tfdl.load(source).named())
        fresh = []
        for name, variable in learner.model.named():
            value = given.get(name)
            if value is not None and value.shape == variable.shape:
                variable.assign(value.numpy())
            elif re.search(r"^aux|(^|/)(FC|classifier)/", name):
                fresh.append(name)
            else:
                raise errors.UserError(f"{source} has no {name} of this shape")
        return fresh

    def phases(self) -> list[Phase]:
        """Returns one phase."""
        every = self.config.evaluation.every
        return [
            Phase(
                "train",
                steps=self.steps,
                batch_size=self.config.batch_size,
                learning_rate=self._schedule(),
                trainable=self._trainable,
                eval_every=int(every * self.steps_per_epoch),
            )
        ]

    def _schedule(self) -> schedules.Schedule:
        given = plain(self.config.schedule)
        for name in list(given):
            if name.endswith("_epochs"):
                given[name[: -len("_epochs")]] = given.pop(name) * self.steps_per_epoch
        if given.get("name") == "cosine_restarts":
            given.setdefault("every", self.steps_per_epoch)
        warmup = int(self.config.warmup_epochs * self.steps_per_epoch)
        return schedules.linear_warmup(schedules.create(given, self.steps), warmup)

    def _trainable(self, name: str) -> bool:
        return self.config.train_aux_head or not name.startswith("aux")

    # --- a step ------------------------------------------------------------------

    def train_data(self, phase, start_step, shard):
        """Returns the phase's batches from a step on."""
        config, source = self.config, self._open("train")
        rows = indexed.epoch_batches(
            len(source),
            config.batch_size,
            config.seed,
            0,
            start_step,
            shard,
            full=True,
        )
        if config.crop == "square":
            size = self.augmentation.load_size
            data = square_images(source, rows, size, on_bad=config.on_bad)
        else:
            data = training_images(
                source,
                rows,
                config.size,
                seed=config.seed,
                min_scale=config.min_area,
                flip=config.flip,
                on_bad=config.on_bad,
            )
        steps = tf.data.Dataset.range(start_step, np.iinfo(np.int64).max)

        def columns(batch, row, step):
            done = tf.cast(step + config.progress_offset, tf.float32) / self.steps
            return {
                **batch,
                **self.augmentation.draw(config.seed, row["position"]),
                "progress": tf.fill(tf.shape(row["position"]), done),
            }

        return tf.data.Dataset.zip(data, rows, steps).map(columns)

    def denominators(self, batch):
        """Returns the pictures in a batch."""
        return {"examples": tf.reduce_sum(batch["weight"])}

    def loss(self, model, batch, denominators, training=True):
        """Returns this part's share of the mean loss over the global batch."""
        config = self.config
        images = self.augmentation.crop(
            batch["image"], batch, lambda x: normalise(x, self.preprocessing)
        )
        images = self.augmentation.cut(images, batch)
        inputs = {"image": images, "progress": batch["progress"][0]}
        outputs = model(inputs, training=training)
        soft = losses.targets(
            batch["label"], len(self.class_names), config.label_smoothing
        )
        weight, count = batch["weight"], denominators["examples"]
        each = losses.softmax(outputs["logits"], soft)
        metrics = {}
        total = tf.reduce_sum(weight)
        for name, values in (
            ("accuracy", losses.correct(outputs["logits"], batch["label"], 1)),
            ("cross_entropy", each),
        ):
            metrics[name] = (tf.reduce_sum(values * weight), total)
        if "aux_logits" in outputs and config.aux_weight:
            each += config.aux_weight * losses.softmax(outputs["aux_logits"], soft)
        share = tf.reduce_sum(each * weight) / count
        if config.weight_decay:
            share += config.weight_decay * self._squares(model) * (total / count)
        return share, metrics

    def _squares(self, model) -> tf.Tensor:
        """Returns half the sum of squares of what is decayed."""
        kinds = {"kernels": model.kernels, "all": lambda: model.trainable_variables}
        weights = kinds[self.config.decayed]()
        if not self.config.train_aux_head:
            fixed = {id(v) for v in model.auxiliary()}
            weights = [v for v in weights if id(v) not in fixed]
        return tf.add_n([tf.nn.l2_loss(tf.convert_to_tensor(v)) for v in weights])

    # --- what came out -----------------------------------------------------------

    def evaluate(self, learner) -> dict[str, float]:
        """Returns the error in percent over all pictures, and the parameters."""
        average_statistics(learner.model, learner.strategy)
        if self._measure is None:
            self._measure = measuring.Measure(
                learner.strategy,
                lambda batch: measuring.rows(self._logits(learner.model, batch), batch),
                self.config.on_bad,
            )
        replicas = learner.strategy.num_replicas_in_sync
        metrics = self._measure(self._open("validation"), self._plan(replicas))
        return {
            "error": 100.0 - metrics["top1"],
            **metrics,
            "parameters": float(learner.model.num_parameters()),
        }

    def _logits(self, model, batch):
        return model({"image": normalise(batch["image"], self.preprocessing)})["logits"]

    def _plan(self, replicas: int):
        """Returns the batches in which the pictures are measured: once, no crops."""
        config, count = self.config, len(self._open("validation"))
        batch = min(int(config.evaluation.batch_size), count)
        batch = -(-batch // replicas) * replicas
        resize = round(config.size * config.resize_ratio)
        return square_plan(count, batch, config.size, resize)

    def samples(self, learner, step) -> dict[str, np.ndarray]:
        """Returns some validation pictures with what the network sees on them."""
        source = self._open("validation")
        chosen = np.linspace(0, len(source) - 1, min(SAMPLES, len(source)))
        first = self._plan(1)[0]._replace(indices=chosen.astype(np.int64))
        (batch,) = evaluation_images(source, [first], on_bad=self.config.on_bad)
        sheet = contact_sheet.labelled(
            batch["image"].numpy(),
            batch["label"].numpy(),
            tf.nn.softmax(self._logits(learner.model, batch)).numpy(),
            self.class_names,
            len(source),
        )
        return {"validation": sheet}

    def score(self, metrics) -> float:
        """Returns top-1."""
        return metrics["top1"]

    def remarks(self) -> list[str]:
        """Returns the pictures left out."""
        lines = []
        for split, source in self.sources.items():
            if len(source.bad):
                lines.append(f"{split}: {len(source.bad)} pictures left out:")
                lines += [f"  {line}" for line in source.bad.lines()]
        return lines

    def model_config(self) -> dict[str, Any]:
        """Returns `config.json` of the model directory."""
        config = self.config
        return {
            "model": "automl",
            "network": self.network,
            "preprocessing": self.preprocessing,
            "test_size": config.size,
            "resize": round(config.size * config.resize_ratio),
            "classes": classes.ASSET,
            "data": config.data,
        }

    def assets(self) -> dict[str, Any]:
        """Returns the classes' names, and the picture of the cells if there is one."""
        names = tuple(classes.ClassName(name) for name in self.class_names)
        found: dict[str, Any] = {classes.ASSET: classes.text(classes.named(names))}
        if self.config.start == "architecture":
            picture = pathlib.Path(self.config.init_from, model_dir.ASSETS, "cell.png")
            if picture.is_file():
                found["cell.png"] = picture
        return found

    def summary(self, before, after, model) -> list[str]:
        """Returns what to try next."""
        return [
            f"tfdl evaluate --model_dir={model}",
            f"tfdl predict --model_dir={model} --input=PICTURES --output=sheet",
            f"tfdl export --model_dir={model} --output=saved_models/automl",
        ]
