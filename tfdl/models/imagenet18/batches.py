"""What a schedule's batches become on the devices there are."""

import dataclasses
import math

from tfdl.data import indexed
from tfdl.engine import errors
from tfdl.models.imagenet18.schedule import Data, Schedule

POLICIES = ("keep", "scale")


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Epochs over which data and batches do not change.

    Attributes:
        start: the first epoch.
        end: the epoch after the last.
        data: the schedule's data phase.
        batch_size: images of a full step, over all devices.
        micro_batches: parts a device computes one after the other.
        steps: steps of an epoch.
        multiple: the last batch of an epoch is padded to a multiple of this.
        factor: what the schedule's rates are multiplied by.
    """

    start: int
    end: int
    data: Data
    batch_size: int
    micro_batches: int
    steps: int
    multiple: int
    factor: float

    @property
    def name(self) -> str:
        """What logs call it."""
        return f"{self.data.size} px, epochs {self.start}-{self.end}"


def stretches(
    schedule: Schedule, replicas: int, policy: str = "keep", most: int = 0
) -> list[Stretch]:
    """Returns a schedule's stretches on `replicas` devices.

    Args:
        schedule: for its own number of devices, `schedule.world`.
        replicas: the devices there are.
        policy: `"keep"`: the global batch stays, fewer devices compute it in several
            parts, each with its own batch statistics as the original's devices had;
            `"scale"`: the batch per device stays, the global batch and the rates are
            scaled by the number of devices.
        most: images that a device computes at a time; 0 takes the schedule's batch
            per device.

    Raises:
        UserError: an unknown policy, or a batch that cannot be split.
    """
    if policy not in POLICIES:
        raise errors.unknown("batch_policy", policy, POLICIES)
    result = []
    for start, end in schedule.stretches():
        data = schedule.data(start)
        each = min(data.batch_size, most) if most else data.batch_size
        whole = schedule.global_batch_size(start)
        if policy == "scale":
            batch, micro, factor = each * replicas, 1, each * replicas / whole
            multiple = replicas
        else:
            batch, factor = whole, 1.0
            micro = _micro_batches(whole, replicas, each)
            # The sampler's multiple, and parts of equal size.
            multiple = math.lcm(schedule.world, replicas * micro)
        steps = indexed.batches_per_epoch(schedule.examples, batch, multiple)
        result.append(Stretch(start, end, data, batch, micro, steps, multiple, factor))
    return result


def _micro_batches(batch: int, replicas: int, most: int) -> int:
    for micro in range(math.ceil(batch / (replicas * most)), batch // replicas + 1):
        if batch % (replicas * micro) == 0:
            return micro
    raise errors.UserError(
        f"a batch of {batch} cannot be split over {replicas} devices into parts of at "
        f"most {most}; --config.batch_policy=scale changes the batch instead"
    )


def table(
    found: list[Stretch],
    schedule: Schedule,
    replicas: int,
    cost,
    validation: str = "",
) -> list[str]:
    """Returns the phases as a table with their images, steps and arithmetic.

    Args:
        found: what `stretches` returned.
        schedule: for the rates.
        replicas: the devices.
        cost: image size -> multiply-adds of one forward pass on one image.
        validation: a line about the evaluations.
    """
    head = (
        f"{'epochs':<8}{'size':>5}  {'data':<10}{'crops':>6}  "
        f"{'batch = devices x parts x images':<34}{'steps':>7}{'images':>13}"
        f"{'  learning rate':<24}{'GMAC/image':>11}{'PMAC':>9}"
    )
    lines, images, steps, total = [head], 0, 0, 0.0
    for one in found:
        data, epochs = one.data, one.end - one.start
        each = one.batch_size // (replicas * one.micro_batches)
        seen, macs = epochs * schedule.examples, cost(data.size)
        # A backward pass costs about two forward ones.
        work = 3.0 * macs * seen / 1e15
        rates = (
            one.factor * schedule.rate(one.start, 1),
            one.factor * schedule.rate(one.end - 1, schedule.steps(one.end - 1)),
        )
        batch = f"{one.batch_size} = {replicas} x {one.micro_batches} x {each}"
        crops = f">{data.min_scale:g}"
        lines.append(
            f"{one.start}-{one.end:<6}{data.size:>5}  {data.folder or 'full':<10}"
            f"{crops:>6}  {batch:<34}{epochs * one.steps:>7}{seen:>13,}"
            f"  {rates[0]:.4g} -> {rates[1]:.4g}".ljust(24 + 85)
            + f"{macs / 1e9:>11.3f}{work:>9.3g}"
            + ("  rectangular validation" if data.rectangular else "")
        )
        images, steps, total = images + seen, steps + epochs * one.steps, total + work
    lines.append(f"{steps:,} steps, {images:,} images, {total:.4g} PMAC of training")
    return lines + ([validation] if validation else [])
