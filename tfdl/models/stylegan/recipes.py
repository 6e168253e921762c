"""What the recipes of stylegan share."""

from ml_collections import ConfigDict, config_dict

from tfdl.engine.config import base_config
from tfdl.models.stylegan.config import DiscriminatorConfig, GeneratorConfig

# The original's batches and rates by resolution, 0 for all others.
BATCHES = {
    1: "0:4 4:128 8:128 16:128 32:64 64:32 128:16 256:8 512:4",
    2: "0:8 4:256 8:256 16:128 32:64 64:32 128:16 256:8",
    4: "0:16 4:512 8:256 16:128 32:64 64:32 128:16",
    8: "0:32 4:512 8:256 16:128 32:64 64:32",
}
RATES = "0:0.001 128:0.0015 256:0.002 512:0.003 1024:0.003"
# The generators of table 1's rows: what differs from the whole method, F.
ROWS = {
    "b": {
        "use_styles": False,
        "use_pixel_norm": True,
        "use_instance_norm": False,
        "mapping_layers": 0,
        "const_input_layer": False,
        "use_noise": False,
        "style_mixing_prob": 0.0,
        "truncation_psi": None,
    },
    "c": {"const_input_layer": False, "use_noise": False, "style_mixing_prob": 0.0},
    "d": {"use_noise": False, "style_mixing_prob": 0.0},
    "e": {"style_mixing_prob": 0.0},
    "f": {},
}


def base(resolution: int, data: str = "") -> ConfigDict:
    """Returns the original's settings for one device; total length and all."""
    config = base_config()
    config.model, config.task = "stylegan", "train"
    config.data = data
    config.labels = "none"  # full: of sub-folders, dataset.json or *.labels
    config.sizes = "exact"  # any: crop and resize; pad: black bars
    config.background = "white"  # behind transparent pictures
    config.on_bad = "skip"  # or stop: what a file does that cannot be read
    config.hold_mb = 1024  # up to how many MB of pictures are held in memory
    config.mirror = False  # every other picture is mirrored
    config.table1 = "f"  # a row of the paper's table 1, b to f: see ROWS
    config.generator = ConfigDict(GeneratorConfig(resolution=resolution).to_dict())
    critic = DiscriminatorConfig(resolution=resolution).to_dict()
    config.discriminator = ConfigDict(critic)
    config.generator_loss = "non_saturating"
    config.discriminator_loss = discriminator_loss("logistic", r1_gamma=10.0)
    config.growing = ConfigDict(
        {
            "start": 8,  # resolution to begin with
            "total_kimg": 25_000.0,  # thousands of real pictures shown
            "stable_kimg": 600.0,
            "transition_kimg": 600.0,
            "batch_sizes": BATCHES[1],
            "most_per_replica": "",
            "rates": RATES,
            "discriminator_rates": "",  # the same
            "ramp_up_kimg": 0.0,
            "repeats": 4,  # steps with one value of the lod
            "discriminator_steps": 1,
            "ticks": "",  # thousands of pictures in a tick; empty: the original's
        }
    )
    config.devices = 0  # the original's, whose batches are looked at one by one
    config.optimizer = ConfigDict(
        {"name": "adam", "beta_1": 0.0, "beta_2": 0.99, "epsilon": 1e-8}
    )
    config.optimizer.epsilon_hat = True
    config.ema_half_life_kimg = 10.0
    config.ema_decay = 0.999  # switches averaging on; every phase sets its own
    config.skips = 10  # updates in a row that may be left out as not finite
    config.samples = ConfigDict(
        {"rows": 4, "columns": 8, "psi": 0.7, "seed": 0, "every_ticks": 1.0}
    )
    config.evaluation = evaluation()
    config.log_every = 50
    config.checkpoint_every = 1000
    return config


def evaluation() -> ConfigDict:
    """Returns how generators are measured by default."""
    return ConfigDict(
        {
            "metrics": ("fid", "prdc"),
            "samples": 10_000,
            "real_images": 50_000,
            "extractor": "smallcnn",
            "perceptual": "smallcnn",
            "batch_size": 16,
            "pairs": 500,
            "epsilon": 1e-4,
            "paths": ("zfull", "wfull", "zend", "wend"),
            "crop": False,
            "classifiers": "",  # pattern of pickled attribute classifiers
            "separability_samples": 2000,
            "neighbours": 3,
            "splits": 10,
            "truncation_psi": config_dict.placeholder(float),
            "truncation_cutoff": config_dict.placeholder(int),
            "seed": 0,
        }
    )


def discriminator_loss(name: str, **weights: float) -> ConfigDict:
    """Returns a discriminator's loss; weights that are not given are 0."""
    fields = {"r1_gamma": 0.0, "r2_gamma": 0.0, "gp_weight": 0.0, "gp_target": 1.0}
    return ConfigDict({"name": name, **fields, "drift": 0.0, **weights})


def wgan_gp(config: ConfigDict) -> ConfigDict:
    """Makes a recipe use WGAN-GP, as CelebA-HQ's does; returns it."""
    config.generator_loss = "wgan"
    config.discriminator_loss = discriminator_loss("wgan", gp_weight=10.0, drift=0.001)
    # Not above 0.002.
    config.growing.rates = "0:0.001 128:0.0015 256:0.002 512:0.002 1024:0.002"
    return config


def small(resolution: int, channels: int) -> ConfigDict:
    """Returns settings for small pictures and minutes instead of weeks."""
    config = base(resolution)
    config.generator.num_channels = channels
    for network in (config.generator, config.discriminator):
        network.fmap_base, network.fmap_max = 8 * resolution, resolution
    config.generator.latent_size = config.generator.dlatent_size = 64
    config.generator.mapping_fmaps, config.generator.mapping_layers = 64, 4
    config.growing.stable_kimg = config.growing.transition_kimg = 16.0
    config.growing.total_kimg = 96.0
    config.growing.batch_sizes = "0:16 8:64 16:32"
    config.growing.rates = "0:0.003"
    config.growing.ticks = "0:16"
    config.ema_half_life_kimg = 2.0
    config.evaluation.samples = config.evaluation.real_images = 1000
    config.log_every, config.steps_per_loop = 100, 50
    return config
