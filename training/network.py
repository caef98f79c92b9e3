"""The network: a small residual CNN of dense 3 x 3 convolutions.

Convention: images are (batch, 3, height, width) float32, RGB, normalised with the mean and the
deviation of the training photos; logits are (batch, classes) float32.

Dense and not depthwise: on an AVX-512 core, a training step of an inverted-residual network of
38 MMAC took three times as long as one of this kind with 100 MMAC.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

WIDTHS = (32, 64, 128, 256)
STEM_WIDTH = 32
DEPTHS = (2, 2, 3, 2)


class Classifier(nn.Module):
    """A stem at half resolution, then residual stages that halve it, a pooled mean and one layer.

    Shapes: (batch, 3, height, width) float32 in, (batch, classes) float32 out. Any height and
    width from 32 px up.
    """

    def __init__(
        self,
        classes: int,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = DEPTHS,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        channels = STEM_WIDTH
        self.stem = nn.Sequential(*_convolution(3, channels, stride=2), nn.ReLU(inplace=True))
        blocks: list[nn.Module] = []
        for width, depth in zip(widths, depths, strict=True):
            for position in range(depth):
                blocks.append(Residual(channels, width, stride=2 if position == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, classes)
        self._initialise()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (batch, classes) of images (batch, 3, height, width)."""
        features = self.pool(self.blocks(self.stem(images)))
        logits: Tensor = self.head(self.dropout(torch.flatten(features, 1)))
        return logits

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Residual):
                # Each block starts as its shortcut, which lets the learning rate start high.
                nn.init.zeros_(module.last_norm.weight)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a shortcut, which is pooled where the block halves the size.

    Shapes: (batch, inputs, height, width) to (batch, outputs, height / stride, width / stride).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*_convolution(inputs, outputs, stride), nn.ReLU(inplace=True))
        convolution, self.last_norm = _convolution(outputs, outputs, stride=1)
        self.second = nn.Sequential(convolution, self.last_norm)
        shortcut: list[nn.Module] = []
        if stride != 1:
            # Pooled, not strided: a strided 1 x 1 convolution throws three pixels of four away.
            shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if inputs != outputs:
            convolution, norm = _convolution(inputs, outputs, stride=1, kernel=1)
            shortcut.extend([convolution, norm])
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Return the block's features, shaped as the class says."""
        changed = self.second(self.first(features))
        result: Tensor = self.activation(changed + self.shortcut(features))
        return result


def channels_last(network: Classifier) -> Classifier:
    """Lay the weights out with the channels last in memory, as the kernels want them."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return network


def parameter_count(network: nn.Module) -> int:
    """Return how many numbers of ``network`` are trained."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def _convolution(
    inputs: int, outputs: int, stride: int, kernel: int = 3
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs)
