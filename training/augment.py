"""How a photo is changed before the network learns from it.

Convention: single photos are (height, width, 3) uint8 RGB; batches are (batch, 3, size, size),
uint8 before and float32 in 0 to 1 after the change of colours; target shares are
(batch, classes) float32 and sum to 1 in each row.

The photos come from four sources with four looks (phone photos of garments and of waste, web
photos of objects, flowers). What is changed here is what differs between cameras and not between
classes: framing, light, white balance, sharpness, noise.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training.data import Photos

# Luma of Rec. 601: what a photo without colour is made of.
LUMA = (0.299, 0.587, 0.114)
# Batches that are prepared while the network works on one.
BATCHES_AHEAD = 4


@dataclass(frozen=True)
class Augmentation:
    """How strong each change is. Shares are probabilities; areas are parts of the photo's area."""

    area: tuple[float, float] = (0.25, 1.0)
    aspect: tuple[float, float] = (0.75, 1.3333)
    flip_share: float = 0.5
    brightness: float = 0.35
    contrast: float = 0.35
    saturation: float = 0.4
    white_balance: float = 0.12
    grey_share: float = 0.05
    soft_share: float = 0.15
    noise_share: float = 0.15
    noise_deviation: float = 0.04
    erase_share: float = 0.2
    erase_side: tuple[float, float] = (0.2, 0.45)
    mixup_share: float = 0.25
    mixup_alpha: float = 0.2
    cutmix_share: float = 0.35


def crop(
    photo: NDArray[np.uint8], size: int, how: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Cut a random part out of a photo and scale it to a square.

    Shapes: (height, width, 3) uint8 to (size, size, 3) uint8.
    """
    height, width = photo.shape[:2]
    left, top, right, bottom = _box(height, width, how, rng)
    image = Image.fromarray(photo)
    if rng.random() < how.soft_share:
        # Out of focus, or enlarged from a thumbnail: through a smaller square, then up again.
        small = max(16, int(size * rng.uniform(0.35, 0.75)))
        image = image.resize(
            (small, small), Image.Resampling.BILINEAR, box=(left, top, right, bottom)
        ).resize((size, size), Image.Resampling.BILINEAR)
    else:
        image = image.resize(
            (size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom)
        )
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[:, ::-1] if rng.random() < how.flip_share else pixels


def recolour(batch: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Change light, contrast, colour and noise, and erase a rectangle in some photos.

    Shapes: (batch, 3, size, size) uint8 to the same shape float32, 0 to 1.
    """
    count, _, size, _ = batch.shape
    images = batch.to(torch.float32).div_(255.0)
    matrix, offset = _colour_change(images, how, generator)
    # The whole change of colour of a photo is one 3 x 3 matrix and an offset: one pass over it.
    flat = torch.baddbmm(offset[:, :, None], matrix, images.reshape(count, 3, -1))
    images = flat.reshape(count, 3, size, size)
    noisy = torch.rand(count, generator=generator) < how.noise_share
    if bool(noisy.any()):
        strength = torch.rand(int(noisy.sum()), 1, 1, 1, generator=generator)
        noise = torch.randn(int(noisy.sum()), 3, size, size, generator=generator)
        images[noisy] += noise * strength * how.noise_deviation
    _erase(images, how, generator)
    return images.clamp_(0.0, 1.0)


def mix(
    images: Tensor, shares: Tensor, how: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Blend the photos of a batch with one another (mixup), or paste parts (cutmix), or neither.

    Shapes: images (batch, 3, size, size) float32 and shares (batch, classes) float32, both kept.
    """
    draw = float(torch.rand(1, generator=generator))
    if draw < how.mixup_share:
        kept = _beta(how.mixup_alpha, generator)
        other = torch.randperm(len(images), generator=generator)
        images = images * kept + images[other] * (1.0 - kept)
        return images, shares * kept + shares[other] * (1.0 - kept)
    if draw < how.mixup_share + how.cutmix_share:
        size = images.shape[-1]
        # Uniform over the pasted area, which is what cutmix's Beta(1, 1) comes to.
        side = round(size * math.sqrt(float(torch.rand(1, generator=generator))))
        top, left = (
            int(torch.randint(0, size - side + 1, (1,), generator=generator)) for _ in range(2)
        )
        other = torch.randperm(len(images), generator=generator)
        images = images.clone()
        window = (slice(None), slice(None), slice(top, top + side), slice(left, left + side))
        images[window] = images[other][window]
        kept = 1.0 - side * side / (size * size)
        return images, shares * kept + shares[other] * (1.0 - kept)
    return images, shares


def batches(
    photos: Photos, size: int, batch_size: int, how: Augmentation, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch of ``photos`` in a random order.

    Shapes: photos (batch, 3, size, size) uint8 and targets (batch,) int64 in each pair.

    A last, smaller batch is left out: its photos come in other epochs, and a batch of a few would
    disturb the running statistics. The same seed gives the same batches, on any machine.
    """
    order = np.random.default_rng(seed).permutation(len(photos))

    def prepare(number: int) -> tuple[Tensor, Tensor]:
        chosen = order[number * batch_size : (number + 1) * batch_size]
        rng = np.random.default_rng([seed, number])
        pixels = np.stack([crop(photos.photo(int(index)), size, how, rng) for index in chosen])
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        return batch, torch.from_numpy(photos.targets[chosen])

    # Pillow lets go of the interpreter's lock while it scales, so one thread beside is enough.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as pool:
        ahead: deque[Future[tuple[Tensor, Tensor]]] = deque()
        for number in range(max(1, len(order) // batch_size)):
            ahead.append(pool.submit(prepare, number))
            if len(ahead) > BATCHES_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _box(
    height: int, width: int, how: Augmentation, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of a random part in pixels; a square if none drawn fits."""
    for _ in range(8):
        area = rng.uniform(*how.area) * height * width
        aspect = math.exp(rng.uniform(math.log(how.aspect[0]), math.log(how.aspect[1])))
        wide, high = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if wide <= width and high <= height:
            break
    else:
        wide = high = float(min(height, width))
    left, top = rng.uniform(0.0, width - wide), rng.uniform(0.0, height - high)
    return left, top, left + wide, top + high


def _colour_change(
    images: Tensor, how: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the matrices (batch, 3, 3) and offsets (batch, 3) that change each photo's colours."""
    count = len(images)

    def factor(strength: float, columns: int = 1) -> Tensor:
        return 1.0 + strength * (2.0 * torch.rand(count, columns, generator=generator) - 1.0)

    grey = (torch.rand(count, 1, generator=generator) < how.grey_share).to(torch.float32)
    saturation = (factor(how.saturation) * (1.0 - grey))[:, :, None]
    luma = torch.tensor(LUMA).expand(3, 3)
    colours = saturation * torch.eye(3) + (1.0 - saturation) * luma
    gains = factor(how.brightness) * factor(how.white_balance, columns=3)
    contrast = factor(how.contrast)
    # Contrast turns about the photo's own mean, after light and balance have moved that mean.
    mean = (colours @ images.mean(dim=(2, 3))[:, :, None])[:, :, 0] * gains
    matrix = colours * (gains * contrast)[:, :, None]
    return matrix, mean.mean(dim=1, keepdim=True) * (1.0 - contrast).expand(count, 3)


def _erase(images: Tensor, how: Augmentation, generator: torch.Generator) -> None:
    count, _, size, _ = images.shape
    draws = torch.rand(count, 5, generator=generator).tolist()
    least, most = how.erase_side
    for position, (chance, high, wide, top, left) in enumerate(draws):
        if chance < how.erase_share:
            height = int(size * (least + (most - least) * high))
            width = int(size * (least + (most - least) * wide))
            y, x = int((size - height) * top), int((size - width) * left)
            window = images[position, :, y : y + height, x : x + width]
            window.copy_(torch.rand(3, 1, 1, generator=generator).expand_as(window))


def _beta(alpha: float, generator: torch.Generator) -> float:
    """Draw from Beta(alpha, alpha) by the ratio of two gammas, seeded by ``generator``."""
    seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
