"""What an image becomes in DynamoDB."""

import sys

import pytest
from boto3.dynamodb.types import TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws.image_rows import image_of, item_of
from chalicelib.images import ConversionStatus, FocalPoint, Image, Output, Status


def image(focal_point: FocalPoint) -> Image:
    return Image(
        image_id="i",
        status=Status.PENDING_UPLOAD,
        conversion_status=ConversionStatus.PENDING,
        created_at_ms=1,
        updated_at_ms=1,
        outputs=(Output.PREDICTIONS,),
        focal_point=focal_point,
    )


@given(st.floats(0, 1), st.floats(0, 1))
def test_any_share_can_be_stored_and_comes_back(x: float, y: float) -> None:
    item = item_of(image(FocalPoint(x=x, y=y)))
    TypeSerializer().serialize(item)
    point = image_of(item).focal_point
    assert (point.x, point.y) == pytest.approx((x, y), abs=1e-120)


@pytest.mark.parametrize("tiny", [5e-324, 1e-300, sys.float_info.min, 1.2345e-129])
def test_what_is_smaller_than_any_number_of_dynamodb_is_stored_as_zero(tiny: float) -> None:
    item = item_of(image(FocalPoint(x=tiny, y=0.25)))
    TypeSerializer().serialize(item)
    assert image_of(item).focal_point == FocalPoint(x=0, y=0.25)
