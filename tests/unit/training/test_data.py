"""The listing of a data set, which decides the order of the model's outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training has an environment of its own, with torch")
pytest.importorskip("rich", reason="training has an environment of its own, with rich")

import numpy as np
from PIL import Image

from training.data import find_labels, list_photos, load_photos
from training.errors import DatasetMissing

CLASSES = ("watch", "bird", "cup_vase")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A data set of three classes, two photos each, made in no particular order."""
    for split in ("val", "train"):
        for number, label in enumerate(CLASSES):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for name in ("b.png", "a.png"):
                colour = (number * 40, 10, 200 if name == "a.png" else 100)
                Image.new("RGB", (40 + number, 32), colour).save(folder / name)
            (folder / "notes.txt").write_text("no photo")
    return tmp_path


def test_labels_are_sorted_and_targets_index_them(dataset: Path) -> None:
    listing = list_photos(dataset, "train")

    assert find_labels(dataset) == ("bird", "cup_vase", "watch")
    assert [listing.labels[target] for target in listing.targets] == [
        path.parent.name for path in listing.paths
    ]


def test_photos_are_listed_in_the_order_of_their_names(dataset: Path) -> None:
    listing = list_photos(dataset, "train")

    assert listing == list_photos(dataset, "train")
    assert [f"{path.parent.name}/{path.name}" for path in listing.paths] == [
        "bird/a.png",
        "bird/b.png",
        "cup_vase/a.png",
        "cup_vase/b.png",
        "watch/a.png",
        "watch/b.png",
    ]


def test_a_limit_takes_the_same_photos_each_time(dataset: Path) -> None:
    few = list_photos(dataset, "train", limit_per_class=1)

    assert len(few) == len(CLASSES)
    assert few == list_photos(dataset, "train", limit_per_class=1)


def test_cached_photos_have_the_pixels_of_their_files(dataset: Path, tmp_path: Path) -> None:
    listing = list_photos(dataset, "val")
    load_photos(listing, tmp_path / "cache")

    photos = load_photos(listing, tmp_path / "cache")

    assert len(photos) == len(listing)
    for index, path in enumerate(listing.paths):
        with Image.open(path) as image:
            assert np.array_equal(photos.photo(index), np.asarray(image.convert("RGB")))


def test_a_missing_data_set_is_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"no photos at .*train: point --data at a folder"):
        list_photos(tmp_path / "nowhere", "train")


def test_splits_with_different_classes_are_refused(dataset: Path) -> None:
    (dataset / "train" / "shoes").mkdir()

    with pytest.raises(DatasetMissing, match="only in one of them: shoes"):
        find_labels(dataset)
