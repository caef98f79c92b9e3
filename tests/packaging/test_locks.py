"""What is installed is what was locked: every package has its hashes, and a wrong one is refused."""

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infrastructure.lock import LOCKS, Lock, command
from infrastructure.package import PackagingFailed, libraries
from infrastructure.template import ROOT
from local.install import locked

NAME_AND_VERSION = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[\w,]+\])?==([^\s;\\]+)", re.MULTILINE)


def normal(name: str) -> str:
    """A package's name as the index knows it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path: Path) -> dict[str, str]:
    """The version of each package that a file names."""
    return {normal(name): version for name, version in NAME_AND_VERSION.findall(path.read_text())}


def asked_for(source: Path) -> dict[str, str]:
    """What a requirements file asks for, with what those ask for that it includes."""
    found = pins(source)
    for included in re.findall(r"^-r (\S+)", source.read_text(), re.MULTILINE):
        found |= asked_for(source.parent / included)
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.target)
def test_a_lock_holds_what_is_asked_for_in_that_version(lock: Lock) -> None:
    assert asked_for(ROOT / lock.source).items() <= pins(ROOT / lock.target).items()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.target)
def test_every_package_of_a_lock_has_a_version_and_hashes(lock: Lock) -> None:
    text = re.sub(r"^#.*\n", "", (ROOT / lock.target).read_text(), flags=re.MULTILINE)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert entries
    for entry in entries:
        assert NAME_AND_VERSION.match(entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_locks_agree_where_they_hold_the_same() -> None:
    leading = pins(ROOT / LOCKS[0].target)
    for lock in LOCKS:
        if lock.agrees:
            own = pins(ROOT / lock.target)
            assert {name: own[name] for name in own.keys() & leading} == {
                name: leading[name] for name in own.keys() & leading
            }, lock.target


def test_a_lock_is_written_for_every_python_and_platform_with_wheels_alone() -> None:
    said = " ".join(command(Path("uv"), LOCKS[0], upgrade=False))
    for option in (
        "--generate-hashes",
        "--universal",
        "--python-version 3.12",
        "--only-binary :all:",
    ):
        assert option in said
    assert "--upgrade" not in said
    assert command(Path("uv"), LOCKS[0], upgrade=True)[-1] == "--upgrade"


def test_make_installs_nothing_but_locks_where_something_is_built_or_tested() -> None:
    """Left out are training, and what benchmarks compare us with: nothing is built of them."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    installs = [
        line for line in makefile.splitlines() if re.search(r"pip install|install\.py", line)
    ]
    assert len(installs) > 8
    for line in installs:
        if "$(TRAINING_VENV)" in line or re.search(r"-r benchmarks/\w+/requirements\.txt", line):
            continue
        named = re.findall(r"[\w/-]+\.(?:lock|txt)\b", line)
        assert named, line
        assert set(named) <= {lock.target for lock in LOCKS}, line
        assert "install.py" in line or "$(LOCKED)" in line, line
    assert re.search(r"^LOCKED := .*--require-hashes", makefile, re.MULTILINE)


def wheel(folder: Path, *, name: str = "locked_thing") -> Path:
    """A package that can be installed, and has nothing in it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": b"",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(path, "w") as archive:
        for file, body in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
            record += f"{file},sha256={digest},{len(body)}\n"
            archive.writestr(file, body)
        archive.writestr(f"{about}/RECORD", record + f"{about}/RECORD,,\n")
    return path


def install(lock: Path, index: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """`local/install.py` on one lock, from a folder of wheels in place of the index."""
    return subprocess.run(
        [*locked(lock), "--no-index", "--find-links", str(index), "--target", str(target)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("kind", ["right", "wrong", "none"])
def test_a_package_is_installed_under_its_own_hash_alone(kind: str, tmp_path: Path) -> None:
    made = wheel(tmp_path / "index")
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    hashes = {
        "right": f" --hash=sha256:{digest}",
        "wrong": f" --hash=sha256:{'0' * 64}",
        "none": "",
    }
    lock = tmp_path / "some.lock"
    lock.write_text(f"locked-thing==1.0{hashes[kind]}\n")
    finished = install(lock, tmp_path / "index", tmp_path / "target")
    assert (finished.returncode == 0) == (kind == "right"), finished.stderr
    assert (tmp_path / "target" / "locked_thing.py").exists() == (kind == "right")
    if kind == "wrong":
        assert "DO NOT MATCH THE HASHES" in finished.stderr
    if kind == "none":
        assert "Hashes are required" in finished.stderr


def test_a_layer_is_not_made_of_a_library_with_another_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    project = tmp_path / "project"
    project.mkdir()
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"locked-thing==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(PackagingFailed, match="DO NOT MATCH THE HASHES"):
        libraries(project, lock=lock)
    lock.write_text(
        f"locked-thing==1.0 --hash=sha256:{hashlib.sha256(made.read_bytes()).hexdigest()}\n"
    )
    environment = libraries(project, lock=lock)
    assert [path.name for path in Path(environment["PIP_FIND_LINKS"]).iterdir()] == [made.name]
    # Chalice's own pip finds these and nothing else.
    assert environment["PIP_NO_INDEX"] == "1"


def test_what_is_installed_here_is_what_is_locked() -> None:
    """A virtual environment that somebody installed into by hand tests something else."""
    said = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    here = {normal(name): version for name, version in NAME_AND_VERSION.findall(said)}
    wanted = pins(ROOT / "requirements-dev.lock") | pins(ROOT / "local" / "photos.lock")
    # Nothing that is tested depends on which pip installed it.
    del wanted["pip"]
    assert {name: here[name] for name in here.keys() & wanted} == {
        name: wanted[name] for name in here.keys() & wanted
    }
    assert here.keys() - wanted.keys() <= {"darkroom", "pip"}
