r"""A modern sixteen epochs: FFCV's ResNet-50 recipe on our input pipeline.

Eight devices of 512 images; sizes 160 to 192, blurred strides, label smoothing, tested
at 256 with the mirrored image (libffcv/ffcv-imagenet, rn50_configs).

    tfdl train --model=imagenet18 --recipe=fast-16ep \
        --config.data=folder:/data/imagenet --precision=bfloat16
"""

from ml_collections import ConfigDict

from tfdl.models.imagenet18 import recipes


def get_config() -> ConfigDict:
    """Returns the recipe for 8 devices; see recipes.ffcv for other lengths."""
    config = recipes.common("classify")
    config.description = "FFCV's sixteen epochs"
    config.network = ConfigDict({"preset": "resnet50", "blur": True})
    config.network.zero_gamma = False
    config.schedule = recipes.ffcv(16, (11, 13), 512, 1.7)
    config.rate_at = "step_start"
    config.label_smoothing = 0.1
    config.evaluation.size, config.evaluation.flip = 256, True
    config.evaluation.resize_ratio = 256 / 224
    return config
