"""What the changes of a photo keep: its shape, its kind of numbers, and the sum of its shares."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training has an environment of its own, with torch")
pytest.importorskip("rich", reason="training has an environment of its own, with rich")

from training.augment import Augmentation, batches, crop, mix, recolour  # noqa: E402 - torch decides
from training.data import Photos  # noqa: E402 - torch decides

GREY = 77


def _photos(count: int) -> Photos:
    rng = np.random.default_rng(1)
    shapes = np.asarray([(40, 50 + index) for index in range(count)], dtype=np.int64)
    sizes = shapes.prod(axis=1) * 3
    return Photos(
        labels=("first", "second"),
        pixels=rng.integers(0, 256, int(sizes.sum()), dtype=np.uint8),
        offsets=np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
        shapes=shapes,
        targets=np.arange(count, dtype=np.int64) % 2,
    )


@pytest.mark.parametrize("soft_share", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (33, 33)])
def test_a_crop_is_a_square_of_bytes(shape: tuple[int, int], soft_share: float) -> None:
    photo = np.full((*shape, 3), GREY, dtype=np.uint8)
    how = Augmentation(soft_share=soft_share)

    for seed in range(20):
        cropped = crop(photo, 32, how, np.random.default_rng(seed))

        assert cropped.shape == (32, 32, 3)
        assert cropped.dtype == np.uint8
        assert (cropped == GREY).all()


def test_recolouring_keeps_the_shape_and_the_range() -> None:
    batch = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    how = Augmentation(noise_share=1.0, erase_share=1.0, grey_share=0.5)

    images = recolour(batch, how, torch.Generator().manual_seed(3))

    assert images.shape == batch.shape
    assert images.dtype == torch.float32
    assert 0.0 <= float(images.min()) <= float(images.max()) <= 1.0


def test_recolouring_with_no_strength_changes_nothing() -> None:
    batch = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    still = Augmentation(
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
        white_balance=0.0,
        grey_share=0.0,
        noise_share=0.0,
        erase_share=0.0,
    )

    images = recolour(batch, still, torch.Generator().manual_seed(3))

    assert torch.allclose(images, batch.float() / 255.0, atol=1e-5)


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_shares_still_sum_to_one_after_mixing(mixup: float, cutmix: float) -> None:
    images = torch.rand(6, 3, 16, 16)
    shares = torch.eye(6)
    how = Augmentation(mixup_share=mixup, cutmix_share=cutmix)

    mixed, mixed_shares = mix(images, shares, how, torch.Generator().manual_seed(4))

    assert mixed.shape == images.shape
    assert mixed.dtype == torch.float32
    assert torch.allclose(mixed_shares.sum(dim=1), torch.ones(6))


def test_the_same_seed_gives_the_same_batches() -> None:
    photos = _photos(10)

    first, again, other = (list(batches(photos, 32, 4, Augmentation(), seed)) for seed in (5, 5, 6))

    assert [pixels.shape for pixels, _ in first] == [(4, 3, 32, 32)] * 2
    assert all(torch.equal(one[0], two[0]) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], other[0][0])
