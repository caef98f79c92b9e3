"""What ``chalice deploy`` cannot say: ``python -m operations.settle STAGE``, after each deployment.

The same that the merged template says of functions and API in the other ways of deploying: where
S3 events go that cannot be taken in, how many messages are worked on at once, the runtime's log
format, how the API is throttled and logged, and how the gateway itself answers. Only what is
otherwise is changed.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.settings import APP_NAME
from infrastructure import chalice_project
from infrastructure.alarms import Function, functions_of
from infrastructure.resource_stack import Overrides, filled_in, resource_stack
from infrastructure.template import config, resources_of
from operations.resources import Aws, outputs_of, stack_of, status_of

# What a trigger can be told, as both the template and Lambda call it.
_OF_TRIGGERS = (
    "ScalingConfig",
    "FunctionResponseTypes",
    "MaximumRetryAttempts",
    "MaximumRecordAgeInSeconds",
    "BisectBatchOnFunctionError",
    "DestinationConfig",
    "FilterCriteria",
    "ParallelizationFactor",
)
_TRIGGER_SECONDS = 180


class NotDeployed(Exception):
    """There is nothing to settle yet; the text says what to do first."""


@dataclass(frozen=True, kw_only=True)
class Settling:
    """A stage that Chalice deployed, and what is still to be said about it."""

    aws: Aws
    stage: str
    overrides: Overrides
    outputs: Mapping[str, str]
    rest_api_id: str

    def run(self) -> Iterator[str]:
        """Change what is otherwise; a line for each change."""
        client = self.aws.client("lambda")
        for function in functions_of(config(), self.stage):
            yield from self._function(client, function)
            yield from self._triggers(client, function)
        yield from self._api(self.aws.client("apigateway"))

    def _said(self, part: Any) -> Any:
        return filled_in(part, self.outputs)

    def _own(self, function: Function) -> Mapping[str, Any]:
        return self.overrides.of.get(function.logical_name, {})

    def _function(self, client: Any, function: Function) -> Iterator[str]:
        name = f"{APP_NAME}-{self.stage}{function.suffix}"
        found = client.get_function_configuration(FunctionName=name)
        own = self._own(function)
        wanted: dict[str, Any] = {
            "LoggingConfig": self._said(self.overrides.shared["LoggingConfig"])
        }
        if "DeadLetterQueue" in own:
            target = self._said(own["DeadLetterQueue"]["TargetArn"])
            wanted["DeadLetterConfig"] = {"TargetArn": target}
        changes = {k: v for k, v in wanted.items() if not _holds(found.get(k), v)}
        variables = dict(found.get("Environment", {}).get("Variables", {}))
        # Some have the API's address in them, which was not known when Chalice set them.
        said = self._said(own.get("Environment", {}).get("Variables", {}))
        missing = {k: v for k, v in said.items() if v and variables.get(k) != v}
        if missing:
            changes["Environment"] = {"Variables": {**variables, **missing}}
        if changes:
            # A change is refused while another one is under way.
            client.get_waiter("function_updated_v2").wait(FunctionName=name)
            client.update_function_configuration(FunctionName=name, **changes)
            yield f"{name}: {', '.join(sorted(changes))}"

    def _triggers(self, client: Any, function: Function) -> Iterator[str]:
        name = f"{APP_NAME}-{self.stage}{function.suffix}"
        wanted: dict[str, Any] = {}
        for event in self._own(function).get("Events", {}).values():
            said = self._said(event["Properties"])
            wanted |= {key: _numbers(said[key]) for key in _OF_TRIGGERS if key in said}
        if not wanted:
            return
        pages = client.get_paginator("list_event_source_mappings").paginate(FunctionName=name)
        for mapping in (m for page in pages for m in page["EventSourceMappings"]):
            changes = {k: v for k, v in wanted.items() if not _holds(mapping.get(k), v)}
            if changes:
                _wait_for_trigger(client, mapping["UUID"])
                client.update_event_source_mapping(UUID=mapping["UUID"], **changes)
                yield f"trigger of {name}: {', '.join(sorted(changes))}"

    def _api(self, client: Any) -> Iterator[str]:
        said = self._said(self.overrides.of["RestAPI"])
        stage = config()["stages"][self.stage]["api_gateway_stage"]
        answers = list(self._gateway_answers(client, said["GatewayResponses"]))
        if answers:
            # What the gateway answers is part of a deployment.
            client.create_deployment(
                restApiId=self.rest_api_id,
                stageName=stage,
                tracingEnabled=said["TracingEnabled"],
            )
            yield f"answers of the gateway: {', '.join(answers)}"
        found = client.get_stage(restApiId=self.rest_api_id, stageName=stage)
        changes = [*throttling_changes(said, found), *access_log_changes(said, found)]
        if changes:
            client.update_stage(
                restApiId=self.rest_api_id, stageName=stage, patchOperations=changes
            )
            yield f"stage of the API: {', '.join(change['path'] for change in changes)}"

    def _gateway_answers(self, client: Any, wanted: Mapping[str, Any]) -> Iterator[str]:
        pages = client.get_gateway_responses(restApiId=self.rest_api_id, limit=500)
        found = {entry["responseType"]: entry for entry in pages["items"]}
        for kind, said in wanted.items():
            answer = {
                "responseParameters": {
                    f"gatewayresponse.header.{name}": value
                    for name, value in said["ResponseParameters"]["Headers"].items()
                },
                "responseTemplates": said["ResponseTemplates"],
            }
            if "StatusCode" in said:
                answer["statusCode"] = str(said["StatusCode"])
            if not _holds(found.get(kind), answer):
                client.put_gateway_response(restApiId=self.rest_api_id, responseType=kind, **answer)
                yield kind


def _wait_for_trigger(client: Any, uuid: str) -> None:
    """A new one takes up to a minute until it can be changed."""
    deadline = time.monotonic() + _TRIGGER_SECONDS
    while client.get_event_source_mapping(UUID=uuid)["State"] not in {"Enabled", "Disabled"}:
        if time.monotonic() > deadline:
            raise NotDeployed(f"The trigger {uuid} was not ready within {_TRIGGER_SECONDS} s.")
        time.sleep(1)


def throttling_changes(
    said: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[dict[str, str]]:
    """What is to be changed of a stage's limits.

    Args:
        said: What the merged template says of the API, with its values.
        found: The stage, as API Gateway describes it.
    """
    (wanted,) = said["MethodSettings"]
    now = found.get("methodSettings", {}).get("*/*", {})
    for path, name, value in (
        ("metrics/enabled", "metricsEnabled", bool(wanted["MetricsEnabled"])),
        ("throttling/rateLimit", "throttlingRateLimit", float(wanted["ThrottlingRateLimit"])),
        ("throttling/burstLimit", "throttlingBurstLimit", int(wanted["ThrottlingBurstLimit"])),
    ):
        if now.get(name) != value:
            text = str(value).lower() if isinstance(value, bool) else f"{value:.15g}"
            yield {"op": "replace", "path": f"/*/*/{path}", "value": text}


def access_log_changes(
    said: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[dict[str, str]]:
    """What is to be changed of a stage's access log; as `throttling_changes`."""
    now = found.get("accessLogSettings") or {}
    if "AccessLogSetting" not in said:
        if now:
            yield {"op": "remove", "path": "/accessLogSettings"}
        return
    wanted = said["AccessLogSetting"]
    # API Gateway wants it without the `:*` that a group's ARN ends with.
    for path, value in (
        ("destinationArn", wanted["DestinationArn"].removesuffix(":*")),
        ("format", wanted["Format"]),
    ):
        if now.get(path) != value:
            yield {"op": "replace", "path": f"/accessLogSettings/{path}", "value": value}


def _holds(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; AWS tells more than it was told."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_holds(found.get(k), v) for k, v in wanted.items())
    return bool(found == wanted)


def _numbers(said: Any) -> Any:
    """Numbers where the stack says them as texts."""
    if isinstance(said, dict):
        return {name: _numbers(value) for name, value in said.items()}
    if isinstance(said, str) and said.isdecimal():
        return int(said)
    return said


def settling_of(stage: str, aws: Aws) -> Settling:
    """What is to be settled of a stage.

    Raises:
        NotDeployed: Its resources or its functions are not there.
    """
    if (
        stage not in config()["stages"]
        or status_of(aws.client("cloudformation"), stack_of(stage)) is None
    ):
        raise NotDeployed(f"There is no stack {stack_of(stage)}; run make resources STAGE={stage}.")
    rest_api_id = chalice_project.rest_api_id(stage)
    if not rest_api_id:
        folder = chalice_project.project_folder(stage).name
        raise NotDeployed(
            f"Chalice has deployed no stage {stage} from here; run "
            f".venv/bin/chalice --project-dir build/{folder} deploy --stage {stage}."
        )
    stack = resource_stack(resources_of(stage), functions_of(config(), stage))
    return Settling(
        aws=aws,
        stage=stage,
        overrides=stack.overrides,
        outputs=outputs_of(aws.client("cloudformation"), stage),
        rest_api_id=rest_api_id,
    )


def main() -> int:
    """The command line; exit code 1 where it did not work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage")
    stage = parser.parse_args().stage
    changed = False
    try:
        for line in settling_of(stage, Aws()).run():
            changed = True
            print(line)
    except (NotDeployed, BotoCoreError, ClientError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyError:
        print(
            f"Error: {stack_of(stage)} was made from other files than these; "
            f"run make resources STAGE={stage}.",
            file=sys.stderr,
        )
        return 1
    if not changed:
        print(f"{APP_NAME}-{stage}: nothing to settle.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
