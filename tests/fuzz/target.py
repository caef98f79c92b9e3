"""What is fuzzed: all that the pipeline does with the bytes of a stranger's file."""

from chalicelib.errors import ImageRejected
from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.formats import CopyFormat, FullSize, Recipe
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.originals import stripped

# Small enough for thousands of files a minute; the limits themselves have tests of their own.
MAX_PIXELS = 16_384
MAX_SIDE = 1_024
LIMITS = Limits(
    max_bytes=65_536,
    max_pixels=MAX_PIXELS,
    max_side=MAX_SIDE,
    max_frames=8,
    max_animation_pixels=65_536,
    decode_seconds=10,
    decode_memory_bytes=200_000_000,
)
# Without AVIF: its encoder takes 20 times as long as the others, and sees only plain pixels.
FORMATS = (CopyFormat.WEBP, CopyFormat.JPEG, CopyFormat.PNG)
RECIPE = Recipe(of_photos=FORMATS, of_graphics=FORMATS, webp_method=0, keep_rights=True)


def taken(body: bytes) -> bool:
    """Take a file through the decoder and to its copies; whether it was accepted.

    Raises:
        Exception: Anything: a finding. A file that is refused raises nothing.
    """
    decoder = Decoder(LIMITS)
    try:
        header = decoder.header(body)
        picture = decoder.picture(body, size=header.scaled(0.5))
        source = FullSize.read(body, decoder)
        loops = decoder.loops(body)
        copies = [source.copy(chosen, RECIPE) for chosen in FORMATS]
    except ImageRejected:
        return False
    assert header.width * header.height <= MAX_PIXELS, header
    assert max(header.width, header.height) <= MAX_SIDE, header
    assert loops >= 0, loops
    assert picture.mode == "RGB", picture.mode
    assert picture.size == header.scaled(0.5), picture.size
    assert source.whole.picture.size == (header.width, header.height), header
    assert picture.info == source.whole.picture.info == {}
    for copy in copies:
        # What is served can be read by whoever it is served to.
        decoder.header(copy.body)
    bare = stripped(body, header.media_type)
    # At most the JFIF header is added that a file already has.
    assert bare is None or len(bare) <= len(body) + 18, len(bare)
    return True
