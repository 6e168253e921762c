"""Channel plans and presets."""

from typing import Any

from tfdl.engine import errors

# Channels of the blocks as multiples of the width, by resolution: generator's inputs
# and outputs, discriminator's outputs, deep discriminator's outputs after its stem.
GENERATOR = {
    32: ((4, 4, 4), (4, 4, 4)),
    64: ((16, 16, 8, 4), (16, 8, 4, 2)),
    128: ((16, 16, 8, 4, 2), (16, 8, 4, 2, 1)),
    256: ((16, 16, 8, 8, 4, 2), (16, 8, 8, 4, 2, 1)),
    512: ((16, 16, 8, 8, 4, 2, 1), (16, 8, 8, 4, 2, 1, 1)),
}
DISCRIMINATOR = {
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
}
DEEP_DISCRIMINATOR = {
    32: (4, (4, 4, 4)),
    64: (1, (2, 4, 8, 16)),
    128: (1, (2, 4, 8, 16, 16)),
    256: (1, (2, 4, 8, 8, 16, 16)),
    512: (1, (1, 2, 4, 8, 8, 16, 16)),
}


def _resolution_preset(size: int, deep: bool) -> dict[str, dict[str, Any]]:
    dim_z = {32: 128, 64: 120, 128: 120, 256: 140, 512: 160}[size]
    both = {
        "kind": "deep" if deep else "biggan",
        "channels": 128 if deep else 96,
        "resolution": size,
    }
    places = "64" if size >= 128 else ("32" if size == 64 else "0")
    wide = size == 256 and not deep
    return {
        "generator": {
            **both,
            "dim_z": 128 if deep else dim_z,
            "attention": "128" if wide else places,
        },
        "discriminator": {
            **both,
            "attention": places,
            # compare_gan's: there is no other discriminator of this size.
            **({"equal_width_shortcut": False} if size == 512 and not deep else {}),
        },
    }


_SMALL = {"resolution": 32, "num_classes": 10}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    **{f"biggan-{size}": _resolution_preset(size, False) for size in GENERATOR},
    **{f"biggan-deep-{size}": _resolution_preset(size, True) for size in GENERATOR},
    # The original's script for CIFAR-10.
    "cifar10": {
        "generator": {
            **_SMALL,
            "channels": 64,
            "dim_z": 128,
            "shared_dim": 0,
            "hierarchical": False,
            "initialisation": "N02",
            "spectral_epsilon": 1e-8,
        },
        "discriminator": {
            **_SMALL,
            "channels": 64,
            "initialisation": "N02",
            "spectral_epsilon": 1e-8,
        },
    },
    # PyTorch-StudioGAN's.
    "cifar10-studio": {
        "generator": {**_SMALL, "channels": 96, "dim_z": 80, "attention": (1,)},
        "discriminator": {
            **_SMALL,
            "channels": 96,
            "widths": (2, 2, 2, 2),
            "attention": (0,),
        },
    },
    "tiny": {
        "generator": {
            **_SMALL,
            "channels": 8,
            "dim_z": 32,
            "shared_dim": 16,
            "attention": "16",
        },
        "discriminator": {**_SMALL, "channels": 8, "attention": (0,)},
    },
}


def find(name: str) -> dict[str, dict[str, Any]]:
    """Returns the fields of a preset's generator and discriminator."""
    if name not in PRESETS:
        raise errors.unknown("BigGAN", name, PRESETS)
    return PRESETS[name]
