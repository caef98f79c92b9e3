"""How near the outputs are to the photo: SSIMULACRA 2 against a reference made without haste.

90 is hard to tell from the original, 70 is high quality, 50 medium; a picture that is turned or has
lost its transparency is far below 0.
"""

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps
from ssimulacra2 import compute_ssimulacra2

from benchmarks.imaging.jobs import MODEL_SIDE, SMALL, STANDARD, THUMB

# The middle of a full-size copy that is scored: the whole of 12 MP would take half a minute.
_SCORED_SIDE = 1024
_WHITE = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A photo as it should look: upright, in sRGB, transparency on white."""

    picture: Pillow.Image

    @classmethod
    def of(cls, photo: Path) -> "Reference":
        """Decode a photo whole."""
        with Pillow.open(photo) as image:
            profile = image.info.get("icc_profile")
            upright = ImageOps.exif_transpose(image)
            if profile:
                converted = ImageCms.profileToProfile(
                    upright,
                    ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                    ImageCms.createProfile("sRGB"),
                    outputMode="RGB",
                )
                upright = upright if converted is None else converted
            if not upright.has_transparency_data:
                return cls(picture=upright.convert("RGB"))
            with_alpha = upright.convert("RGBA")
            canvas = Pillow.new("RGB", upright.size, _WHITE)
            canvas.paste(with_alpha, mask=with_alpha.getchannel("A"))
            return cls(picture=canvas)

    def letterboxed(self, box: tuple[int, int]) -> Iterator[Pillow.Image]:
        """The picture in a box, scaled in floating point.

        Where a side comes out between two pixels, or the rest around it cannot be halved, libraries
        differ in which they take, and each of them is right.
        """
        scale = min(box[0] / self.picture.width, box[1] / self.picture.height, 1.0)
        exact = (self.picture.width * scale, self.picture.height * scale)
        for width, height in product(*({math.floor(side), math.ceil(side)} for side in exact)):
            scaled = self._scaled((max(width, 1), max(height, 1)))
            rests = (box[0] - scaled.width, box[1] - scaled.height)
            for left, top in product(*({rest // 2, (rest + 1) // 2} for rest in rests)):
                canvas = Pillow.new("RGB", box, _WHITE)
                canvas.paste(scaled, (left, top))
                yield canvas

    def _scaled(self, size: tuple[int, int]) -> Pillow.Image:
        channels = [
            np.asarray(channel.convert("F").resize(size, Pillow.Resampling.LANCZOS))
            for channel in self.picture.split()
        ]
        return Pillow.fromarray(np.rint(np.stack(channels, axis=2)).clip(0, 255).astype(np.uint8))


def scores(photo: Path, made: Mapping[str, Path], folder: Path) -> dict[str, dict[str, float]]:
    """The score of every output.

    Args:
        photo: The original.
        made: The folder of each contender's outputs, for small and full jobs.
        folder: For files that are needed meanwhile.

    Returns:
        By contender and output. A copy whose middle has other dimensions than the original's
        scores minus infinity.
    """
    reference = Reference.of(photo)
    middle = _middle(reference.picture)
    candidates = {
        "standard": list(reference.letterboxed(STANDARD)),
        "thumb": list(reference.letterboxed(THUMB)),
        "webp": [middle],
        "jpeg": [middle],
    }
    # Some efforts make the same file.
    known: dict[tuple[str, bytes], float] = {}
    found: dict[str, dict[str, float]] = {name: {} for name in made}
    for output, references in candidates.items():
        for name, outputs in made.items():
            if not (outputs / output).exists():
                continue
            body = (outputs / output).read_bytes()
            if (output, body) not in known:
                copy = _flat(body) if output in SMALL else _middle(_flat(body))
                known[output, body] = max(_score(one, copy, folder) for one in references)
            found[name][output] = known[output, body]
    return found


def check_model_inputs(made: Mapping[str, Path]) -> None:
    """Hold the model inputs to the size that all were to make."""
    for name, outputs in made.items():
        size = (outputs / "model").stat().st_size
        if size != 3 * MODEL_SIDE**2:
            raise ValueError(f"{name} made a model input of {size} bytes.")


def _flat(body: bytes) -> Pillow.Image:
    with Pillow.open(io.BytesIO(body)) as image:
        if not image.has_transparency_data:
            return image.convert("RGB")
        with_alpha = image.convert("RGBA")
    canvas = Pillow.new("RGB", with_alpha.size, _WHITE)
    canvas.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return canvas


def _middle(picture: Pillow.Image) -> Pillow.Image:
    width, height = (min(side, _SCORED_SIDE) for side in picture.size)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _score(reference: Pillow.Image, copy: Pillow.Image, folder: Path) -> float:
    if reference.size != copy.size:
        return -math.inf
    # The library takes files.
    paths = [folder / "reference.png", folder / "copy.png"]
    for picture, path in zip((reference, copy), paths, strict=True):
        picture.save(path, compress_level=1)
    return float(compute_ssimulacra2(str(paths[0]), str(paths[1])))
