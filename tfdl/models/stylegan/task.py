"""Training a StyleGAN that grows, and what is shown and kept of it."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.data import class_names, indexed
from tfdl.engine import errors, model_dir, options
from tfdl.engine.ema import half_life
from tfdl.engine.phases import Phase, total_steps
from tfdl.engine.task import Task
from tfdl.gan import losses, sheets, steps
from tfdl.models.stylegan import growing, iteration, recipes, sources
from tfdl.models.stylegan import model as networks
from tfdl.models.stylegan.config import DiscriminatorConfig, GeneratorConfig
from tfdl.models.stylegan.drawing import Drawer
from tfdl.models.stylegan.names import variable_names

NETWORKS = ("generator", "discriminator")
# Fewer pictures than this are learned by heart.
_ADVISED = 1000
# On a sheet small pictures are enlarged to about so many pixels.
_SHOWN = 64


class StyleGANTask(Task):
    """Both networks, trained on `config.data` (docs/stylegan.md)."""

    def __init__(self, config, workdir):
        super().__init__(config, workdir)
        if config.generator_loss not in losses.GENERATOR:
            raise errors.unknown(
                "generator_loss", config.generator_loss, losses.GENERATOR
            )
        self.discriminator_loss = losses.DiscriminatorLoss(
            **config.discriminator_loss.to_dict()
        )
        self.half_life = 1000 * options.number(
            "ema_half_life_kimg", config.ema_half_life_kimg
        )
        self._learner = None

    # --- data and architecture -----------------------------------------------------

    def prepare(self) -> None:
        """Opens the pictures; the networks have their channels and labels."""
        config, given = self.config, self._given()
        resolution = given["generator"]["resolution"]
        self.pictures = self._open(resolution, given["generator"]["num_channels"])
        if self.pictures.resolution != resolution:
            raise errors.UserError(
                f"the networks are for {resolution}x{resolution}, {config.data} has "
                f"{self.pictures.resolution}x{self.pictures.resolution}"
            )
        found = {
            "resolution": resolution,
            "num_channels": self.pictures.channels,
            "label_size": self.pictures.label_size,
        }
        if config.init_from:
            self._same(given["generator"], found)
        self.generator_config = GeneratorConfig.from_dict(given["generator"] | found)
        self.discriminator_config = DiscriminatorConfig.from_dict(
            given["discriminator"] | found
        )

    def prepare_plan(self) -> None:
        """Reads the networks' sizes; the schedule does not depend on the pictures."""
        given = self._given()
        self.generator_config = GeneratorConfig.from_dict(given["generator"])

    def _given(self) -> dict[str, dict[str, Any]]:
        """Returns the networks that the recipe, or what it starts from, has."""
        given = {name: self.config[name].to_dict() for name in NETWORKS}
        given["generator"] |= self._row(given["generator"])
        if self.config.init_from:
            given |= self._saved(self.config.init_from)
        growing.log2_of(given["generator"]["resolution"])
        return given

    def _row(self, generator: dict[str, Any]) -> dict[str, Any]:
        """Returns what a row of table 1 changes in the generator."""
        name = self.config.table1
        if name not in recipes.ROWS:
            raise errors.unknown("row of table 1", name, recipes.ROWS)
        if name == "b":  # w is z
            generator["dlatent_size"] = generator["latent_size"]
        return recipes.ROWS[name]

    def _open(self, resolution: int, channels: int):
        config = self.config
        return sources.open_pictures(
            config.data,
            resolution,
            channels=channels,
            labels=config.labels,
            sizes=config.sizes,
            background=config.background,
            on_bad=config.on_bad,
            hold_mb=config.hold_mb,
        )

    def _saved(self, source: str) -> dict[str, Any]:
        saved = model_dir.read_config(source)
        if saved["model"] != "stylegan":
            raise errors.UserError(f"{source} holds a {saved['model']}, no stylegan")
        if not saved.get("discriminator"):
            raise errors.UserError(
                f"{source} has no discriminator, so that it cannot be trained on"
            )
        return {name: dict(saved[name]) for name in NETWORKS}

    def _same(self, saved, found) -> None:
        for name, value in found.items():
            if saved[name] != value:
                raise errors.UserError(
                    f"{self.config.init_from} has {name} {saved[name]}, "
                    f"{self.config.data} needs {value}"
                )

    def prepare_evaluation(self, data: str | None) -> None:
        """Opens what is measured on; the networks are the model directory's."""
        config = self.config
        saved = model_dir.read_config(config.init_from)
        config.data = data or saved.get("data") or config.data
        if not config.data:
            raise errors.UserError(
                "--data is needed: the real pictures that a generator is held against"
            )
        self.generator_config = GeneratorConfig.from_dict(saved["generator"])
        for name in ("labels", "sizes", "background", "mirror"):
            config[name] = saved.get(name, config[name])
        self.pictures = self._open(
            self.generator_config.resolution, self.generator_config.num_channels
        )

    def schedule(self) -> growing.Schedule:
        """Returns the plan of the run, for its replicas."""
        grow, tables = self.config.growing, {}
        for name in ("batch_sizes", "most_per_replica", "rates", "ticks"):
            tables[name] = growing.table(name, grow[name])
        critic = growing.table("discriminator_rates", grow.discriminator_rates)
        parts = self.replicas * self.config.gradient_accumulation
        self.devices = self.config.devices or parts
        if self.devices % parts:
            raise errors.UserError(
                f"the plan is for {self.devices} devices, which {self.replicas} "
                f"replicas with {self.config.gradient_accumulation} parts each cannot "
                "share evenly; --config.devices=0 plans for those there are"
            )
        return growing.Schedule(
            self.generator_config.resolution,
            start=min(grow.start, self.generator_config.resolution),
            total_kimg=grow.total_kimg,
            stable_kimg=grow.stable_kimg,
            transition_kimg=grow.transition_kimg,
            replicas=self.devices,
            batch_sizes=tables["batch_sizes"],
            most_per_replica=tables["most_per_replica"],
            generator_rates=tables["rates"],
            discriminator_rates=critic or tables["rates"],
            ramp_up_kimg=grow.ramp_up_kimg,
            repeats=grow.repeats,
            discriminator_steps=grow.discriminator_steps,
            ticks=tables["ticks"] or growing.TICKS,
        )

    # --- the engine's questions ----------------------------------------------------

    def networks(self):
        """Returns the generator and the discriminator."""
        self.skips = steps.Skips(NETWORKS, self.config.skips)
        return {
            "generator": networks.build_generator(self.generator_config),
            "discriminator": networks.build_discriminator(self.discriminator_config),
        }

    def optimizers(self) -> dict[str, Any]:
        """Returns both optimizers."""
        return {name: self.config.optimizer.to_dict() for name in NETWORKS}

    def variable_names(self, name, network):
        """Returns the trained weights by the original's names."""
        return variable_names(network)

    def state(self):
        """Returns the counts of updates that were left out."""
        return self.skips.variables

    def initialise(self, learner, source: str) -> list[str]:
        """Starts from a model directory: both networks and the averages."""
        import tfdl

        average = tfdl.load(source)
        raw = networks.load_training_generator(source)
        critic = networks.load_discriminator(source)
        learner.model.set_weights(average.get_weights())
        if learner.ema is not None:
            learner.ema.begin()
        if raw is not None:
            learner.model.set_weights(raw.get_weights())
        learner.networks["discriminator"].set_weights(critic.get_weights())
        return []

    def phases(self) -> list[Phase]:
        """Returns a phase for every stretch of the growing schedule."""
        self.plan_of_growth = self.schedule()
        found = []
        for index, stretch in enumerate(self.plan_of_growth.stretches()):
            self._check_groups(stretch.values)
            found.append(
                Phase(
                    stretch.name,
                    steps=stretch.steps,
                    batch_size=stretch.values.batch_size,
                    learning_rate=self._rate(stretch),
                    eval_every=self._eval_every(stretch.values),
                    gradient_accumulation=self.config.gradient_accumulation,
                    options={"stretch": stretch, "index": index},
                )
            )
        self.total = total_steps(found)
        return found

    def _rate(self, stretch):
        schedule = self.plan_of_growth

        def rate(step):
            return iteration.learning_rates(schedule, stretch, step)["generator"]

        return rate

    def _check_groups(self, values: growing.Values) -> None:
        size = values.batch_size // self.devices
        group = min(self.discriminator_config.mbstd_group_size or 1, size)
        if size % max(group, 1):
            raise errors.UserError(
                f"a batch of {values.batch_size} at {values.resolution}x"
                f"{values.resolution} is {size} on each of {self.devices} devices, no "
                f"multiple of the {group} pictures whose deviation the discriminator "
                "sees"
            )

    def _eval_every(self, values: growing.Values) -> int:
        """Returns the steps between two sheets: whole groups of equal lod."""
        every = self.config.samples.every_ticks * values.tick_kimg * 1000
        repeats = self.plan_of_growth.repeats
        group = self.plan_of_growth.group_images(values.batch_size)
        return max(round(every / group), 1) * repeats if every else 0

    def phase_starts(self, phase, learner) -> None:
        """Forgets the optimizers' state, as both ends of a fade-in need it."""
        for optimizer in learner.optimizers.values():
            steps.restart(optimizer)

    def plan(self) -> list[str]:
        """Returns the table of the phases."""
        lines = [
            f"{'phase':<20} {'lod':>9} {'from kimg':>10} {'steps':>9} {'batch':>6} "
            f"{'rate':>8}"
        ]
        for stretch in self.schedule().stretches():
            values, top = stretch.values, stretch.level + stretch.fading
            lod = f"{top} to {stretch.level}" if stretch.fading else f"{stretch.level}"
            lines.append(
                f"{stretch.name:<20} {lod:>9} {stretch.first_image / 1000:>10,.1f} "
                f"{stretch.steps:>9,} {values.batch_size:>6,} "
                f"{self.schedule().rates_of(values.resolution)['generator']:>8g}"
            )
        return lines

    # --- a step --------------------------------------------------------------------

    def train_data(self, phase, start_step, shard):
        """Returns the phase's batches of real pictures, and labels to draw for."""
        pictures, index = self.pictures, phase.options["index"]
        size = phase.options["stretch"].values.resolution
        times = self.plan_of_growth.discriminator_steps
        part = shard.part(phase.batch_size)

        def rows(count, stream):
            seed = (self.config.seed * 1000 + index) * 2 + stream
            return indexed.index_batches(
                len(pictures), phase.batch_size * count, seed, start_step, shard
            )

        def batch(real, drawn):
            image = pictures.batch(real, size)
            label = pictures.label_batch(real)
            shape = [part, times, size, size, pictures.channels]
            return {
                "image": tf.reshape(image, shape),
                "label": tf.reshape(label, [part, times, pictures.label_size]),
                "drawn_label": pictures.label_batch(drawn),
            }

        pairs = tf.data.Dataset.zip(rows(times, 0), rows(1, 1))
        return pairs.map(batch, tf.data.AUTOTUNE)

    def train_step(self, learner, batch, phase, step):
        """Makes one iteration."""
        if learner.ema is not None:
            shown = self.plan_of_growth.discriminator_steps * phase.batch_size
            learner.ema.decay = half_life(max(self.half_life, 1e-3) / shown)
        run = iteration.Iteration(
            learner,
            self.plan_of_growth,
            phase.options["stretch"],
            phase,
            generator_loss=self.config.generator_loss,
            discriminator_loss=self.discriminator_loss,
            mirror=self.config.mirror,
            devices=self.devices,
            seed=(self.config.seed % 2**31, phase.options["index"]),
            skips=self.skips,
        )
        return run(batch, step)

    # --- what came out -------------------------------------------------------------

    def evaluate(self, learner) -> dict[str, float]:
        """Returns the metrics of the averaged generator: before and at the end."""
        if self.phase is not None:
            step = int(learner.step.numpy())
            if step not in (0, self.total):
                return {}
            learner.model.lod = float(self._stage(step))
        settings = self.config.evaluation.to_dict()
        if not settings["metrics"]:
            return {}
        from tfdl.models.stylegan import evaluation

        indices = np.arange(min(len(self.pictures), settings.pop("real_images")))
        size = self.pictures.resolution
        images = evaluation.RealPictures(
            lambda rows: self.pictures.read(rows, size),
            (len(indices), size, size, self.pictures.channels),
        )
        labels = None
        if self.pictures.label_size:
            labels = self.pictures.label_rows(indices)
        settings["mirror"] = self.config.mirror
        return evaluation.evaluate(learner.model, images, labels, settings)

    def _stage(self, step: int) -> int:
        """Returns floor(lod) at a step; of the end at step 0."""
        if not step or step == self.total:
            return self.plan_of_growth.stretches()[-1].level
        return self.phase.options["stretch"].level

    def samples(self, learner, step) -> dict[str, np.ndarray]:
        """Returns a sheet of generated pictures, with the same latents each time."""
        if self.phase is None:
            return {}
        wanted = self.config.samples
        stretch = self.phase.options["stretch"]
        stage = 0.0 if step == 0 else float(stretch.level)
        if stretch.fading and step:
            done = step - self._steps_before(stretch)
            lod = iteration.fading(self.plan_of_growth, stretch, tf.constant(done))
            stage += float(lod)
        count = wanted.rows * wanted.columns
        drawer = Drawer(learner.model, min(count, 16))
        z = drawer.latents([wanted.seed + i for i in range(count)])
        labels = self._sheet_labels(wanted)
        w = drawer.truncate(drawer.styles(z, labels), wanted.psi, len(z[0]))
        images = drawer.pictures(w, "stored", lod=stage, native=True)
        found = {"generated": self._sheet(images, wanted.columns)}
        if step == 0:
            rows = np.random.RandomState(0).permutation(len(self.pictures))
            rows = np.resize(rows, count)
            size = self.pictures.resolution
            found["real"] = self._sheet(self.pictures.read(rows, size), wanted.columns)
        return found

    def _steps_before(self, stretch: growing.Stretch) -> int:
        before = (
            one.steps
            for one in self.plan_of_growth.stretches()
            if one.first_image < stretch.first_image
        )
        return sum(before)

    def _sheet_labels(self, wanted) -> np.ndarray | None:
        """Returns labels of a sheet: column by column the classes, in turn."""
        if not self.pictures.label_size:
            return None
        places = np.arange(wanted.rows * wanted.columns) % wanted.columns
        if self.pictures.classes:
            return np.eye(self.pictures.label_size, dtype=np.float32)[
                places % self.pictures.label_size
            ]
        return self.pictures.label_rows(places % len(self.pictures))

    def _sheet(self, images: np.ndarray, columns: int) -> np.ndarray:
        factor = max(_SHOWN // images.shape[1], 1)
        return sheets.tile(sheets.enlarge(images, factor), columns, gap=2)

    def kept_model(self, learner):
        """Returns the averaged generator."""
        self._learner = learner
        return learner.model

    def model_config(self) -> dict[str, Any]:
        """Returns `config.json` of the model directory."""
        config = self.config
        return {
            "model": "stylegan",
            "generator": self.generator_config.to_dict(),
            "discriminator": self.discriminator_config.to_dict(),
            "lod": float(self.plan_of_growth.lod(1000 * config.growing.total_kimg)),
            "classes": class_names.ASSET if self.pictures.classes else None,
            **{name: config[name] for name in ("data", "labels", "sizes")},
            **{name: config[name] for name in ("background", "mirror")},
        }

    def assets(self) -> dict[str, bytes | str]:
        """Returns the networks as trained, and the classes' names."""
        learner, found = self._learner, {}

        def read():
            pair = (learner.networks[name] for name in NETWORKS)
            with networks.training_assets(*pair) as paths:
                return {name: path.read_bytes() for name, path in paths.items()}

        if learner.ema is None:
            found |= read()
        else:
            with learner.ema.unswapped():
                found |= read()
        if self.pictures.classes:
            names = tuple(map(class_names.ClassName, self.pictures.classes))
            found[class_names.ASSET] = class_names.text(names)
        return found

    def remarks(self) -> list[str]:
        """Returns what the data lacked and which updates were left out."""
        lines = self.pictures.left_out()
        if len(self.pictures) < _ADVISED:
            lines.append(
                f"only {len(self.pictures):,} pictures: they are learned by heart; "
                "thousands are needed for new ones"
            )
        for name, total in self.skips.totals.items():
            if count := int(total.numpy()):
                lines.append(f"NaN or Inf: {count} updates of the {name} left out")
        return lines

    def summary(self, before, after, model) -> list[str]:
        """Returns what to try next."""
        label = " --labels=0" if self.pictures.label_size else ""
        return [
            f"tfdl predict --model_dir={model} --output=pictures --num_samples=16"
            f" --truncation=0.7{label}",
            f"tfdl evaluate --model_dir={model}",
            f"tfdl export --model_dir={model} --output=saved_models/stylegan",
        ]
