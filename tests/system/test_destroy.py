"""`make destroy`, on a stack with something to keep."""

import json

from operations.destroy import destroy, kept_by
from tests.polling import eventually
from tests.system.conftest import Service

TEMPLATE = {
    "Resources": {
        "Kept": {
            "Type": "AWS::S3::Bucket",
            "DeletionPolicy": "Retain",
            "Properties": {"BucketName": "darkroom-gone-kept"},
        },
        "Gone": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "darkroom-gone-queue"}},
    }
}


def test_a_stack_goes_and_what_holds_data_stays_and_is_named(service: Service) -> None:
    cloudformation = service.deployed.aws("cloudformation")
    cloudformation.create_stack(StackName="darkroom-gone", TemplateBody=json.dumps(TEMPLATE))
    eventually(
        lambda: (
            cloudformation.describe_stacks(StackName="darkroom-gone")["Stacks"][0]["StackStatus"]
            == "CREATE_COMPLETE"
        ),
        seconds=30,
        what="the stack is there",
    )
    assert list(destroy(cloudformation, "darkroom-gone")) == ["S3::Bucket darkroom-gone-kept"]
    s3, sqs = service.deployed.aws("s3"), service.deployed.aws("sqs")
    assert s3.head_bucket(Bucket="darkroom-gone-kept")
    assert not sqs.list_queues(QueueNamePrefix="darkroom-gone-").get("QueueUrls")
    s3.delete_bucket(Bucket="darkroom-gone-kept")


def test_a_packaged_template_is_read_whatever_its_intrinsics() -> None:
    text = """
Resources:
  A: {Type: X, DeletionPolicy: Retain, Properties: {Name: !Sub "x-${Stage}", Arn: !GetAtt [B, Arn]}}
  B: {Type: Y}
"""
    assert kept_by(text) == ["A"]
