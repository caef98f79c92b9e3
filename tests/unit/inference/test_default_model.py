"""The default model, as the service uses it: through our own decoder and crop."""

from pathlib import Path

from chalicelib.imaging.decode import Decoder
from chalicelib.imaging.limits import Limits
from chalicelib.imaging.render import model_input, to_ppm
from chalicelib.inference.classifier import Classifier
from chalicelib.inference.package import ModelPackage

PACKAGE = ModelPackage.installed("darkroom_model")
SHAPE = PACKAGE.description.input_shape()
# The card says 0.8435 with a plain Pillow preprocessing; 8-bit scores differ between processors.
LEAST_TOP1 = 0.81
LEAST_TOP5 = 0.96
# The card says 0.045, on half of these photos.
MOST_CALIBRATION_ERROR = 0.07


def test_it_is_as_good_on_the_validation_photos_as_its_card_says(shared: Path) -> None:
    decoder = Decoder(Limits(max_bytes=10**7, max_pixels=10**7, max_side=10**4))
    classifier = Classifier(package=PACKAGE, threads=1)
    first, among_five, total = 0, 0, 0
    bins: dict[int, list[float]] = {}
    for path in sorted((shared / "dataset" / "val").glob("*/*")):
        body = path.read_bytes()
        header = decoder.header(body)
        size = header.scaled(SHAPE.picture_scale(header.width, header.height))
        picture = decoder.picture(body, size=size)
        prediction = classifier.predict(to_ppm(model_input(picture, SHAPE)))
        right = prediction.classes[0] == path.parent.name
        first += right
        confidence = prediction.probabilities[0]
        bins.setdefault(int(confidence * 15), []).append(right - confidence)
        among_five += path.parent.name in prediction.classes
        total += 1
    assert total > 1000
    assert first / total >= LEAST_TOP1, first / total
    assert among_five / total >= LEAST_TOP5, among_five / total
    # How far being sure and being right lie apart, over bins of confidence.
    error = sum(abs(sum(gaps)) for gaps in bins.values()) / total
    assert error <= MOST_CALIBRATION_ERROR, error
