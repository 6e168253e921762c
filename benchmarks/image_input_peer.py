"""Image loaders of others, driven line by line by benchmarks/image_input.py.

Started once in an environment with torchvision and once in the project's own, for
Pillow and OpenCV. Reads a JSON object per line (`{"do": NAME, ...}`) and answers with
one. One thread; seconds are the process's CPU time.
"""

import json
import math
import random
import sys
import time

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def box(width, height, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)):
    """RandomResizedCrop's ten tries; returns (top, left, height, width)."""
    for _ in range(10):
        area = width * height * random.uniform(*scale)
        shape = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, height - h), random.randint(0, width - w), h, w
    shape = width / height
    w, h = width, height
    if shape < ratio[0]:
        h = round(w / ratio[0])
    elif shape > ratio[1]:
        w = round(h * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


def _torchvision(paths, size, end):
    from PIL import Image
    from torchvision import transforms

    transform = transforms.Compose([
        transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), *end
    ])  # fmt: skip
    for path in paths:
        with Image.open(path) as image:
            transform(image.convert("RGB"))


def torchvision_float32(paths, size):
    """What the reference's users run: normalised float32."""
    from torchvision import transforms

    end = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    _torchvision(paths, size, end)


def torchvision_uint8(paths, size):
    """The same without normalising."""
    from torchvision import transforms

    _torchvision(paths, size, [transforms.PILToTensor()])


def pil_uint8(paths, size):
    """Pillow and NumPy without torchvision."""
    import numpy as np
    from PIL import Image

    for path in paths:
        with Image.open(path) as image:
            image = image.convert("RGB")
        top, left, height, width = box(*image.size)
        image = image.crop((left, top, left + width, top + height))
        image = image.resize((size, size), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        np.asarray(image)


def opencv_uint8(paths, size):
    """OpenCV, bilinear without antialiasing."""
    import cv2

    cv2.setNumThreads(1)
    for path in paths:
        image = cv2.imread(path, cv2.IMREAD_COLOR_RGB)
        top, left, height, width = box(image.shape[1], image.shape[0])
        image = image[top : top + height, left : left + width]
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
        if random.random() < 0.5:
            image = cv2.flip(image, 1)


SIDES = {
    "torchvision_float32": torchvision_float32,
    "torchvision_uint8": torchvision_uint8,
    "pil_uint8": pil_uint8,
    "opencv_uint8": opencv_uint8,
}


def load(side, paths, size):
    """Loads pictures one by one; returns the CPU seconds."""
    clock = time.process_time()
    SIDES[side](paths, size)
    return {"seconds": time.process_time() - clock}


def crop(path, where, size):
    """Returns Pillow's pixels of a box."""
    import numpy as np
    from PIL import Image

    top, left, height, width = where
    with Image.open(path) as image:
        image = image.convert("RGB").crop((left, top, left + width, top + height))
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    return {"pixels": np.asarray(image).tolist()}


def versions():
    """Returns the versions of what is there."""
    found = {}
    for name in ("torch", "torchvision", "PIL", "cv2"):
        try:
            found[name] = __import__(name).__version__
        except ImportError:
            continue
    if "torch" in found:
        import torch

        torch.set_num_threads(1)
    return found


COMMANDS = {"load": load, "crop": crop, "versions": versions}


def main():
    """Answers until stdin ends."""
    random.seed(0)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(COMMANDS[request.pop("do")](**request)), flush=True)


if __name__ == "__main__":
    main()
