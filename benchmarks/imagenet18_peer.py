"""ResNet-50 in torch (channels_last), driven line by line by benchmarks/imagenet18.py.

Runs in an environment of its own that has torch and NumPy. Reads a JSON object per
line (`{"do": NAME, ...}`) and answers with one. The network is written as torchvision's
is: same names, in-place ReLUs, eager mode.
"""

import json
import sys
import time

import numpy as np
import torch
from torch import nn

STATE = {}


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided), 1x1."""

    def __init__(self, inputs, width, stride, projects):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if projects:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False),
                nn.BatchNorm2d(4 * width),
            )

    def forward(self, x):
        """Runs the block."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        x += shortcut
        return self.relu(x)


class ResNet(nn.Module):
    """ResNet-50 v1.5."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, (count, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
            blocks = []
            for i in range(count):
                stride = 2 if stage and i == 0 else 1
                blocks.append(Bottleneck(inputs, width, stride, i == 0))
                inputs = 4 * width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, 1000)

    def forward(self, x):
        """Returns logits."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def load(weights, threads):
    """Loads the same weights."""
    torch.set_num_threads(threads)
    model = ResNet()
    arrays = {name: torch.from_numpy(x) for name, x in np.load(weights).items()}
    model.load_state_dict(arrays, strict=True)
    STATE["model"] = model.to(memory_format=torch.channels_last)
    return {"torch": torch.__version__}


def data(path):
    """Keeps a batch of pictures, NHWC, and labels for what follows."""
    arrays = np.load(path)
    images = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2)
    STATE["images"] = images.contiguous(memory_format=torch.channels_last)
    STATE["labels"] = torch.from_numpy(arrays["labels"])
    return {}


def infer(precision, passes):
    """Runs the network in evaluation mode."""
    model = STATE["model"].eval()
    half = precision == "bfloat16"
    clock, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        for _ in range(passes):
            logits = model(STATE["images"])
    seconds, used = time.perf_counter() - clock, time.process_time() - cpu
    return {"seconds": seconds, "cpu": used, "logits": logits.float().tolist()}


def train(precision, steps, rate):
    """Makes SGD steps as torchvision's reference does; returns the losses."""
    model = STATE["model"].train()
    half = precision == "bfloat16"
    before = {name: x.clone() for name, x in model.state_dict().items()}
    optimizer = torch.optim.SGD(
        model.parameters(), rate, momentum=0.9, weight_decay=1e-4
    )
    loss_of = nn.CrossEntropyLoss()
    losses = []
    clock, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = loss_of(model(STATE["images"]), STATE["labels"])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    seconds, used = time.perf_counter() - clock, time.process_time() - cpu
    model.load_state_dict(before)
    return {"seconds": seconds, "cpu": used, "losses": losses}


def main():
    """Answers until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        function = globals()[request.pop("do")]
        print(json.dumps(function(**request)), flush=True)


if __name__ == "__main__":
    main()
