"""Check a package before it is deployed: ``python -m infrastructure.artefact FOLDER``.

Chalice leaves out a library that has no build for Lambda, and exits with 0. And
Lambda refuses what is too large only at the end of a long upload.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from infrastructure.package import LOCK, MODEL_LAYER_ZIP

# AWS Lambda quotas: deployment package, zipped and unzipped (the layer counts with the code).
MAX_ZIPPED_BYTES = 50_000_000
MAX_UNZIPPED_BYTES = 250_000_000
# What has to stand in the app's zip for it to start at all.
_APP_FILES = ("app.py", "chalicelib/__init__.py", "chalice/app.py")
_MODEL_FILES = ("model.onnx", "model.json", "labels.txt")
_NOT_SHIPPED = re.compile(
    r"^(tests|local|operations|training|infrastructure|benchmarks|docs)/|\.pyc$"
)


def problems_of(folder: Path) -> list[str]:
    """What is wrong with a package; nothing, if it may be deployed."""
    app = zipfile.ZipFile(folder / "deployment.zip")
    layer = zipfile.ZipFile(folder / "layer-deployment.zip")
    with app, layer:
        app_names, layer_names = set(app.namelist()), set(layer.namelist())
        unzipped = sum(entry.file_size for zip_ in (app, layer) for entry in zip_.infolist())
    own = folder / MODEL_LAYER_ZIP
    if own.is_file():
        with zipfile.ZipFile(own) as model:
            unzipped += sum(entry.file_size for entry in model.infolist())
    zipped = (folder / "layer-deployment.zip").stat().st_size
    problems = [f"The app's zip has no {name}." for name in _APP_FILES if name not in app_names]
    unwanted = (name for name in sorted(app_names) if _NOT_SHIPPED.search(name))
    problems += [f"{name} must not ship." for name in unwanted]
    problems += [
        f"The layer has no {name} of the default model."
        for name in _MODEL_FILES
        if not any(path.endswith(f"/darkroom_model/{name}") for path in layer_names)
    ]
    problems += [
        f"The layer lacks {name} {version}: it has no build for Lambda."
        for name, version in required().items()
        if not any(f"/{name}-{version}.dist-info/" in path.lower() for path in layer_names)
    ]
    problems += [
        f"{path} is not built for Lambda (x86_64 Linux)."
        for path in sorted(layer_names)
        if re.search(r"\.(pyd|dylib)$|-(darwin|aarch64)[.-]", path)
    ]
    if zipped > MAX_ZIPPED_BYTES:
        problems.append(f"The layer has {zipped} bytes zipped; Lambda takes {MAX_ZIPPED_BYTES}.")
    if unzipped > MAX_UNZIPPED_BYTES:
        problems.append(f"Layers and app have {unzipped} bytes; Lambda takes {MAX_UNZIPPED_BYTES}.")
    return problems


# Runs without any installed package: what the zips lack cannot be found elsewhere. boto3 is left
# out because Lambda has its own.
_START = """
import io, sys
sys.path[:0] = sys.argv[1:]
import app
from chalicelib import telemetry, templates
from chalicelib.api import cursors, http
from chalicelib.imaging import decode, formats, limits, render
from chalicelib.inference import classifier, package
from PIL import Image
telemetry.count("start", ProcessedImages=1)
assert "<form" in templates.rendered("unsubscribe.html", title="", asks=True, text="")
model = package.ModelPackage.installed("darkroom_model")
shape = model.description.input_shape()
photo = io.BytesIO()
Image.new("RGB", (320, 240), "teal").save(photo, "WEBP")
decoder = decode.Decoder(limits.Limits(max_bytes=10**6, max_pixels=10**6, max_side=1000))
header = decoder.header(photo.getvalue())
size = header.scaled(shape.picture_scale(header.width, header.height))
picture = decoder.picture(photo.getvalue(), size=size)
ppm = render.to_ppm(render.model_input(picture, shape))
assert classifier.Classifier(package=model, threads=1).predict(ppm).classes
recipe = formats.Recipe(of_photos=tuple(formats.CopyFormat), of_graphics=tuple(formats.CopyFormat),
    webp_method=2, keep_rights=False)
source = formats.FullSize.read(photo.getvalue(), decoder)
for wanted in formats.wanted_formats(source, recipe):
    assert source.copy(wanted, recipe).body
"""


def start_problems(folder: Path) -> list[str]:
    """What keeps the zips from decoding an image and making a prediction on their own."""
    with tempfile.TemporaryDirectory(prefix="darkroom-artefact-") as temporary:
        for name in ("deployment.zip", "layer-deployment.zip"):
            with zipfile.ZipFile(folder / name) as zip_:
                zip_.extractall(temporary)
        packages = sorted(str(path) for path in Path(temporary).glob("python/lib/*/site-packages"))
        finished = subprocess.run(
            # -S: without the packages of the environment that this runs in.
            [sys.executable, "-S", "-E", "-c", _START, temporary, *packages],
            cwd=temporary,
            capture_output=True,
            text=True,
            check=False,
        )
    if finished.returncode == 0:
        return []
    said = finished.stderr.strip().splitlines()[-1:] or ["nothing"]
    return [f"The package does not start: {said[0]}"]


def required() -> dict[str, str]:
    """The version of each library that is locked, by its name as wheels write it."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK.read_text(), re.MULTILINE)
    return {re.sub(r"[-_.]+", "_", name).lower(): version for name, version in found}


def main() -> int:
    """The command line; exit code 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    problems = problems_of(folder) or start_problems(folder)
    for problem in problems:
        print(f"Error: {problem}", file=sys.stderr)
    if not problems:
        print("The package is complete, within Lambda's limits, and starts on its own.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
