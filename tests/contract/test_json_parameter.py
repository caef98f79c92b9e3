"""Flags in SSM itself."""

from aws_lambda_powertools.utilities.parameters import SSMProvider

from chalicelib.aws.parameters import JsonParameter
from chalicelib.flags import Flags
from tests.contract.conftest import Edges, unique


def test_a_parameter_is_read_as_it_was_written_and_outlives_its_deletion(edges: Edges) -> None:
    name = f"/contract/{unique('flags')}"
    ssm = edges.admin("ssm")
    flags = JsonParameter(
        provider=SSMProvider(boto3_client=edges.clients.quick_ssm),
        name=name,
        schema=Flags,
        default=Flags(),
        max_age_seconds=0,
        retry_seconds=0,
    )
    assert flags.value() == Flags(), "there is none yet"
    ssm.put_parameter(Name=name, Type="String", Value='{"batch_processing": true}')
    assert flags.value() == Flags(batch_processing=True)
    ssm.put_parameter(Name=name, Type="String", Value="{oops", Overwrite=True)
    assert flags.value() == Flags(batch_processing=True)
    ssm.delete_parameter(Name=name)
    assert flags.value() == Flags(batch_processing=True)
