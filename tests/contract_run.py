"""A run of schemathesis over a service's own description, all its phases, as counts and failures."""

from __future__ import annotations

from collections import Counter
from typing import Any

from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

ALSO_ACCEPTED = ["2xx", "401", "404", "409", "413", "415", "429", "503"]
"""What may be answered to an upload that keeps to the description: 413 and 415 speak of what is inside a file, such as an
archive in an archive, which no schema can describe; schemathesis draws such files."""


def configured(seed: int, examples: int, token: str) -> SchemathesisConfig:
    """What a run does: ``examples`` of each address and phase, drawn from ``seed``, with every request showing the token."""
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "continue-on-failure": True,
            "headers": {"Authorization": f"Bearer {token}"},
            "generation": {"max-examples": examples, "deterministic": True, "database": "none"},
            "checks": {"positive_data_acceptance": {"expected-statuses": ALSO_ACCEPTED}},
            "phases": {"stateful": {"generation": {"max-examples": examples}}},
        }
    )


def run(schema: Any) -> tuple[Counter[str], Counter[int], list[str]]:
    """How many requests were made in each phase, how often each status was answered, and what failed, a sentence each."""
    asked: Counter[str] = Counter()
    answered: Counter[int] = Counter()
    failures: list[str] = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            failures.append(repr(getattr(event, "value", None) or getattr(event, "exception", None)))
        if isinstance(event, events.ScenarioFinished):
            for interaction in event.recorder.interactions.values():
                asked[event.phase.value] += 1
                answered[interaction.response.status_code if interaction.response else 0] += 1
            for case, checks in event.recorder.checks.items():
                answer = event.recorder.interactions[case].response
                request = event.recorder.interactions[case].request
                said = f"{answer.status_code} {answer.content!r}" if answer else "no answer"
                failures += [
                    f"{request.method} {request.uri} {request.headers} {request.body!r}: {said}: {check.failure_info.failure}"
                    for check in checks
                    if check.status == Status.FAILURE and check.failure_info
                ]
    return asked, answered, failures
