"""The photos that are measured: given ones, or a sample photo enlarged."""

import io
from pathlib import Path

from PIL import Image as Pillow

from local.samples import sample_photos

# Of a 50 MP camera.
_HUGE = (8660, 5773)
_MADE = {"2mp": (1600, 1200), "12mp": (4000, 3000)}


def photos_in(folder: Path) -> list[Path]:
    """The photos of a folder."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def made_photos(folder: Path) -> list[Path]:
    """A real photo enlarged to the sizes that cameras make, as files in a folder."""
    photo = Pillow.open(sample_photos()[0]).convert("RGB")
    for label, size in _MADE.items():
        enlarged = photo.resize(size, Pillow.Resampling.BICUBIC)
        enlarged.save(folder / f"{label}.jpg", quality=90)
    photo.resize((2000, 1500), Pillow.Resampling.BICUBIC).save(folder / "3mp.png")
    return photos_in(folder)


def huge_photo(photos: list[Path], folder: Path) -> Path:
    """The largest JPEG enlarged to 50 MP, as a file in a folder."""
    source = max((path for path in photos if path.suffix == ".jpg"), key=megapixels)
    buffer = io.BytesIO()
    with Pillow.open(source) as photo:
        photo.convert("RGB").resize(_HUGE, Pillow.Resampling.BICUBIC).save(
            buffer, "JPEG", quality=90
        )
    made = folder / "50mp.jpg"
    made.write_bytes(buffer.getvalue())
    return made


def megapixels(photo: Path) -> float:
    """Width times height, in millions."""
    with Pillow.open(photo) as image:
        return image.width * image.height / 1e6
