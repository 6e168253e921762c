"""Small runs and small models."""

import dataclasses

from tfdl.engine import config as config_lib
from tfdl.engine import model_dir
from tfdl.models.biggan import recipes, standing
from tfdl.models.biggan.model import build_generator
from tfdl.models.biggan.plans import GeneratorConfig

CLASSES = "a\nn01440764\ttench\nb\ntench 2\n"


def recipe(**fields):
    """Returns a recipe of digits that takes seconds."""
    config = recipes.common("tiny", num_classes=10, image_channels=1)
    for name in ("generator", "discriminator"):
        config[name].channels = 2
        config[f"{name}_rate"] = 1e-3
    config.data = "embedded:square-digits"
    config.batch_size = 8
    config.iteration.discriminator_steps = 2
    config.iterations = 6
    config.checkpoint_every = config.steps_per_loop = config.log_every = 2
    config.eval_every = 0
    config.ema_decay, config.ema_start = 0.5, 2
    config.standing.passes, config.standing.batch_size = 2, 8
    config.standing.rows = 3
    config.evaluation.extractor, config.evaluation.samples = "pixels", 96
    config.evaluation.batch_size, config.evaluation.real = 32, 128
    for name, value in fields.items():
        node = config
        *path, last = name.split("__")
        for part in path:
            node = node[part]
        node[last] = value
    return config


def write_recipe(folder, **fields):
    """Writes the recipe as a file."""
    path = folder / "recipe.json"
    path.write_text(config_lib.to_json(recipe(**fields)))
    return path


def save_model(folder, shared_dim=4, table=True, classes=4, **fields):
    """Writes a random generator's model directory."""
    settings = {
        "channels": 2,
        "num_classes": classes,
        "dim_z": 8,
        "shared_dim": shared_dim,
        "hierarchical": bool(shared_dim),
        **fields,
    }
    generator = build_generator(GeneratorConfig.preset("tiny", **settings))
    if table:
        generator = standing.in_rows(generator, 3)
    config = {
        "model": "biggan",
        "generator": dataclasses.asdict(generator.config),
        "discriminator": None,
        "classes": "classes.txt" if classes == 4 else None,
        "resolution": 32,
        "data": "embedded:square-digits",
    }
    assets = {"classes.txt": CLASSES} if classes == 4 else {}
    return model_dir.save(folder, config, generator, assets)
