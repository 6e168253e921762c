"""Training pictures: random crops of encoded images, as uint8 batches.

A batch is a function of the seed and the pictures' positions in the endless stream, so
that a run can start at any step, on any number of workers, and see the same pixels.
"""

import tensorflow as tf

from tfdl.data import image_batches, image_codec, random_crops
from tfdl.data.image_sources import ImageSource


def training_images(
    source: ImageSource,
    indices: tf.data.Dataset,
    size: int,
    *,
    seed: int,
    min_scale: float = 0.08,
    max_scale: float = 1.0,
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = True,
    fallback: str = "ratio",
    antialias: bool = False,
    on_bad: str = "stop",
    parallel: int | None = None,
    deterministic: bool = True,
) -> tf.data.Dataset:
    """Returns torchvision's RandomResizedCrop and flip of pictures, in batches.

    Of a JPEG only the crop is decoded; the pixels are the whole picture's.

    Args:
        source: the pictures.
        indices: dicts of `index` and `position`, int64 [B]. A negative index is a
            row of padding: zeros, label 0, weight 0. Positions are the place in the
            endless stream; with `seed` they decide everything random.
        size: height and width of what comes out.
        seed: of crops and flips.
        min_scale: smallest share of the picture's area in a crop.
        max_scale: largest share.
        ratio: smallest and largest width / height of a crop.
        flip: mirror every other picture.
        fallback: what is cropped when ten tries fail, see `random_crops.boxes`.
        antialias: filter as Pillow does when a crop is shrunk (within a level of
            its pixels), at about two thirds of the speed; otherwise plain bilinear
            as OpenCV's and TensorFlow's default.
        on_bad: `"stop"`: a picture that cannot be read ends the run, named;
            `"skip"`: it becomes a row of padding and is noted in `source.bad`.
        parallel: batches made at once, None to let tf.data choose.
        deterministic: keep the batches' order.

    Returns:
        Dicts of `image` uint8 [B, size, size, 3], `label` int32 [B] and `weight`
        float32 [B].
    """
    scale = (min_scale, max_scale)
    random_crops.check(scale, ratio)

    def batch(row):
        encoded, labels = image_batches.read(source, row["index"])
        shapes, jpeg = image_batches.sizes(encoded)
        random = random_crops.draws(seed, row["position"], scale, ratio)
        mirrored = random.pop("flip") & flip
        boxes = random_crops.boxes(shapes, **random, ratio=ratio, fallback=fallback)
        images = image_batches.map_pictures(
            jpeg,
            lambda is_jpeg, data, row: crop(is_jpeg, data, *row, size, antialias),
            encoded,
            (boxes, mirrored),
            tf.TensorSpec([size, size, 3], tf.uint8),
        )
        images = tf.ensure_shape(images, [*row["index"].shape, size, size, 3])
        return {"image": images, **labels}

    return image_batches.guarded(
        indices, source, batch, on_bad, parallel, deterministic
    )


def crop(
    is_jpeg: bool,
    data: tf.Tensor,
    box: tf.Tensor,
    mirrored: tf.Tensor,
    size: int,
    antialias: bool,
) -> tf.Tensor:
    """Returns a box of a picture, resized and perhaps mirrored, uint8.

    Args:
        is_jpeg: JPEG or PNG.
        data: the encoded picture.
        box: int32 [4]: top, left, height, width.
        mirrored: bool [].
        size: of the output [size, size, 3].
        antialias: see `training_images`.
    """
    if is_jpeg:
        part = tf.image.decode_and_crop_jpeg(
            data, box, channels=3, dct_method=image_codec.DCT
        )
    else:
        whole = image_codec.decode(is_jpeg, data)
        part = tf.slice(whole, [box[0], box[1], 0], [box[2], box[3], 3])
    image = resize(part, size, size, antialias)
    dims = [False, True, False]
    return tf.cond(
        mirrored, lambda: tf.raw_ops.Reverse(tensor=image, dims=dims), lambda: image
    )


def resize(image: tf.Tensor, height: int, width: int, antialias: bool) -> tf.Tensor:
    """Returns a uint8 picture resized bilinearly, uint8."""
    if antialias:
        shape = tf.cast(tf.shape(image)[:2], tf.float32)
        new = tf.raw_ops.ScaleAndTranslate(
            images=image[None],
            size=[height, width],
            scale=[height, width] / shape,
            translation=[0.0, 0.0],
            kernel_type="triangle",
            antialias=True,
        )
    else:
        new = tf.raw_ops.ResizeBilinear(
            images=image[None], size=[height, width], half_pixel_centers=True
        )
    return tf.cast(tf.round(new[0]), tf.uint8)
