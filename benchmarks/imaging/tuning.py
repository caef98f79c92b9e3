"""Which PNG setting a fair user of each library would take: ``ARGS="--tune-png"``.

The quickest of those whose files are no more than 5 % larger than the naive pipeline's, over all
photos. Found once and kept in png.json, so that every run compares the same.
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.imaging.contenders import ContenderFailed, Process, names, running
from benchmarks.imaging.jobs import Effort

_KEPT = Path(__file__).with_name("png.json")
# How much larger than the naive pipeline's the files may be.
_MAX_GROWTH = 1.05


def chosen_settings() -> Mapping[str, Mapping[str, Any]]:
    """By contender; of those that need one."""
    kept: Mapping[str, Mapping[str, Any]] = json.loads(_KEPT.read_text()) if _KEPT.exists() else {}
    return kept


def tune(photos: Sequence[Path], progress: Callable[[str], None]) -> None:
    """Try all settings of all contenders, and keep the best of each."""
    found = {}
    with running(names()) as contenders:
        progress("PNG of the naive pipeline")
        naive = [_bytes_and_cost(contenders["naive"], photo, {})[0] for photo in photos]
        for name, process in contenders.items():
            if len(process.png_settings) == 1:
                continue
            tried: list[tuple[float, float, Mapping[str, Any]]] = []
            for settings in process.png_settings:
                progress(f"PNG of {name}: {settings}")
                made = [_bytes_and_cost(process, photo, settings) for photo in photos]
                growth = statistics.geometric_mean(
                    size / base for (size, _), base in zip(made, naive, strict=True)
                )
                cost = sum(cpu_ms for _, cpu_ms in made)
                tried.append((cost, growth, settings))
                print(f"{name:8s} {cost:8.0f} ms {growth:6.1%} {json.dumps(settings)}", flush=True)
            small_enough = [one for one in tried if one[1] <= _MAX_GROWTH]
            if not small_enough:
                raise ContenderFailed(f"{name} makes no PNG as small as the naive pipeline's.")
            found[name] = min(small_enough, key=lambda one: one[0])[2]
    _KEPT.write_text(json.dumps(found, indent=2) + "\n")


def _bytes_and_cost(
    process: Process, photo: Path, settings: Mapping[str, Any]
) -> tuple[int, float]:
    result = process.do(photo, ["full"], Effort(png=settings, formats=("png",)))
    return result.bytes["png"], result.cpu_ms
