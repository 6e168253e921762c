"""The flags by which every verb that computes chooses its devices."""

from typing import TYPE_CHECKING

from absl import flags

if TYPE_CHECKING:
    import tensorflow as tf

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")


def define(flag_values: flags.FlagValues) -> None:
    """Defines --strategy, --num_devices and --tpu."""
    flags.DEFINE_enum(
        "strategy",
        "auto",
        STRATEGIES,
        "How the work is spread: auto takes the TPU that --tpu names, the workers of "
        "TF_CONFIG, all GPUs, or the one device there is.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "num_devices",
        0,
        "Devices to use on this machine; 0 is all GPUs or one CPU. Without GPUs, "
        "--strategy=mirrored --num_devices=2 makes two logical CPU devices.",
        lower_bound=0,
        flag_values=flag_values,
    )
    flags.DEFINE_string("tpu", "", "Name or address of a TPU.", flag_values=flag_values)


def strategy(values: flags.FlagValues) -> "tf.distribute.Strategy":
    """Creates the strategy that the flags ask for."""
    from tfdl.engine import distribution

    return distribution.create(values.strategy, values.num_devices, values.tpu)
