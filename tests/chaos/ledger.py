"""The books of a run: what was sent in, what came of it, and whether the two agree."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from chalicelib.aws.image_rows import image_of
from chalicelib.images import ConversionStatus, Image, Status, derived_prefixes

# What a run of faults of ours may leave behind, and nothing else, on an image that is good.
OURS = {"worker_lost", "service_unavailable", "internal_error", "model_input_unusable"}


@dataclass(kw_only=True)
class Ledger:
    """What was sent, and what a reader saw meanwhile.

    Attributes:
        sent: Each image's id, and whether its file is good.
        seen: Each image's attempts and statuses, in the order in which a reader saw them.
    """

    sent: dict[str, bool] = field(default_factory=dict)
    seen: dict[str, list[tuple[int, Status]]] = field(default_factory=lambda: defaultdict(list))

    def see(self, image_id: str, attempt: int, status: Status) -> None:
        """A reader's look at an image."""
        history = self.seen[image_id]
        if not history or history[-1] != (attempt, status):
            history.append((attempt, status))

    def disagreements(self, rows: Iterable[Image], keys: Sequence[str]) -> list[str]:
        """Whatever is wrong, in a line each: lost, made twice, out of nothing, or gone back."""
        known = {row.image_id: row for row in rows}
        objects = Counter(keys)
        wrong = [f"{image_id}: lost" for image_id in self.sent if image_id not in known]
        wrong += [f"{image_id}: nobody sent it" for image_id in known if image_id not in self.sent]
        for image_id, row in known.items():
            wrong += [
                f"{image_id}: {what}" for what in _wrong_end(row, good=self.sent.get(image_id))
            ]
            wrong += [f"{image_id}: {what}" for what in _wrong_objects(row, objects)]
        for image_id, history in self.seen.items():
            wrong += [f"{image_id}: {what}" for what in _went_back(history)]
        return wrong


def images_of(items: Iterable[Mapping[str, Any]]) -> list[Image]:
    """The images among the rows of a scan; tombstones are none."""
    deserialize = TypeDeserializer().deserialize
    rows = ({name: deserialize(value) for name, value in item.items()} for item in items)
    return [image_of(row) for row in rows if "status" in row]


def _wrong_end(row: Image, *, good: bool | None) -> list[str]:
    wrong = []
    if not row.status.final or row.conversion_status is ConversionStatus.PENDING:
        wrong.append(f"not ended: {row.status}, copies {row.conversion_status}")
    if row.status.failed != (row.error is not None):
        wrong.append(f"{row.status} with the reason {row.error}")
    codes = {failure.code for failure in (row.error, row.conversion_error) if failure}
    if good and not codes <= OURS:
        wrong.append(f"a good file is blamed: {sorted(codes)}")
    if good is False and not row.status.failed:
        wrong.append(f"a bad file is {row.status}")
    return wrong


def _wrong_objects(row: Image, objects: Counter[str]) -> list[str]:
    """What is told is there, and what is there is told, once."""
    told = {copy.key for copy in (*row.renditions.values(), *row.formats.values())}
    told |= {row.results_key} if row.results_key else set()
    told |= {row.model_input_key} if row.model_input_key else set()
    made = {key for key in objects if key.startswith(derived_prefixes(row.image_id))}
    wrong = [f"told of and not there: {key}" for key in sorted(told - made)]
    if row.status is Status.COMPLETED and row.conversion_status is ConversionStatus.COMPLETED:
        wrong += [f"there and not told of: {key}" for key in sorted(made - told)]
    results = [key for key in made if key.startswith("results/")]
    if len(results) > 1:
        wrong.append(f"results more than once: {results}")
    return wrong


def _went_back(history: Sequence[tuple[int, Status]]) -> list[str]:
    return [
        f"went from {before} to {after}"
        for before, after in pairwise(history)
        if (after[0], after[1].rank) < (before[0], before[1].rank)
        or (after[0] == before[0] and before[1].final and after[1] is not before[1])
    ]
