"""What a million images cost: ``python -m operations.cost``, from `costs.yaml`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FIGURES = Path(__file__).with_name("costs.yaml")
_MILLION = 1_000_000
_DAYS_A_MONTH = 30.4


def of_an_image(figures: Mapping[str, Any], photo: Mapping[str, Any]) -> dict[str, float]:
    """Dollars per image, by function and by service."""
    price = {name: entry["dollars"] for name, entry in figures["prices"].items()}
    each = figures["per_image"]
    found = {}
    for function, calls in each["invocations"].items():
        seconds = (photo["cpu_ms"][function] + each["waiting_ms"][function]) / 1000
        gigabytes = each["memory_mb"][function] / 1024
        found[f"Lambda: {function}"] = calls * (
            seconds * gigabytes * price["lambda_gb_second"] + price["lambda_request"]
        )
    kept_gb = (photo["original_kb"] + photo["made_kb"]) / _MILLION
    months = figures["days_kept"] / _DAYS_A_MONTH
    return {
        **found,
        "S3: requests": each["s3_puts"] * price["s3_put"] + each["s3_gets"] * price["s3_get"],
        f"S3: kept for {figures['days_kept']} days": kept_gb * months * price["s3_gb_month"],
        "DynamoDB": each["dynamodb_writes"] * price["dynamodb_write"]
        + each["dynamodb_reads"] * price["dynamodb_read"],
        "SQS": each["sqs_requests"] * price["sqs_request"],
        "API Gateway": each["api_requests"] * price["api_request"],
        "CloudWatch: logs": each["log_kb"] / _MILLION * price["logs_gb"],
    }


def table(figures: Mapping[str, Any]) -> str:
    """Dollars per million images, as a table in Markdown."""
    photos = figures["photos"]
    costs = {name: of_an_image(figures, photo) for name, photo in photos.items()}
    lines = [
        f"| dollars per million images | {' | '.join(photos)} |",
        f"|---|{'---:|' * len(photos)}",
    ]
    parts = next(iter(costs.values()))
    lines += [_row(part, [cost[part] for cost in costs.values()]) for part in parts]
    lines.append(_row("**all**", [sum(cost.values()) for cost in costs.values()]))
    return "\n".join(lines)


def _row(name: str, dollars: list[float]) -> str:
    return f"| {name} | {' | '.join(f'{value * _MILLION:,.2f}' for value in dollars)} |"


def main() -> int:
    """Print the table."""
    print(table(yaml.safe_load(FIGURES.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
