"""Links to copies: signed ones to the bucket, or the CDN's where there is one."""

from dataclasses import replace

from chalicelib.api.image_view import ImageView
from tests.unit.pipeline.world import World

CDN = "https://img.example.com"


def test_with_a_cdn_the_links_are_its_own_and_one_is_for_all_browsers() -> None:
    world = World()
    image_id = world.completed()
    image = world.images.get(image_id)
    view = ImageView(renditions=world.renditions, link_seconds=60, cdn_url=CDN)
    shown = view.shown(image)
    for copy in (*shown["renditions"].values(), *shown["formats"].values()):
        assert copy["url"].startswith(f"{CDN}/")
    names = [
        copy.key.rpartition("/")[2]
        for copy in sorted(image.formats.values(), key=lambda c: c.bytes)
    ]
    assert shown["links"]["auto"] == (
        f"{CDN}/images/{image_id}/auto?g={image.generation}&c={','.join(names)}"
    )
    assert not shown["results_url"].startswith(CDN), "a prediction is the API's to hand out"


def test_without_a_cdn_there_is_no_such_link() -> None:
    world = World()
    image = world.images.get(world.completed())
    view = ImageView(renditions=world.renditions, link_seconds=60)
    assert "auto" not in view.shown(image)["links"]
    with_none = ImageView(renditions=world.renditions, link_seconds=60, cdn_url=CDN)
    assert "auto" not in with_none.shown(replace(image, formats={}))["links"]
