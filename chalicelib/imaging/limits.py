"""How large an image may be, judged from its header before any pixel is decoded."""

from dataclasses import dataclass

from chalicelib.errors import ImageRejected


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of an original.

    Attributes:
        max_bytes: Size of the file.
        max_pixels: Width times height.
        max_side: The longer of width and height, in pixels.
    """

    max_bytes: int
    max_pixels: int
    max_side: int

    def check_bytes(self, size_bytes: int) -> None:
        """Raise `ImageRejected` for an empty file or one over the limit."""
        if size_bytes == 0:
            raise ImageRejected("image_empty", "The file is empty; upload it again.")
        if size_bytes > self.max_bytes:
            raise ImageRejected(
                "image_too_large",
                f"The file has {size_bytes} bytes; at most {self.max_bytes} are taken.",
            )

    def check_size(self, width: int, height: int) -> None:
        """Raise `ImageRejected` for dimensions, in pixels, over the limits."""
        if width <= 0 or height <= 0:
            raise ImageRejected("image_corrupt", "The file says that the image has no pixels.")
        if max(width, height) > self.max_side:
            raise ImageRejected(
                "image_dimensions_too_large",
                f"The image is {width} x {height} pixels; no side may exceed {self.max_side}.",
            )
        if width * height > self.max_pixels:
            raise ImageRejected(
                "image_dimensions_too_large",
                f"The image is {width} x {height} pixels; "
                f"at most {self.max_pixels} pixels are taken.",
            )
