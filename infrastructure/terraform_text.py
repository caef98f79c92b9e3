"""CloudFormation's intrinsic functions as Terraform's expressions."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infrastructure.policies import TERRAFORM

_PSEUDO = {
    "AWS::AccountId": TERRAFORM.account_id[2:-1],
    "AWS::Region": TERRAFORM.region[2:-1],
    "AWS::Partition": TERRAFORM.partition[2:-1],
    "AWS::URLSuffix": "data.aws_partition.chalice.dns_suffix",
}
# Terraform's type of each of CloudFormation's, what a Ref is there, and what the attributes are.
TYPES: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "AWS::S3::Bucket": (
        "aws_s3_bucket",
        "id",
        {"Arn": "arn", "RegionalDomainName": "bucket_regional_domain_name"},
    ),
    "AWS::DynamoDB::Table": ("aws_dynamodb_table", "name", {"StreamArn": "stream_arn"}),
    "AWS::SQS::Queue": ("aws_sqs_queue", "url", {"Arn": "arn"}),
    "AWS::SNS::Topic": ("aws_sns_topic", "arn", {}),
    "AWS::SES::ConfigurationSet": ("aws_sesv2_configuration_set", "configuration_set_name", {}),
    "AWS::Logs::LogGroup": ("aws_cloudwatch_log_group", "name", {"Arn": "arn"}),
    "AWS::IAM::Role": ("aws_iam_role", "name", {"Arn": "arn"}),
    "AWS::ApiGateway::UsagePlan": ("aws_api_gateway_usage_plan", "id", {}),
    "AWS::ApiGateway::ApiKey": ("aws_api_gateway_api_key", "id", {}),
    "AWS::ApiGateway::Account": ("aws_api_gateway_account", "id", {}),
    "AWS::ApiGateway::DomainName": (
        "aws_api_gateway_domain_name",
        "domain_name",
        {"DistributionDomainName": "cloudfront_domain_name"},
    ),
    "AWS::CloudFront::OriginAccessControl": (
        "aws_cloudfront_origin_access_control",
        "id",
        {"Id": "id"},
    ),
    "AWS::CloudFront::CachePolicy": ("aws_cloudfront_cache_policy", "id", {}),
    "AWS::CloudFront::ResponseHeadersPolicy": ("aws_cloudfront_response_headers_policy", "id", {}),
    "AWS::CloudFront::Function": (
        "aws_cloudfront_function",
        "name",
        {"FunctionMetadata.FunctionARN": "arn"},
    ),
    "AWS::CloudFront::PublicKey": ("aws_cloudfront_public_key", "id", {}),
    "AWS::CloudFront::KeyGroup": ("aws_cloudfront_key_group", "id", {}),
    "AWS::CloudFront::Distribution": (
        "aws_cloudfront_distribution",
        "id",
        {"DomainName": "domain_name"},
    ),
}
# What Chalice makes itself, and calls otherwise in Terraform.
_CHALICE = {
    "RestAPI": "aws_api_gateway_rest_api.rest_api.id",
    "RestAPI.Stage": "aws_api_gateway_stage.api.stage_name",
}


_OPERATORS = {"Fn::Equals": " == ", "Fn::And": " && ", "Fn::Or": " || "}


def snake(name: str) -> str:
    """``UploadsBucket`` as Terraform would call it: ``uploads_bucket``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def is_nothing(node: Any) -> bool:
    """Whether this stands for a property that is left out."""
    return bool(node == {"Ref": "AWS::NoValue"})


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Translates values of one template.

    Args:
        template: The template that they stand in.
        stage: The stage, which is no variable: it stands in the zips too.
    """

    template: Mapping[str, Any]
    stage: str

    def of(self, node: Any) -> Any:
        """A value as it stands in Terraform's JSON."""
        if isinstance(node, list):
            return [self.of(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        intrinsic = next(iter(node)) if len(node) == 1 else ""
        if intrinsic == "Fn::Sub":
            return self._substituted(node[intrinsic])
        if intrinsic in {"Ref", "Fn::GetAtt", "Fn::If"}:
            return f"${{{self.expression(node)}}}"
        return {key: self.of(value) for key, value in node.items()}

    def expression(self, node: Any) -> str:  # noqa: PLR0911 -- one for each kind of value
        """A value as it stands inside an expression."""
        if isinstance(node, list):
            return self._list(node)
        if not isinstance(node, dict):
            return json.dumps(node)
        intrinsic = next(iter(node)) if len(node) == 1 else ""
        if intrinsic == "Ref":
            return "null" if is_nothing(node) else self._reference(node["Ref"])
        if intrinsic == "Fn::GetAtt":
            parts = node[intrinsic]
            name, _, attribute = (parts if isinstance(parts, str) else ".".join(parts)).partition(
                "."
            )
            return self._reference(f"{name}.{attribute}")
        if intrinsic == "Fn::Sub":
            return json.dumps(self._substituted(node[intrinsic]))
        if intrinsic == "Fn::If":
            condition, chosen, otherwise = node[intrinsic]
            return (
                f"(local.{snake(condition)} ? {self.expression(chosen)} : "
                f"{self.expression(otherwise)})"
            )
        pairs = ", ".join(f"{json.dumps(k)} = {self.expression(v)}" for k, v in node.items())
        return f"{{{pairs}}}"

    def condition(self, node: Any) -> str:
        """A condition as an expression."""
        ((kind, value),) = node.items()
        if kind == "Condition":
            return f"local.{snake(value)}"
        parts = [
            self.condition(part) if kind != "Fn::Equals" else self.expression(part)
            for part in value
        ]
        if kind == "Fn::Not":
            return f"!({parts[0]})"
        return f"({_OPERATORS[kind].join(parts)})"

    def document(self, policy: Mapping[str, Any]) -> str:
        """A policy as text; one in which something depends on a condition as an expression."""
        if "Fn::If" in json.dumps(policy):
            return f"${{jsonencode({self.expression(policy)})}}"
        return json.dumps(self.of(policy))

    def _list(self, entries: list[Any]) -> str:
        """Entries that may be left out need lists of their own."""
        parts: list[str] = []
        plain: list[str] = []
        for entry in entries:
            if isinstance(entry, dict) and "Fn::If" in entry and is_nothing(entry["Fn::If"][2]):
                condition, chosen, _ = entry["Fn::If"]
                parts.append(f"[{', '.join(plain)}]")
                plain = []
                # Not a `for` with an `if`: that would look at what is not there.
                parts.append(f"(local.{snake(condition)} ? [{self.expression(chosen)}] : [])")
            else:
                plain.append(self.expression(entry))
        if not parts:
            return f"[{', '.join(plain)}]"
        return f"concat({', '.join([*parts, f'[{", ".join(plain)}]'])})"

    def _substituted(self, text: str) -> str:
        return re.sub(
            r"\$\{([^}]+)\}",
            lambda found: (
                self.stage if found[1] == "Stage" else f"${{{self._reference(found[1])}}}"
            ),
            text,
        )

    def _reference(self, name: str) -> str:
        if name == "Stage":
            return "local.stage"
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name in _CHALICE:
            return _CHALICE[name]
        if name in self.template["Parameters"]:
            return f"var.{snake(name)}"
        logical, _, attribute = name.partition(".")
        resource = self.template["Resources"][logical]
        if "Type" not in resource:
            return f"aws_lambda_function.{snake(logical)}.{'arn' if attribute else 'function_name'}"
        kind, own, attributes = TYPES[resource["Type"]]
        place = f"{kind}.{snake(logical)}"
        wanted = attributes[attribute] if attribute else own
        return f"one({place}[*].{wanted})" if "Condition" in resource else f"{place}.{wanted}"
