"""Where the fuzzer starts from: one small file of each kind, made by code."""

from collections.abc import Mapping

from tests import images


def seeds() -> Mapping[str, bytes]:
    """Valid files and such as just miss it, by a name for each."""
    small = images.marker(24, 16)
    return {
        **{kind.lower(): images.encoded(small, kind) for kind in images.FORMATS},
        **{f"{kind.lower()}-cut": images.truncated(kind) for kind in images.FORMATS},
        "jpeg-progressive": images.encoded(small, "JPEG", progressive=True),
        "jpeg-grey": images.encoded(small.convert("L"), "JPEG"),
        "jpeg-cmyk": images.cmyk_jpeg(),
        "jpeg-ycck": images.ycck_jpeg(),
        "jpeg-turned": images.turned("JPEG", 6, icc_profile=images.swapping_profile()),
        "jpeg-comment": images.encoded(small, "JPEG", comment=b"a comment"),
        "jpeg-restarts": images.encoded(small, "JPEG", restart_marker_blocks=1),
        "png-turned": images.turned("PNG", 5),
        "png-late": images.png_turned_at_the_end(6),
        "png-palette": images.palette_png(transparent=True),
        "png-deep-grey": images.deep_grey("PNG"),
        "png-deep-colour": images.deep_colour_png(),
        "png-grey-alpha": images.grey_alpha_png(),
        "png-bilevel": images.bilevel("PNG"),
        "png-animated": images.animation("PNG"),
        "gif-palette": images.palette_gif(transparent=True),
        "gif-animated": images.animation("GIF"),
        "webp-animated": images.animation("WEBP"),
        "webp-lossless": images.turned("WEBP", 8, lossless=True),
        "webp-alpha": images.with_alpha("WEBP"),
        "bmp-palette": images.encoded(small.quantize(16), "BMP"),
        "bmp-bilevel": images.bilevel("BMP"),
        "tiff-turned": images.turned("TIFF", 7),
        "tiff-lzw": images.encoded(small, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": images.encoded(small, "TIFF", compression="jpeg"),
        "tiff-fax": images.encoded(small.convert("1"), "TIFF", compression="group4"),
        "tiff-deep": images.deep_grey("TIFF"),
        "tiff-float": images.encoded(small.convert("F"), "TIFF"),
        "mpo": images.mpo(),
    }
