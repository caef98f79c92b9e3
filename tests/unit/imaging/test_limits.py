import pytest

from chalicelib.errors import ImageRejected
from chalicelib.imaging.limits import Limits

LIMITS = Limits(max_bytes=1000, max_pixels=600, max_side=100)


@pytest.mark.parametrize("size_bytes", [1, 1000])
def test_a_file_up_to_the_limit_is_taken(size_bytes: int) -> None:
    LIMITS.check_bytes(size_bytes)


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(ImageRejected) as caught:
        LIMITS.check_bytes(0)
    assert caught.value.code == "image_empty"


def test_a_file_over_the_limit_is_told_both_sizes() -> None:
    with pytest.raises(ImageRejected, match="1001 bytes; at most 1000") as caught:
        LIMITS.check_bytes(1001)
    assert caught.value.code == "image_too_large"


@pytest.mark.parametrize("size", [(1, 1), (100, 6), (6, 100), (24, 25)])
def test_dimensions_up_to_the_limits_are_taken(size: tuple[int, int]) -> None:
    LIMITS.check_size(*size)


@pytest.mark.parametrize(
    ("size", "limit"), [((101, 1), "100"), ((1, 101), "100"), ((25, 25), "600"), ((100, 7), "600")]
)
def test_dimensions_over_a_limit_are_told_with_the_limit(size: tuple[int, int], limit: str) -> None:
    with pytest.raises(ImageRejected) as caught:
        LIMITS.check_size(*size)
    assert caught.value.code == "image_dimensions_too_large"
    assert f"{size[0]} x {size[1]} pixels" in caught.value.public_message
    assert limit in caught.value.public_message


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (-5, 5), (0, 0)])
def test_an_image_without_pixels_is_corrupt(size: tuple[int, int]) -> None:
    with pytest.raises(ImageRejected) as caught:
        LIMITS.check_size(*size)
    assert caught.value.code == "image_corrupt"
