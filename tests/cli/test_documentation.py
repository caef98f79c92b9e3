"""What docs/cli.md says of the command line is so, and all of it."""

import re
import shlex
from pathlib import Path

import typer.main

from darkroom_cli.main import app
from darkroom_cli.problems import Exit

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "cli.md").read_text()
EVERYWHERE = {"--json", "--help"}


def commands() -> dict[str, set[str]]:
    """Every command with its own options, one spelling of each."""
    found: dict[str, set[str]] = {}

    def walk(name: str, command: object) -> None:
        children = getattr(command, "commands", None)
        if children is not None:
            for child, inner in children.items():
                walk(f"{name} {child}".strip(), inner)
            return
        options = {
            # Of a pair, the one that is not the default.
            next(iter(parameter.secondary_opts), parameter.opts[0])
            for parameter in command.params  # type: ignore[attr-defined]
            if parameter.param_type_name == "option"
        }
        found[name] = options - EVERYWHERE

    walk("", typer.main.get_command(app))
    return found


def test_every_command_is_documented_with_every_option() -> None:
    rows = re.findall(r"^\| `([a-z][^`]*)` \|([^|]*)\|", TEXT, re.MULTILINE)
    documented = {
        " ".join(word for word in usage.split() if re.fullmatch(r"[a-z-]+", word)): set(
            re.findall(r"--[a-z-]+", options)
        )
        for usage, options in rows
    }
    assert documented == commands()


def test_every_command_speaks_json() -> None:
    for name, options in commands().items():
        command = typer.main.get_command(app)
        for word in name.split():
            command = command.commands[word]  # type: ignore[attr-defined]
        assert any("--json" in parameter.opts for parameter in command.params), (name, options)


def test_every_exit_code_is_documented() -> None:
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)} == set(Exit)


def test_every_command_that_a_document_shows_is_one() -> None:
    """With options that it has, and as many arguments as it takes."""
    shown = [
        line
        for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
        for line in re.findall(r"\.venv/bin/darkroom ([^`\n]*)", document.read_text())
    ]
    assert shown
    for line in shown:
        words = shlex.split(line)
        group = typer.main.get_command(app)
        with group.make_context("darkroom", words) as context:
            name, command, rest = group.resolve_command(  # type: ignore[attr-defined]
                context, [*context._protected_args, *context.args]
            )
            assert name is not None, line
            command.make_context(name, rest, parent=context, resilient_parsing=False)
