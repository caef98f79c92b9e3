"""The commands of `darkroom`."""

import functools
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from chalicelib.container import Container
from chalicelib.dead_letters import STEPS, Outcome
from chalicelib.errors import DarkroomError
from chalicelib.images import Output, Status
from chalicelib.models import ModelChoice
from darkroom_cli import dead_letters as letters
from darkroom_cli.doctor import examine
from darkroom_cli.follow import follow, look, succeeded
from darkroom_cli.ledger import Ledger
from darkroom_cli.problems import Exit, Misused, Problem
from darkroom_cli.service import Service
from darkroom_cli.shown import ERR, OUT, print_images, print_json, print_parcel, print_rows
from darkroom_cli.submit import Sent, Submit, files_of
from darkroom_cli.target import Target, target_of
from local.errors import StartFailed
from local.places import read_port
from operations.models import use
from operations.stage import UnknownStage, container_of

app = typer.Typer(
    help="Photos in, predictions out: the command line of Darkroom.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
model_app = typer.Typer(help="Models of a stage.", no_args_is_help=True)
app.add_typer(model_app, name="model")

LetterQueues = ", ".join(STEPS)
AsJson = Annotated[bool, typer.Option("--json", help="A JSON document on the standard output.")]
ImageId = Annotated[str, typer.Argument(help="The id of an image.")]
ImageIds = Annotated[list[str], typer.Argument(help="The ids of images.")]
Seconds = Annotated[float, typer.Option(help="How many seconds to wait at most.", min=0)]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What stands before the command: which service."""

    url: str | None
    stage: str
    state: Path

    def target(self) -> Target:
        """The service that is meant."""
        return target_of(url=self.url, stage=self.stage)

    @contextmanager
    def service(self) -> Iterator[Service]:
        """It, ready to be asked."""
        with service_of(self.target()) as service:
            yield service

    def container(self) -> Container:
        """The stage's parts, for what the API has no route for."""
        port = read_port(os.environ.get("AWS_PORT"), "AWS_PORT", 4566)
        return container_of(self.stage, aws_port=port)


@contextmanager
def service_of(target: Target) -> Iterator[Service]:
    """The service at a target."""
    with (
        httpx.Client(base_url=target.url, auth=target.auth, timeout=30) as client,
        httpx.Client(timeout=httpx.Timeout(30, read=120, write=120)) as storage,
    ):
        yield Service(client, storage=storage)


@app.callback()
def choose(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option(envvar="DARKROOM_URL", help="Where the API is.")
    ] = None,
    stage: Annotated[
        str, typer.Option(envvar="DARKROOM_STAGE", help="A stage of .chalice/config.json.")
    ] = "local",
    state: Annotated[
        Path | None,
        typer.Option(envvar="DARKROOM_STATE", help="The file that remembers what was sent."),
    ] = None,
) -> None:
    """Choose the service: the local one, a stage, or a URL."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    context.obj = Chosen(url=url, stage=stage, state=state or home / "darkroom" / "sent.sqlite3")


def sentences[**P](command: Callable[P, None]) -> Callable[P, None]:
    """End a command with one sentence and an exit code where something is wrong."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            ERR.print("Stopped. The same command goes on where this one stopped.")
            raise typer.Exit(Exit.INTERRUPTED) from None
        except Problem as problem:
            _complain(problem, as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(problem.exit_code) from None
        except (UnknownStage, StartFailed) as error:
            _complain(Misused(str(error)), as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(Exit.USAGE) from None
        except DarkroomError as error:
            _complain(Problem(str(error)), as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(Exit.FAILED) from None

    return run


def _complain(problem: Problem, *, as_json: bool) -> None:
    if as_json:
        print_json({"error": str(problem), "code": problem.code})
    ERR.print(f"Error: {problem}", markup=False)


@app.command()
@sentences
def submit(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files, and folders of images.")],
    as_json: AsJson = False,
    wait: Annotated[bool, typer.Option(help="Wait for the results.")] = True,
    parallel: Annotated[int, typer.Option(help="Uploads at a time.", min=1, max=32)] = 4,
    again: Annotated[bool, typer.Option("--again", help="Send also what was sent before.")] = False,
    output: Annotated[
        list[Output] | None, typer.Option(help="What to make; all by default.")
    ] = None,
    seconds: Seconds = 600,
) -> None:
    """Send photos, each content once, and wait for what becomes of them."""
    chosen: Chosen = context.obj
    files = files_of(paths)
    body = {"outputs": [str(name) for name in output]} if output else {}
    with chosen.service() as service:
        ledger = Ledger(chosen.state, url=service.url)
        try:
            command = Submit(
                service=service, ledger=ledger, body=body, again=again, parallel=parallel
            )
            sent = _sent(command, files)
            ids = [one.image_id for one in sent if one.image_id is not None]
            images = _followed(service, ids, seconds) if wait else {}
        finally:
            ledger.close()
    rows = [_row(one, images.get(one.image_id or "")) for one in sent]
    if as_json:
        print_json({"items": rows, "count": len(rows)})
    else:
        print_images(rows)
    good = all(succeeded(row) if wait else "error" not in row for row in rows)
    codes = {one.problem.exit_code for one in sent if one.problem is not None}
    if not good:
        raise typer.Exit(Exit.UNREACHABLE if Exit.UNREACHABLE in codes else Exit.FAILED)


def _sent(command: Submit, files: list[Path]) -> list[Sent]:
    columns = (TextColumn("Sending"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=ERR, transient=True) as progress:
        task = progress.add_task("", total=sum(file.stat().st_size for file in files))

        def done(sent: Sent) -> None:
            if sent.problem is not None:
                progress.console.print(f"Error: {sent.problem}", markup=False)

        return command(files, done=done, moved=lambda size: progress.advance(task, size))


def _followed(service: Service, ids: list[str], seconds: float) -> dict[str, dict[str, Any]]:
    with ERR.status("Waiting for the results"):
        images = follow(service, ids, seen=lambda _: None, seconds=seconds)
    return {image["image_id"]: image for image in images}


def _row(sent: Sent, image: dict[str, Any] | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": str(sent.paths[0]),
        "same_content": [str(path) for path in sent.paths[1:]],
        "sent_before": sent.again,
        "filename": sent.paths[0].name,
    }
    if sent.problem is not None:
        code = sent.problem.code or sent.problem.exit_code.name.lower()
        return {**row, "status": "not_sent", "error": {"code": code, "message": str(sent.problem)}}
    return {**row, "image_id": sent.image_id, **(image or {"status": "sent"})}


@app.command()
@sentences
def status(context: typer.Context, image_id: ImageId, as_json: AsJson = False) -> None:
    """Show one image."""
    with context.obj.service() as service:
        image = look(service, image_id)
    if as_json:
        print_json(image)
    else:
        print_images([image])
    if Status(image["status"]).failed:
        raise typer.Exit(Exit.FAILED)


@app.command("list")
@sentences
def list_images(
    context: typer.Context,
    as_json: AsJson = False,
    status: Annotated[Status | None, typer.Option(help="Only those of this status.")] = None,
    limit: Annotated[int, typer.Option(help="Images on a page.", min=1, max=100)] = 25,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All pages.")] = False,
) -> None:
    """List images, newest first."""
    items: list[dict[str, Any]] = []
    with context.obj.service() as service:
        while True:
            page = service.get(
                "/images", status=status and status.value, limit=limit, cursor=cursor
            )
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None or not everything:
                break
    if as_json:
        print_json({"items": items, "next_cursor": cursor})
        return
    print_images(items)
    if cursor is not None:
        ERR.print(f"More: --cursor {cursor}", markup=False)


@app.command()
@sentences
def watch(
    context: typer.Context, image_ids: ImageIds, as_json: AsJson = False, seconds: Seconds = 600
) -> None:
    """Follow images through their steps until they have ended."""
    last: dict[str, tuple[str, str]] = {}

    def seen(image: dict[str, Any]) -> None:
        now = (image["status"], image["conversion_status"])
        if last.get(image["image_id"]) != now:
            last[image["image_id"]] = now
            ERR.print(f"{image['image_id']}  {now[0]}, copies {now[1]}", markup=False)

    with context.obj.service() as service:
        images = follow(service, image_ids, seen=seen, seconds=seconds)
    if as_json:
        print_json({"items": images})
    else:
        print_images(images)
    if not all(succeeded(image) for image in images):
        raise typer.Exit(Exit.FAILED)


@app.command()
@sentences
def retry(
    context: typer.Context,
    image_id: ImageId,
    as_json: AsJson = False,
    model: Annotated[
        str | None, typer.Option(help="NAME@VERSION, or default; also for completed images.")
    ] = None,
) -> None:
    """Take up a failed image again."""
    with context.obj.service() as service:
        look(service, image_id)
        answer = service.post(f"/images/{image_id}/retry", model=model)
    if as_json:
        print_json(answer)
    else:
        OUT.print(f"{image_id} is on its way again ({answer.get('status')}).", markup=False)


@app.command()
@sentences
def delete(
    context: typer.Context,
    image_ids: ImageIds,
    as_json: AsJson = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove images and everything made from them."""
    if not yes:
        if not sys.stdin.isatty():
            raise Misused("Nobody can be asked here; say --yes.")
        if not typer.confirm(f"Remove {len(image_ids)} images for good?", err=True):
            raise Problem("Nothing was removed.")
    removed: list[str] = []
    missing: list[str] = []
    with context.obj.service() as service:
        for image_id in dict.fromkeys(image_ids):
            try:
                look(service, image_id)
                service.delete(f"/images/{image_id}")
            except Problem as problem:
                if problem.code != "image_not_found":
                    raise
                missing.append(image_id)
                ERR.print(f"Error: There is no image {image_id}.", markup=False)
            else:
                removed.append(image_id)
    if as_json:
        print_json({"removed": removed, "missing": missing})
    else:
        OUT.print(f"{len(removed)} removed.")
    if missing:
        raise typer.Exit(Exit.FAILED)


@app.command("dead-letters")
@sentences
def dead_letters(
    context: typer.Context,
    queue: Annotated[str | None, typer.Argument(help=f"{LetterQueues}; all by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what could not be done, the oldest first."""
    found = letters.listed(context.obj.container(), queue)
    if as_json:
        print_json({"items": found})
    elif not found:
        OUT.print("There are no dead letters.")
    else:
        names = ("message_id", "queue", "age", "about", "reason")
        print_rows(names, ([str(letter[name] or "-") for name in names] for letter in found))


@app.command()
@sentences
def redrive(
    context: typer.Context,
    queue: Annotated[str, typer.Argument(help=f"{LetterQueues}.")],
    ids: Annotated[str, typer.Argument(help="Message ids with commas between, or all.")],
    as_json: AsJson = False,
) -> None:
    """Send dead letters back."""
    counts = letters.sent_back(context.obj.container(), queue, ids)
    if as_json:
        print_json(counts)
    else:
        OUT.print(
            ", ".join(f"{n} {outcome}" for outcome, n in counts.items()) or "Nothing to send."
        )
    if {Outcome.UNREADABLE, Outcome.FAILED} & set(counts):
        raise typer.Exit(Exit.FAILED)


@app.command()
@sentences
def track(
    context: typer.Context,
    tracking_id: Annotated[str, typer.Argument(help="Of the parcel.")],
    status: Annotated[str, typer.Argument(help="pending, in_transit, delivered or failed.")],
    latitude: Annotated[float, typer.Option(help="-90 to 90.")],
    longitude: Annotated[float, typer.Option(help="-180 to 180.")],
    as_json: AsJson = False,
    image: Annotated[str | None, typer.Option(help="The id of a photo that proves it.")] = None,
    notify: Annotated[str | None, typer.Option(help="An e-mail address to tell.")] = None,
    metadata: Annotated[str | None, typer.Option(help="A JSON object.")] = None,
) -> None:
    """Send an update of a parcel."""
    body: dict[str, Any] = {
        "tracking_id": tracking_id,
        "status": status,
        "location": {"lat": latitude, "lng": longitude},
    }
    body |= {k: v for k, v in {"image_id": image, "notify_email": notify}.items() if v is not None}
    if metadata is not None:
        try:
            body["metadata"] = json.loads(metadata)
        except ValueError:
            raise Misused("--metadata is no JSON.") from None
    with context.obj.service() as service:
        answer = service.post("/track", body, idempotency_key=f"darkroom-{uuid.uuid4()}")
    if as_json:
        print_json(answer)
    else:
        OUT.print(f"{tracking_id} is reported as {status}.", markup=False)


@app.command()
@sentences
def history(
    context: typer.Context,
    tracking_id: Annotated[str, typer.Argument(help="Of the parcel.")],
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(help="Updates on a page.", min=1, max=100)] = 10,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All pages.")] = False,
) -> None:
    """Show how a parcel stands, and its history, newest first."""
    with context.obj.service() as service:
        parcel = service.get("/status", tracking_id=tracking_id, limit=limit, last_key=cursor)
        while everything and parcel["next_key"] is not None:
            page = service.get(
                "/status", tracking_id=tracking_id, limit=limit, last_key=parcel["next_key"]
            )
            updates = parcel["updates"] + page["updates"]
            parcel |= {"updates": updates, "count": len(updates), "next_key": page["next_key"]}
    if as_json:
        print_json(parcel)
    else:
        print_parcel(parcel)
        if parcel["next_key"] is not None:
            ERR.print(f"More: --cursor {parcel['next_key']}", markup=False)
    if parcel["current"] is None:
        raise typer.Exit(Exit.FAILED)


@model_app.command("activate")
@sentences
def activate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="NAME@VERSION, or default.")],
    as_json: AsJson = False,
    shadow: Annotated[str | None, typer.Option(help="A model to compare with.")] = None,
    share: Annotated[float, typer.Option(help="Of the images, for it.", min=0, max=1)] = 1.0,
) -> None:
    """Choose whose answers are shown."""
    wanted = {"active": model, "shadow": shadow, "share": share}
    choice = ModelChoice.parse(msgspec.json.encode(wanted).decode())
    use(context.obj.container(), choice)
    if as_json:
        print_json(wanted)
    else:
        OUT.print(f"{model} is active within minutes.", markup=False)


@app.command()
@sentences
def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Check what Darkroom needs, and say what to fix."""
    with ExitStack() as opened:
        findings = list(examine(context.obj.target, lambda t: opened.enter_context(service_of(t))))
    if as_json:
        print_json({"ok": all(f.ok for f in findings), "checks": [asdict(f) for f in findings]})
    else:
        rows = ([f.name, "ok" if f.ok else "wrong", f.found, f.remedy] for f in findings)
        print_rows(("Check", "", "Found", "What to do"), rows)
    wrong = {finding.name for finding in findings if not finding.ok}
    if wrong:
        raise typer.Exit(Exit.UNREACHABLE if wrong <= {"api", "ports"} else Exit.FAILED)
