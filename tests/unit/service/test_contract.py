"""The service against its own openapi.json, by schemathesis: no server error, nothing that is not described, no way around
the token. `make bench NAME=serve_contract` asks longer, over a socket."""

from __future__ import annotations

import schemathesis

import contract_run
from tramtrack.service.limits import Limits

ROOM = Limits(upload_bytes=1 << 20, unpacked_bytes=4 << 20, files=6, waiting=10_000, uploads=2, prediction_seconds=5)
SEED = 9101


def test_the_service_keeps_to_its_description(serving):
    service = serving(ROOM, token=True)
    config = contract_run.configured(SEED, 5, "a" * 64)
    schema = schemathesis.openapi.from_asgi("/openapi.json", service.client.app, config=config)
    asked, answered, failures = contract_run.run(schema)
    assert not failures, "\n".join(failures)
    assert {"coverage", "fuzzing", "stateful"} <= set(asked) and min(asked.values()) >= 10
    assert {200, 202, 204, 401, 404, 405, 422} <= set(answered) and max(answered) < 500
