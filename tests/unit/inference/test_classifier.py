from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image as Pillow

from chalicelib.errors import ModelError, ModelInputMismatch
from chalicelib.imaging.render import to_ppm
from chalicelib.inference.classifier import TOP_CLASSES, Classifier, Classifiers
from chalicelib.inference.description import known
from chalicelib.inference.graph import softmax, tensor_of
from chalicelib.inference.package import ModelPackage
from tests.unit.inference import packages

PACKAGE = ModelPackage.installed("darkroom_model")
SIDE = 128
RULE = known(PACKAGE.description.normalise, "normalise")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """The committed model."""
    return Classifier(package=PACKAGE, threads=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package to spoil."""
    return packages.copy(tmp_path)


def pixels(seed: int, *, side: int = SIDE) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    scaled = Pillow.fromarray(small).resize((side, side), Pillow.Resampling.BICUBIC)
    return np.asarray(scaled)


def ppm(seed: int = 1, *, side: int = SIDE) -> bytes:
    return to_ppm(Pillow.fromarray(pixels(seed, side=side)))


def logits_of(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """By onnxruntime alone, normalised by the formula as the description states it."""
    rule = RULE
    image = (pixels(seed) * rule.scale - np.array(rule.mean)) / np.array(rule.std)
    tensor = image.transpose(2, 0, 1)[np.newaxis].astype(np.float32)
    session = ort.InferenceSession(PACKAGE.graph(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"image": tensor})
    return np.asarray(output, np.float64).reshape(-1)


def plain_softmax(
    logits: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    weights = np.exp(logits)
    return np.asarray(weights / weights.sum())


@pytest.mark.parametrize("seed", range(5))
def test_the_five_best_classes_come_best_first(classifier: Classifier, seed: int) -> None:
    prediction = classifier.predict(ppm(seed))
    assert len(prediction.classes) == len(prediction.probabilities) == TOP_CLASSES == 5
    assert len(set(prediction.classes)) == 5
    assert set(prediction.classes) <= set(PACKAGE.labels)
    assert list(prediction.probabilities) == sorted(prediction.probabilities, reverse=True)
    assert all(0 <= value <= 1 for value in prediction.probabilities)


@pytest.mark.parametrize("seed", range(5))
def test_a_prediction_is_the_softmax_of_the_tempered_logits(
    classifier: Classifier, seed: int
) -> None:
    expected = plain_softmax(logits_of(seed) / PACKAGE.description.output.temperature)
    # Quantised logits may be equal: then the class that the labels name first comes first.
    best = np.argsort(-expected, kind="stable")[:5]
    prediction = classifier.predict(ppm(seed))
    assert prediction.classes == tuple(PACKAGE.labels[index] for index in best)
    assert prediction.probabilities == pytest.approx(expected[best], abs=1e-4)


def test_a_prediction_names_its_model(classifier: Classifier) -> None:
    prediction = classifier.predict(ppm())
    assert prediction.model_name == PACKAGE.description.name
    assert prediction.model_version == PACKAGE.description.version


def test_the_same_pixels_always_give_the_same_prediction(classifier: Classifier) -> None:
    assert classifier.predict(ppm(9)) == Classifier(package=PACKAGE, threads=2).predict(ppm(9))


def test_probabilities_sum_to_one_over_all_classes(classifier: Classifier) -> None:
    # Over all classes: what the five best lack of 1 is what the others have.
    expected = plain_softmax(logits_of(2) / PACKAGE.description.output.temperature)
    others = np.sort(expected)[:-5].sum()
    total = sum(classifier.predict(ppm(2)).probabilities)
    assert total + others == pytest.approx(1, abs=1e-4)


def test_a_higher_temperature_makes_the_model_less_sure(folder: Path) -> None:
    confidences = []
    for temperature in (0.5, 1.0, 2.0, 8.0):
        packages.describe(folder, {"output.temperature": temperature})
        warmed = Classifier(package=ModelPackage.load(folder), threads=1)
        confidences.append(warmed.predict(ppm(4)).probabilities[0])
    assert confidences == sorted(confidences, reverse=True)
    assert confidences[0] > confidences[-1]


def test_the_tensor_is_the_plain_formula_channel_by_channel(classifier: Classifier) -> None:
    rule = RULE
    tensor = tensor_of(pixels(3)[np.newaxis], classifier.graph)
    assert tensor.shape == (1, 3, SIDE, SIDE)
    assert tensor.dtype == np.float32
    source = pixels(3)
    for channel in range(3):
        plain = (source[:, :, channel] * rule.scale - rule.mean[channel]) / rule.std[channel]
        assert np.abs(tensor[0, channel] - plain).max() < 1e-5


@pytest.mark.parametrize(
    ("width", "height"), [(64, 64), (128, 127), (127, 128), (1, 1), (256, 256)]
)
def test_an_input_of_another_size_is_a_mismatch_that_names_the_size(
    classifier: Classifier, width: int, height: int
) -> None:
    body = to_ppm(Pillow.new("RGB", (width, height)))
    with pytest.raises(ModelInputMismatch, match=f"{width} x {height} pixels"):
        classifier.predict(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"P6",
        b"P5\n128 128\n255\n" + bytes(SIDE * SIDE * 3),
        b"P6\n128 128\n65535\n" + bytes(SIDE * SIDE * 6),
        b"P6\n-128 128\n255\n" + bytes(SIDE * SIDE * 3),
        b"P6\n" + b"9" * 5000 + b" 128\n255\n",
        b"\xff\xd8\xff\xe0",
        b"<html>",
        bytes(1000),
    ],
    ids=range(9),
)
def test_what_is_no_ppm_is_a_mismatch(classifier: Classifier, body: bytes) -> None:
    with pytest.raises(ModelInputMismatch, match="no binary PPM"):
        classifier.predict(body)


@pytest.mark.parametrize("change", [-1, -SIDE * SIDE * 3, 1])
def test_a_ppm_with_too_few_or_too_many_pixels_is_a_mismatch(
    classifier: Classifier, change: int
) -> None:
    body = ppm()
    changed = body[:change] if change < 0 else body + bytes(change)
    with pytest.raises(ModelInputMismatch, match="too few or too many"):
        classifier.predict(changed)


@pytest.mark.parametrize("count", [1, 31, 33])
def test_labels_of_another_number_than_the_classes_are_a_model_error(
    folder: Path, count: int
) -> None:
    lines = "".join(f"label {number}\n" for number in range(count))
    (folder / "labels.txt").write_text(lines, encoding="utf-8")
    with pytest.raises(ModelError, match=rf"labels\.txt has {count} lines.*32 classes"):
        Classifier(package=ModelPackage.load(folder), threads=1).predict(ppm())


@pytest.mark.parametrize(("field", "there"), [("input.name", "image"), ("output.name", "logits")])
def test_a_tensor_name_that_the_graph_lacks_is_told_with_the_ones_it_has(
    folder: Path, field: str, there: str
) -> None:
    packages.describe(folder, {field: "nope"})
    with pytest.raises(ModelError) as caught:
        Classifier(package=ModelPackage.load(folder), threads=1).predict(ppm())
    assert f"The field {field} is 'nope'" in str(caught.value)
    assert f"'{there}'" in str(caught.value)


def test_a_size_that_the_graph_does_not_take_is_a_model_error_that_names_the_field(
    folder: Path,
) -> None:
    packages.describe(folder, {"input.width": 64, "input.height": 64})
    with pytest.raises(ModelError, match=r"input\.width is 64, but the graph's input has 128"):
        Classifier(package=ModelPackage.load(folder), threads=1).predict(ppm(side=64))


@pytest.mark.parametrize("graph", [b"", b"no graph", b"\x08\x07" * 50])
def test_a_graph_that_cannot_be_read_is_a_model_error_that_names_the_file(
    folder: Path, graph: bytes
) -> None:
    (folder / "model.onnx").write_bytes(graph)
    packages.describe(folder, {"sha256": ...})
    with pytest.raises(ModelError, match=r"model\.onnx cannot be loaded"):
        Classifier(package=ModelPackage.load(folder), threads=1).predict(ppm())


def test_making_a_classifier_loads_nothing(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    Classifier(package=ModelPackage.load(folder), threads=1)


def test_a_softmax_sums_to_one_over_all_classes() -> None:
    for seed in range(5):
        values = softmax(np.random.default_rng(seed).normal(0, 10, 1000))
        assert values.sum() == pytest.approx(1)
        assert (values >= 0).all()


def test_a_softmax_of_huge_logits_does_not_overflow() -> None:
    assert softmax(np.array([1e5, 0.0, -1e5])) == pytest.approx([1, 0, 0])
    assert softmax(np.array([-1e5, -1e5])) == pytest.approx([0.5, 0.5])


def test_a_softmax_keeps_ratios() -> None:
    assert softmax(np.log(np.array([1.0, 2.0, 5.0]))) == pytest.approx([0.125, 0.25, 0.625])


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 17])
def test_a_batch_is_answered_as_each_of_its_images_alone(
    classifier: Classifier, count: int
) -> None:
    inputs = [ppm(seed) for seed in range(count)]
    together = classifier.predict_batch(inputs)
    assert [said.classes[0] for said in together] == [
        classifier.predict(body).classes[0] for body in inputs
    ]


def test_one_bad_input_of_a_batch_is_told_before_the_model_runs(classifier: Classifier) -> None:
    with pytest.raises(ModelInputMismatch):
        classifier.predict_batch([ppm(), b"P6"])
    with pytest.raises(ModelInputMismatch):
        classifier.check(b"P6")
    classifier.check(ppm())


def test_a_classifier_is_made_once_and_the_one_that_is_asked_least_makes_room(
    folder: Path,
) -> None:
    classifiers = Classifiers(threads=1, most=2)

    def package(version: str) -> ModelPackage:
        return ModelPackage.load(packages.describe(folder, {"version": version}))

    first = classifiers(package("1"))
    second = classifiers(package("2"))
    assert classifiers(package("1")) is first
    classifiers(package("3"))
    assert classifiers(package("1")) is first
    assert classifiers(package("2")) is not second
