"""The API conforms to its own schema for any request."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from test_server import opened, shown  # noqa: F401 - fixtures

from imagier.server.app import make_app
from imagier.server.dataset import Pictures
from imagier.server.limits import Limits


@pytest.mark.parametrize("token", [None, "s3cret"])
def test_no_request_breaks_it(opened: list[Any], shown: Pictures, token: str | None) -> None:  # noqa: F811
    app = make_app(opened, Limits(megabytes=1, megapixels=1, token=token), pictures=shown)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {"/models/{model}/predict", "/data/images/{id}/comparison", "/metrics"} <= {one.path for one in operations}
    for operation in operations:
        _hold(operation)


def _hold(operation: Any) -> None:
    """Check that requests which match the schema, or nearly do, get a status and a body that the schema documents."""

    @given(case=operation.as_strategy())
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    def test(case: Any) -> None:
        case.call_and_validate()

    test()
