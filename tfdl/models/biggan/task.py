"""Training a class-conditional BigGAN, and what is shown and kept of it."""

import dataclasses
import json
import math
import re
from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.data import class_names, image_sources, square_images
from tfdl.engine import distribution, errors, files, model_dir, options
from tfdl.engine.phases import Phase, total_steps
from tfdl.engine.task import Task
from tfdl.models.biggan import (
    batches,
    fine_tuning,
    keeping,
    latents,
    sampling,
    standing,
)
from tfdl.models.biggan import model as networks
from tfdl.models.biggan.collapse import Detector, Signs
from tfdl.models.biggan.iteration import Iteration, Steps
from tfdl.models.biggan.measuring import Measure, Options
from tfdl.models.biggan.names import named_variables, spectral_layers, trainable_names
from tfdl.models.biggan.plans import DiscriminatorConfig, GeneratorConfig

NETWORKS = ("generator", "discriminator")
SIZES = ("any", "exact")
# What the collapse detector is told of the last steps, averaged over about so many.
_RECENT = 50
_WATCHED = ("discriminator_real_loss", "discriminator_fake_loss", "generator_loss")
_BEST = "best"


class BigGANTask(Task):
    """Both networks, trained on `config.data` (docs/biggan.md)."""

    def __init__(self, config, workdir):
        super().__init__(config, workdir)
        self.steps = _options(Steps, "iteration", config.iteration)
        self.signs = _options(Signs, "collapse", config.collapse)
        self.measuring = _options(Options, "evaluation", config.evaluation)
        self.standing = standing.Standing(
            config.standing.passes,
            config.standing.batch_size,
            config.latents,
            config.seed,
        )
        latents.check(config.latents, self.measuring.truncation)
        if config.sizes not in SIZES:
            raise errors.unknown("sizes", config.sizes, SIZES)
        if config.gradient_accumulation != 1:
            raise errors.UserError(
                "BigGAN accumulates by iteration.discriminator_accumulation and "
                "iteration.generator_accumulation"
            )
        self.detector: Detector | None = None
        self.measure: Measure | None = None
        self.sampler: sampling.Sampler | None = None
        self.kept: keeping.Kept | None = None

    # --- data and architecture ---------------------------------------------------

    def prepare(self) -> None:
        """Opens the pictures; their classes are the networks'."""
        config = self.config
        self.source = image_sources.open_source(
            config.data, "train", on_bad=config.on_bad
        )
        self.class_names = self.source.classes
        count = config.classes or len(self.class_names)
        if count < len(self.class_names):
            raise errors.UserError(
                f"--config.classes={count}, but {config.data} has "
                f"{len(self.class_names)} classes"
            )
        self._architecture(count)
        if config.sizes == "exact":
            square_images.check_sizes(self.source, self.resolution, config.on_bad)

    def _architecture(self, classes: int) -> None:
        """Reads the networks' sizes: the recipe's, or those of what it starts from."""
        config = self.config
        given = {name: config[name].to_dict() for name in NETWORKS}
        if config.init_from:
            given |= fine_tuning.architecture(config.init_from)
        generator = GeneratorConfig.from_dict(
            {**given["generator"], "num_classes": classes}
        )
        # A table of statistics is made at the end; training moves running ones.
        self.generator_config = dataclasses.replace(generator, statistics="running")
        self.discriminator_config = DiscriminatorConfig.from_dict(
            {**given["discriminator"], "num_classes": classes}
        )
        self.resolution = generator.resolution
        if generator.image_channels != self.discriminator_config.image_channels:
            raise errors.UserError(
                "the generator's image_channels and the discriminator's differ"
            )

    def prepare_evaluation(self, data: str | None) -> None:
        """Opens what is measured on; the networks are the model directory's."""
        config = self.config
        saved = model_dir.read_config(config.init_from)
        fine_tuning.require_generator(saved, config.init_from)
        config.data = data or saved.get("data") or config.data
        if not config.data:
            raise errors.UserError(
                "--data is needed: the real pictures that a generator is held against"
            )
        generator = GeneratorConfig.from_dict(saved["generator"])
        self.generator_config, self.resolution = generator, generator.resolution
        self.source = image_sources.open_source(
            config.data, "train", on_bad=config.on_bad
        )
        self.class_names = self.source.classes

    def networks(self):
        """Returns the generator and the discriminator."""
        with_svs = {
            name: dataclasses.replace(
                settings, singular_values=max(1, self.config.singular_values)
            )
            for name, settings in (
                ("generator", self.generator_config),
                ("discriminator", self.discriminator_config),
            )
        }
        self.generator_config = with_svs["generator"]
        self.discriminator_config = with_svs["discriminator"]
        self.recent = tf.Variable(
            tf.zeros([len(_WATCHED)]),
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        return {
            "generator": networks.build_generator(self.generator_config),
            "discriminator": networks.build_discriminator(self.discriminator_config),
        }

    def optimizers(self) -> dict[str, Any]:
        """Returns both optimizers."""
        return {name: self.config[f"{name}_optimizer"].to_dict() for name in NETWORKS}

    def variable_names(self, name, network):
        """Returns the trained weights by BigGAN-PyTorch's names, with the network's."""
        return {f"{name}.{key}": v for key, v in trainable_names(network).items()}

    def averaged(self, network, trained):
        """Returns the whole generator: statistics and spectral vectors, too."""
        del trained
        return list(named_variables(network).values())

    def state(self):
        """Returns the losses of the last steps."""
        return [self.recent]

    def initialise(self, learner, source: str) -> list[str]:
        """Starts from a model directory, of other classes where the data's differ."""
        fresh = fine_tuning.initialise(
            learner, source, self.config.fine_tuning, self.source, self.resolution
        )
        if learner.ema is not None:
            learner.ema.begin()
        return fresh

    def phases(self) -> list[Phase]:
        """Returns the one phase: rates are constant."""
        config = self.config
        sizes = (config.batch_size, self.generator_batch_size)
        for size in sizes:
            if size < 1 or size % self.replicas:
                raise errors.UserError(
                    f"batches of {size} cannot be split evenly over {self.replicas} "
                    "replicas"
                )
        return [
            Phase(
                "train",
                steps=config.iterations,
                batch_size=config.batch_size,
                learning_rate=lambda step: tf.constant(self.rates()["generator"]),
                trainable=self.trainable,
                eval_every=config.eval_every,
            )
        ]

    @property
    def generator_batch_size(self) -> int:
        """Latents in a batch of the generator's step."""
        return self.config.generator_batch_size or self.config.batch_size

    def rates(self) -> dict[str, float]:
        """Returns the learning rates."""
        return {
            name: options.number(f"{name}_rate", self.config[f"{name}_rate"])
            for name in NETWORKS
        }

    def trainable(self, name: str) -> bool:
        """Tells whether a weight moves: no regex of `config.freeze` names it."""
        return not any(re.search(pattern, name) for pattern in self.config.freeze)

    # --- an iteration ------------------------------------------------------------

    def train_data(self, phase, start_step, shard):
        """Returns the iterations' batches."""
        config = self.config
        return batches.training_batches(
            self.source,
            self.steps,
            size=self.resolution,
            batch_size=config.batch_size,
            generator_batch_size=self.generator_batch_size,
            dim_z=self.generator_config.dim_z,
            num_classes=self.generator_config.num_classes,
            seed=config.seed,
            start=start_step,
            shard=shard,
            augment=config.augment,
            on_bad=config.on_bad,
        )

    def train_step(self, learner, batch, phase, step):
        """Makes an iteration; logs losses, norms and singular values."""
        rates = {name: tf.constant(rate) for name, rate in self.rates().items()}
        metrics = Iteration(learner, self.steps, *self._regularised(learner))(
            batch, phase, rates
        )
        losses = learner.all_reduce({name: metrics[name][0] for name in _WATCHED})
        losses = tf.stack([losses[name] for name in _WATCHED])
        share = tf.maximum(1.0 / _RECENT, 1.0 / (tf.cast(step, tf.float32) + 1.0))
        old = tf.convert_to_tensor(self.recent)
        self.recent.assign(old + share * (losses - old))
        one = tf.constant(1.0)
        for name, value in self._singular_values(learner).items():
            metrics[name] = (value, one)
        return metrics

    def _regularised(self, learner):
        """Returns the tables, and what orthogonal regularisation leaves alone."""
        tables, blacklist = {}, {"generator": ("generator.shared.weight",)}
        for name in NETWORKS:
            classes = learner.networks[name].config.num_classes
            tables[name] = tuple(
                key
                for key, variable in self.variable_names(
                    name, learner.networks[name]
                ).items()
                if fine_tuning.is_table(key, variable, classes)
            )
        return tables, blacklist

    def _singular_values(self, learner) -> dict[str, tf.Tensor]:
        """Returns the largest ones: the first layer's, and over each network."""
        found = {}
        for name in NETWORKS:
            layers = spectral_layers(learner.networks[name])
            if not layers:
                continue
            firsts = [tf.convert_to_tensor(layer.sv)[0] for layer in layers.values()]
            found[f"{name}_sigma0"] = tf.reduce_max(tf.stack(firsts))
            if name == "generator":
                values = tf.convert_to_tensor(layers["linear"].sv)
                for i in range(min(3, values.shape[0])):
                    found[f"linear_sigma{i}"] = values[i]
        return found

    # --- what came out -----------------------------------------------------------

    def evaluate(self, learner) -> dict[str, Any]:
        """Returns the metrics of the averaged generator's pictures."""
        measure, sampler = self.ready(learner)
        metrics = measure(sampler)
        if self.phase is not None:
            self._judge(learner, int(learner.step.numpy()), metrics)
        return metrics

    def ready(self, learner) -> tuple[Measure, sampling.Sampler]:
        """Returns what measures, and a sampler of the weights as they stand."""
        if self.measure is None:
            self.measure = Measure(
                self.measuring,
                self.source,
                self.resolution,
                self.generator_config.image_channels,
            )
        return self.measure, self._sampler(learner)

    def _sampler(self, learner) -> sampling.Sampler:
        if self.sampler is None:
            if self.phase is None and not self.config.standing.measure:
                generator = learner.model
            else:
                generator = standing.plain_copy(learner.model)
            self.sampler = sampling.Sampler(generator, self.standing)
        elif self.sampler.generator is not learner.model:
            standing.refresh(learner.model, self.sampler.generator)
            self.sampler.weights_changed()
        return self.sampler

    def _judge(self, learner, step: int, metrics: dict[str, Any]) -> None:
        """Looks for a collapse, and keeps the best generator."""
        sigma = self._sigma0(learner)
        if sigma is not None:
            metrics["sigma0"] = sigma
        if step:
            losses = self.recent.numpy()
            metrics |= {n: float(x) for n, x in zip(_WATCHED, losses, strict=True)}
        if self.detector is None:
            self.detector = Detector(self.signs)
            for record in self._evaluations(before=step):
                self.detector.see(self._signs_of(record))
        better = self.detector.see(self._signs_of(metrics))
        metrics["collapsed"] = float(self.detector.collapsed)
        if better and step and distribution.is_chief(learner.strategy):
            model_dir.save(
                self.workdir / _BEST,
                {**self._description(self.sampler.config), "step": step},
                self.sampler.generator,
                self._names_asset(),
            )

    def _sigma0(self, learner) -> float | None:
        layer = spectral_layers(learner.model).get("linear")
        return None if layer is None else float(layer.sv.numpy()[0])

    def _signs_of(self, metrics: dict[str, float]) -> dict[str, float]:
        known = ("sigma0", *_WATCHED)
        found = {name: metrics[name] for name in known if name in metrics}
        return {**found, "distance": metrics.get(self.measure.distance, math.inf)}

    def _evaluations(self, before: int) -> list[dict[str, Any]]:
        """Returns the run's evaluations so far, out of `metrics.jsonl`."""
        path = self.workdir / "metrics.jsonl"
        if not path.is_file() or not path.stat().st_size:
            return []
        records = map(json.loads, files.read_text(path, 1 << 30).splitlines())
        found = {
            record["step"]: record
            for record in records
            if record["kind"] == "eval" and record["step"] < before
        }
        return [found[step] for step in sorted(found)]

    def finished(self, metrics) -> bool:
        """Tells whether the run has collapsed."""
        return bool(self.signs.stop and metrics.get("collapsed"))

    def samples(self, learner, step) -> dict[str, np.ndarray]:
        """Returns a row of pictures per class; at the end one per truncation."""
        if self.phase is None or self.sampler is None:
            return {}
        sampler, names = self.sampler, self._labels()
        truncation = self.measuring.truncation
        found = {"classes": sampling.class_sheet(sampler, names, truncation=truncation)}
        if step == total_steps(self.phases()):
            count = min(10, len(names))
            chosen = np.unique(np.linspace(0, len(names) - 1, count).astype(int))
            found["truncation"] = sampling.truncation_sheet(sampler, chosen)
        return found

    def kept_model(self, learner):
        """Returns the generator with statistics for every truncation.

        It is the best one where the run collapsed or `config.keep` says so.
        """
        collapsed = self.detector is not None and self.detector.collapsed
        wanted = collapsed or self.config.keep == "best"
        best = self.workdir / _BEST
        self.kept = keeping.keep(
            learner,
            self.workdir,
            self.standing,
            self.config.standing.rows,
            best if wanted and best.is_dir() else None,
        )
        return self.kept.generator

    def model_config(self) -> dict[str, Any]:
        """Returns `config.json` of the model directory."""
        return {
            **self._description(self.kept.generator.config),
            "discriminator": self.discriminator_config.to_dict(),
            "weights": "best" if self.kept.is_best else "last",
        }

    def _description(self, generator: GeneratorConfig) -> dict[str, Any]:
        return {
            "model": "biggan",
            "source": "tfdl",
            "resolution": self.resolution,
            "generator": generator.to_dict(),
            "discriminator": None,
            "classes": class_names.ASSET,
            "latents": self.config.latents,
            "data": self.config.data,
        }

    def assets(self):
        """Returns the classes' names, and what training could go on with."""
        return {**self._names_asset(), **self.kept.assets}

    def _names_asset(self) -> dict[str, str]:
        names = tuple(class_names.ClassName(name) for name in self._labels())
        return {class_names.ASSET: class_names.text(class_names.named(names))}

    def _labels(self) -> list[str]:
        """Returns a name for every class of the generator."""
        count = self.generator_config.num_classes
        spare = class_names.numbered(count)[len(self.class_names) :]
        return [*self.class_names, *(label.name for label in spare)][:count]

    def score(self, metrics) -> float:
        """Returns the negative Frechet distance."""
        found = [v for k, v in metrics.items() if k.startswith(("fid", "fcd_"))]
        return -found[0] if found else 0.0

    def remarks(self) -> list[str]:
        """Returns what was measured, and whether the run collapsed."""
        lines = []
        if self.detector is not None and self.detector.reasons:
            lines.append(f"signs of a collapse: {'; '.join(self.detector.reasons)}")
        if self.kept is not None and self.kept.is_best:
            saved = json.loads(files.read_text(self.workdir / _BEST / model_dir.CONFIG))
            lines.append(f"the model is the best one, of step {saved['step']:,}")
        if self.measure is not None and self.sampler is not None:
            lines.append(
                f"{self.measure.distance}: {self.measuring.samples:,} pictures against "
                f"{self.measure.real.count:,}, truncation "
                f"{self.measuring.truncation:g} ({self.config.latents}), statistics "
                f"{self.sampler.statistics()}"
            )
        lines += [f"left out: {line}" for line in self.source.bad.lines()]
        return lines

    def summary(self, before, after, model) -> list[str]:
        """Returns where to look, and what to try next."""
        return [
            f"class sheets: {self.workdir / 'samples'}",
            f"tfdl predict --model_dir={model} --output=samples.png --truncation=0.5",
            f"tfdl evaluate --model_dir={model} --recipe=truncation",
            f"tfdl export --model_dir={model} --output=saved_models/biggan",
        ]


def _options(kind, name: str, given) -> Any:
    """Returns a dataclass of options, or raises `UserError` for one it has not."""
    known = [field.name for field in dataclasses.fields(kind)]
    values = given.to_dict()
    for key in values:
        if key not in known:
            raise errors.unknown(f"field of {name}", key, known)
    return kind(**values)
