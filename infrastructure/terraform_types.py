"""Each of CloudFormation's resource types, as the blocks that Terraform has for it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from infrastructure.terraform_text import Texts, is_nothing, snake

# A block: Terraform's type, its label, its arguments.
type Block = tuple[str, str, dict[str, Any]]
type Properties = Mapping[str, Any]


def translated(name: str, resource: Mapping[str, Any], texts: Texts) -> Iterable[Block]:
    """The blocks of a resource; none where Chalice makes it.

    Raises:
        KeyError: There is no translation of its type yet.
    """
    kind = resource.get("Type")
    if kind is None or kind == "AWS::Lambda::Permission":
        return []
    return list(_TRANSLATIONS[kind](snake(name), resource["Properties"], texts))


def _bucket(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    bucket = {"bucket": f"${{aws_s3_bucket.{label}.id}}"}
    yield "aws_s3_bucket", label, {"bucket": texts.of(p["BucketName"])}
    (rule,) = p["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    algorithm = rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"]
    yield (
        "aws_s3_bucket_server_side_encryption_configuration",
        label,
        {
            **bucket,
            "rule": [{"apply_server_side_encryption_by_default": {"sse_algorithm": algorithm}}],
        },
    )
    yield (
        "aws_s3_bucket_public_access_block",
        label,
        {**bucket, **{snake(k): v for k, v in p["PublicAccessBlockConfiguration"].items()}},
    )
    yield (
        "aws_s3_bucket_lifecycle_configuration",
        label,
        {
            **bucket,
            "rule": [_lifecycle(rule, texts) for rule in p["LifecycleConfiguration"]["Rules"]],
        },
    )
    if "VersioningConfiguration" in p:
        status = {"status": p["VersioningConfiguration"]["Status"]}
        yield "aws_s3_bucket_versioning", label, {**bucket, "versioning_configuration": status}
    if "CorsConfiguration" in p:
        yield (
            "aws_s3_bucket_cors_configuration",
            label,
            {
                **bucket,
                "cors_rule": [
                    {
                        "allowed_methods": rule["AllowedMethods"],
                        "allowed_origins": texts.of(rule["AllowedOrigins"]),
                        "allowed_headers": rule["AllowedHeaders"],
                        "expose_headers": rule["ExposedHeaders"],
                        "max_age_seconds": rule["MaxAge"],
                    }
                    for rule in p["CorsConfiguration"]["CorsRules"]
                ],
            },
        )
    if "AccelerateConfiguration" in p:
        condition, _, _ = p["AccelerateConfiguration"]["Fn::If"]
        count = f"${{local.{snake(condition)} ? 1 : 0}}"
        yield (
            "aws_s3_bucket_accelerate_configuration",
            label,
            {"count": count, **bucket, "status": "Enabled"},
        )


def _lifecycle(rule: Properties, texts: Texts) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": rule["Id"],
        "status": rule["Status"],
        "filter": {"prefix": rule.get("Prefix", "")},
    }
    if "ExpirationInDays" in rule:
        found["expiration"] = {"days": texts.of(rule["ExpirationInDays"])}
    if "NoncurrentVersionExpiration" in rule:
        days = rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
        found["noncurrent_version_expiration"] = {"noncurrent_days": texts.of(days)}
    if "AbortIncompleteMultipartUpload" in rule:
        days = rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
        found["abort_incomplete_multipart_upload"] = {"days_after_initiation": days}
    return found


def _bucket_policy(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    yield (
        "aws_s3_bucket_policy",
        label,
        {"bucket": texts.of(p["Bucket"]), "policy": texts.document(p["PolicyDocument"])},
    )


def _table(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    body: dict[str, Any] = {
        "name": texts.of(p["TableName"]),
        "billing_mode": p["BillingMode"],
        **_keys(p["KeySchema"]),
        "attribute": [
            {"name": entry["AttributeName"], "type": entry["AttributeType"]}
            for entry in p["AttributeDefinitions"]
        ],
        "point_in_time_recovery": {
            "enabled": p["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
        },
        "server_side_encryption": {"enabled": p["SSESpecification"]["SSEEnabled"]},
    }
    if "GlobalSecondaryIndexes" in p:
        body["global_secondary_index"] = [
            {
                "name": index["IndexName"],
                "projection_type": index["Projection"]["ProjectionType"],
                **_keys(index["KeySchema"]),
            }
            for index in p["GlobalSecondaryIndexes"]
        ]
    if "StreamSpecification" in p:
        body["stream_enabled"] = True
        body["stream_view_type"] = p["StreamSpecification"]["StreamViewType"]
    if "TimeToLiveSpecification" in p:
        ttl = p["TimeToLiveSpecification"]
        body["ttl"] = {"attribute_name": ttl["AttributeName"], "enabled": ttl["Enabled"]}
    yield "aws_dynamodb_table", label, body


def _keys(schema: Iterable[Properties]) -> dict[str, str]:
    return {f"{key['KeyType'].lower()}_key": key["AttributeName"] for key in schema}


def _queue(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    body = {
        "name": texts.of(p["QueueName"]),
        "visibility_timeout_seconds": p["VisibilityTimeout"],
        "message_retention_seconds": p["MessageRetentionPeriod"],
        "sqs_managed_sse_enabled": p["SqsManagedSseEnabled"],
    }
    if "RedrivePolicy" in p:
        # SQS wants the number as a number, which a text with a place in it would not be.
        body["redrive_policy"] = f"${{jsonencode({texts.expression(p['RedrivePolicy'])})}}"
    yield "aws_sqs_queue", label, body


def _queue_policy(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    (queue,) = p["Queues"]
    policy = texts.document(p["PolicyDocument"])
    yield "aws_sqs_queue_policy", label, {"queue_url": texts.of(queue), "policy": policy}


def _topic_policy(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    (topic,) = p["Topics"]
    policy = texts.document(p["PolicyDocument"])
    yield "aws_sns_topic_policy", label, {"arn": texts.of(topic), "policy": policy}


def _subscription(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    body = {name: texts.of(p[key]) for name, key in _SUBSCRIPTION.items() if key in p}
    yield "aws_sns_topic_subscription", label, body


_SUBSCRIPTION = {
    "topic_arn": "TopicArn",
    "protocol": "Protocol",
    "endpoint": "Endpoint",
    "raw_message_delivery": "RawMessageDelivery",
}


def _same(kind: str, **names: str) -> Callable[[str, Properties, Texts], Iterable[Block]]:
    """A type whose properties have but other names: Terraform's by CloudFormation's."""

    def translate(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
        unknown = set(p) - set(names)
        if unknown:
            raise KeyError(f"{label}: no translation of {', '.join(sorted(unknown))}")
        yield kind, label, {names[key]: texts.of(value) for key, value in p.items()}

    return translate


def _alarm(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    body = {snake(key): texts.of(value) for key, value in p.items() if key != "OKActions"}
    body["ok_actions"] = texts.of(p["OKActions"])
    body["dimensions"] = {entry["Name"]: texts.of(entry["Value"]) for entry in p["Dimensions"]}
    yield "aws_cloudwatch_metric_alarm", label, body


def _configuration_set(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    yield (
        "aws_sesv2_configuration_set",
        label,
        {
            "configuration_set_name": texts.of(p["Name"]),
            "delivery_options": {"tls_policy": p["DeliveryOptions"]["TlsPolicy"]},
            "reputation_options": {
                "reputation_metrics_enabled": p["ReputationOptions"]["ReputationMetricsEnabled"]
            },
            "suppression_options": {
                "suppressed_reasons": p["SuppressionOptions"]["SuppressedReasons"]
            },
        },
    )


def _event_destination(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    event = p["EventDestination"]
    yield (
        "aws_sesv2_configuration_set_event_destination",
        label,
        {
            "configuration_set_name": texts.of(p["ConfigurationSetName"]),
            "event_destination_name": event["Name"],
            "event_destination": {
                "enabled": event["Enabled"],
                "matching_event_types": [kind.upper() for kind in event["MatchingEventTypes"]],
                "sns_destination": {"topic_arn": texts.of(event["SnsDestination"]["TopicARN"])},
            },
            "depends_on": ["aws_sns_topic_policy.mail_feedback_topic_policy"],
        },
    )


def _role(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    document = texts.document(p["AssumeRolePolicyDocument"])
    yield "aws_iam_role", label, {"assume_role_policy": document}
    for number, arn in enumerate(p["ManagedPolicyArns"]):
        body = {"role": f"${{one(aws_iam_role.{label}[*].name)}}", "policy_arn": texts.of(arn)}
        yield "aws_iam_role_policy_attachment", f"{label}_{number}", body


def _usage_plan(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    yield (
        "aws_api_gateway_usage_plan",
        label,
        {
            "name": texts.of(p["UsagePlanName"]),
            "api_stages": [
                {"api_id": texts.of(stage["ApiId"]), "stage": texts.of(stage["Stage"])}
                for stage in p["ApiStages"]
            ],
            "throttle_settings": {
                "rate_limit": texts.of(p["Throttle"]["RateLimit"]),
                "burst_limit": texts.of(p["Throttle"]["BurstLimit"]),
            },
            "quota_settings": {
                "limit": texts.of(p["Quota"]["Limit"]),
                "period": p["Quota"]["Period"],
            },
        },
    )


def _domain_name(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    yield (
        "aws_api_gateway_domain_name",
        label,
        {
            "domain_name": texts.of(p["DomainName"]),
            "certificate_arn": texts.of(p["CertificateArn"]),
            "security_policy": p["SecurityPolicy"],
            "endpoint_configuration": {"types": p["EndpointConfiguration"]["Types"]},
        },
    )


def _origin_access(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    c = p["OriginAccessControlConfig"]
    yield (
        "aws_cloudfront_origin_access_control",
        label,
        {
            "name": texts.of(c["Name"]),
            "origin_access_control_origin_type": c["OriginAccessControlOriginType"],
            "signing_behavior": c["SigningBehavior"],
            "signing_protocol": c["SigningProtocol"],
        },
    )


def _cache_policy(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    c = p["CachePolicyConfig"]
    key = c["ParametersInCacheKeyAndForwardedToOrigin"]
    yield (
        "aws_cloudfront_cache_policy",
        label,
        {
            "name": texts.of(c["Name"]),
            "default_ttl": c["DefaultTTL"],
            "max_ttl": c["MaxTTL"],
            "min_ttl": c["MinTTL"],
            "parameters_in_cache_key_and_forwarded_to_origin": {
                "cookies_config": {"cookie_behavior": key["CookiesConfig"]["CookieBehavior"]},
                "headers_config": {"header_behavior": key["HeadersConfig"]["HeaderBehavior"]},
                "query_strings_config": {
                    "query_string_behavior": key["QueryStringsConfig"]["QueryStringBehavior"]
                },
                "enable_accept_encoding_brotli": key["EnableAcceptEncodingBrotli"],
                "enable_accept_encoding_gzip": key["EnableAcceptEncodingGzip"],
            },
        },
    )


def _headers_policy(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    c = p["ResponseHeadersPolicyConfig"]
    security, cors = c["SecurityHeadersConfig"], c["CorsConfig"]
    content, transport = security["ContentSecurityPolicy"], security["StrictTransportSecurity"]
    yield (
        "aws_cloudfront_response_headers_policy",
        label,
        {
            "name": texts.of(c["Name"]),
            "security_headers_config": {
                "content_type_options": {"override": security["ContentTypeOptions"]["Override"]},
                "content_security_policy": {
                    "content_security_policy": content["ContentSecurityPolicy"],
                    "override": content["Override"],
                },
                "strict_transport_security": {
                    "access_control_max_age_sec": transport["AccessControlMaxAgeSec"],
                    "override": transport["Override"],
                },
            },
            "cors_config": {
                "access_control_allow_credentials": cors["AccessControlAllowCredentials"],
                "origin_override": cors["OriginOverride"],
                **{
                    snake(key): {"items": texts.of(cors[key]["Items"])}
                    for key in (
                        "AccessControlAllowHeaders",
                        "AccessControlAllowMethods",
                        "AccessControlAllowOrigins",
                    )
                },
            },
        },
    )


def _edge_function(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    yield (
        "aws_cloudfront_function",
        label,
        {
            "name": texts.of(p["Name"]),
            "publish": p["AutoPublish"],
            "comment": p["FunctionConfig"]["Comment"],
            "runtime": p["FunctionConfig"]["Runtime"],
            # Nothing in it is a place of Terraform's.
            "code": p["FunctionCode"].replace("${", "$${").replace("%{", "%%{"),
        },
    )


def _public_key(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    c = p["PublicKeyConfig"]
    body = {"name": texts.of(c["Name"]), "encoded_key": texts.of(c["EncodedKey"])}
    yield "aws_cloudfront_public_key", label, body


def _key_group(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    c = p["KeyGroupConfig"]
    body = {"name": texts.of(c["Name"]), "items": texts.of(c["Items"])}
    yield "aws_cloudfront_key_group", label, body


def _distribution(label: str, p: Properties, texts: Texts) -> Iterable[Block]:
    c = p["DistributionConfig"]
    condition, own, _ = c["ViewerCertificate"]["Fn::If"]
    has_own = f"local.{snake(condition)}"
    yield (
        "aws_cloudfront_distribution",
        label,
        {
            "comment": texts.of(c["Comment"]),
            "enabled": c["Enabled"],
            "http_version": c["HttpVersion"],
            "is_ipv6_enabled": c["IPV6Enabled"],
            "price_class": c["PriceClass"],
            "aliases": texts.of(c["Aliases"]),
            "viewer_certificate": {
                "acm_certificate_arn": f"${{{has_own} ? var.certificate_arn : null}}",
                "minimum_protocol_version": (
                    f'${{{has_own} ? "{own["MinimumProtocolVersion"]}" : null}}'
                ),
                "ssl_support_method": f'${{{has_own} ? "{own["SslSupportMethod"]}" : null}}',
                "cloudfront_default_certificate": f"${{!{has_own}}}",
            },
            "origin": [
                {
                    "origin_id": origin["Id"],
                    "domain_name": texts.of(origin["DomainName"]),
                    "origin_access_control_id": texts.of(origin["OriginAccessControlId"]),
                }
                for origin in c["Origins"]
            ],
            "default_cache_behavior": _behaviour(c["DefaultCacheBehavior"], texts),
            "ordered_cache_behavior": [_behaviour(b, texts) for b in c["CacheBehaviors"]],
            "restrictions": {"geo_restriction": {"restriction_type": "none"}},
        },
    )


def _behaviour(behaviour: Properties, texts: Texts) -> dict[str, Any]:
    found = {
        snake(key): texts.of(value)
        for key, value in behaviour.items()
        if key != "FunctionAssociations" and not is_nothing(value)
    }
    if "FunctionAssociations" in behaviour:
        found["function_association"] = [
            {"event_type": entry["EventType"], "function_arn": texts.of(entry["FunctionARN"])}
            for entry in behaviour["FunctionAssociations"]
        ]
    return found


_TRANSLATIONS: Mapping[str, Callable[[str, Properties, Texts], Iterable[Block]]] = {
    "AWS::S3::Bucket": _bucket,
    "AWS::S3::BucketPolicy": _bucket_policy,
    "AWS::DynamoDB::Table": _table,
    "AWS::SQS::Queue": _queue,
    "AWS::SQS::QueuePolicy": _queue_policy,
    "AWS::SNS::Topic": _same("aws_sns_topic", TopicName="name", KmsMasterKeyId="kms_master_key_id"),
    "AWS::SNS::TopicPolicy": _topic_policy,
    "AWS::SNS::Subscription": _subscription,
    "AWS::SSM::Parameter": _same(
        "aws_ssm_parameter", Name="name", Description="description", Type="type", Value="value"
    ),
    "AWS::SES::ConfigurationSet": _configuration_set,
    "AWS::SES::ConfigurationSetEventDestination": _event_destination,
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::Dashboard": _same(
        "aws_cloudwatch_dashboard", DashboardName="dashboard_name", DashboardBody="dashboard_body"
    ),
    "AWS::Logs::LogGroup": _same(
        "aws_cloudwatch_log_group", LogGroupName="name", RetentionInDays="retention_in_days"
    ),
    "AWS::IAM::Role": _role,
    "AWS::ApiGateway::Account": _same(
        "aws_api_gateway_account", CloudWatchRoleArn="cloudwatch_role_arn"
    ),
    "AWS::ApiGateway::UsagePlan": _usage_plan,
    "AWS::ApiGateway::ApiKey": _same("aws_api_gateway_api_key", Name="name", Enabled="enabled"),
    "AWS::ApiGateway::UsagePlanKey": _same(
        "aws_api_gateway_usage_plan_key",
        KeyId="key_id",
        KeyType="key_type",
        UsagePlanId="usage_plan_id",
    ),
    "AWS::ApiGateway::DomainName": _domain_name,
    "AWS::ApiGateway::BasePathMapping": _same(
        "aws_api_gateway_base_path_mapping",
        DomainName="domain_name",
        RestApiId="api_id",
        Stage="stage_name",
    ),
    "AWS::CloudFront::OriginAccessControl": _origin_access,
    "AWS::CloudFront::CachePolicy": _cache_policy,
    "AWS::CloudFront::ResponseHeadersPolicy": _headers_policy,
    "AWS::CloudFront::Function": _edge_function,
    "AWS::CloudFront::PublicKey": _public_key,
    "AWS::CloudFront::KeyGroup": _key_group,
    "AWS::CloudFront::Distribution": _distribution,
}
