"""How large an image may be, judged from its header before any pixel is decoded."""

from dataclasses import dataclass

from chalicelib.errors import ImageRejected


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of an original, and of what reading it may cost.

    Attributes:
        max_bytes: Size of the file.
        max_pixels: Width times height.
        max_side: The longer of width and height, in pixels.
        max_scans: Passes over the picture that a JPEG may make.
        max_frames: Of an animation, beyond which only its first frame is kept.
        max_animation_pixels: Width times height times frames, likewise.
        decode_seconds: Processor time of reading one file.
        decode_memory_bytes: What reading one file may allocate.
    """

    max_bytes: int
    max_pixels: int
    max_side: int
    max_scans: int = 100
    max_frames: int = 300
    max_animation_pixels: int = 64_000_000
    decode_seconds: int = 20
    decode_memory_bytes: int = 800_000_000

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

    def check_scans(self, scans: int) -> None:
        """Raise `ImageRejected` for a JPEG that is drawn in more passes than are taken.

        A camera's has 1, a progressive one about 10; each may go over the whole picture for the
        price of a few bytes in the file.
        """
        if scans > self.max_scans:
            raise ImageRejected(
                "image_too_complex",
                f"The image is drawn in {scans} passes; at most {self.max_scans} are taken.",
            )

    def keeps_animation(self, width: int, height: int, frames: int) -> bool:
        """Whether an animation of this size is kept as one."""
        within = frames <= self.max_frames and width * height * frames <= self.max_animation_pixels
        return frames > 1 and within
