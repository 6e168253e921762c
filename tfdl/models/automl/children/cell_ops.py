"""The ops of cells as chains of layers; what `networks.ops` builds as Keras layers."""

from tfdl.models.automl.children.chains import Chain, Layer

_RELU, _NORM = Layer("relu"), Layer("norm")


def op(name: str, channels: int, filters: int, stride: int) -> Chain:
    """Returns the chain of an op.

    Args:
        name: of `spaces.cells.OPS`.
        channels: that go in.
        filters: that come out.
        stride: 2 where a reduction cell's op reads one of the cell's inputs.
    """
    if name == "identity" and stride == 1 and channels == filters:
        return ()
    if name in ("identity", "conv_1x1"):
        return projection(filters, stride)
    kind, _, size = name.partition("_")
    if kind in ("avg", "max"):
        side = int(size.partition("x")[0])
        pool = Layer(kind, (side, side), stride=stride)
        if channels == filters:
            return (pool,)
        return pool, Layer("conv", filters=filters), _NORM
    if "sep" in name:
        return _separable(name, filters, stride)
    return _bottleneck(name, filters, stride)


def projection(filters: int, stride: int = 1) -> Chain:
    """Returns ReLU, 1x1 convolution, batch normalisation."""
    return _RELU, Layer("conv", filters=filters, stride=(stride, stride)), _NORM


def factorised_reduction(filters: int, stride: int) -> Chain:
    """Returns what brings a state to another size or number of filters."""
    return Layer("halve", filters=filters, stride=stride), _NORM


def _separable(name: str, filters: int, stride: int) -> Chain:
    """sep_KxK and dil2_sep_KxK: twice; dil_sep_KxK (DARTS): once, dilated."""
    side = int(name[-1])
    once = name.startswith("dil_")

    def half(stride):
        depthwise = Layer(
            "depthwise", (side, side), stride=stride, dilation=2 if once else 1
        )
        return _RELU, depthwise, Layer("conv", filters=filters), _NORM

    return half(stride) if once else half(stride) + half(1)


def _bottleneck(name: str, filters: int, stride: int) -> Chain:
    """A convolution between two of 1x1 that make fewer channels of it and back."""
    inner = 3 * filters // 8 if name == "conv_1x3_3x1" else filters // 4
    width = inner or filters
    if name in ("conv_3x3", "dil_3x3"):
        dilation = 2 if name == "dil_3x3" else 1
        middle = (Layer("conv", (3, 3), width, (stride, stride), dilation),)
    else:
        side = int(name[-3])
        middle = (
            Layer("conv", (1, side), width, (1, stride)),
            _NORM,
            _RELU,
            Layer("conv", (side, 1), width, (stride, 1)),
        )
    middle = (_RELU, *middle, _NORM)
    if not inner:
        return middle
    return projection(inner) + middle + projection(filters)
