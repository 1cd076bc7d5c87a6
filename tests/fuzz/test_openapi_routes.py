"""Schemathesis over both OpenAPI documents: whatever is sent, the answers are those that are documented.

Each operation gets the cases that the boundaries of its schemas name (a sample of them), and valid and
invalid ones by chance, in all forms of body and answer. tests/fuzz/amount.py says how many.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import hypothesis
import hypothesis.core
import pytest
import requests
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from hypothesis.internal.conjecture import engine
from hypothesis.strategies._internal import collections

from balancer.api import openapi as of_balancer
from tests.fuzz.amount import EXAMPLES, SEED
from tests.fuzz.openapi_calls import ACCEPTS, PREFERS, Manner, Target
from tests.fuzz.openapi_cases import MODES, Case, Operation
from tests.fuzz.openapi_fleet import KEYS, served_fleet
from worker.api import openapi as of_worker

if TYPE_CHECKING:
    from schemathesis import GenerationMode

    from tests.fuzz.openapi_cases import JsonObject

SHARE_OF_TASKS = 3  # `POST /task` has as many schemas as functions, so it gets more
MANNERS = st.builds(Manner, st.sampled_from(ACCEPTS), st.sampled_from(PREFERS), st.booleans())
# What schemathesis sets otherwise in hypothesis, for good: without it other tests print no falsifying example.
PATCHED = (
    (hypothesis.core, "RepresentationPrinter"),
    (hypothesis.core, "BUFFER_SIZE"),
    (engine, "BUFFER_SIZE"),
    (collections, "BUFFER_SIZE"),
)

DOCUMENTS = {
    "worker": of_worker.document([], group="default", contract=1, version=""),
    "balancer": of_balancer.document([], ""),
}
OPERATIONS = [
    (process, path, method)
    for process, document in DOCUMENTS.items()
    for path, item in cast("dict[str, JsonObject]", document["paths"]).items()
    for method in item
]

pytestmark = [
    pytest.mark.xdist_group("openapi"),  # one fleet serves them all
    pytest.mark.timeout(60 + 5 * EXAMPLES),
]


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Target]]:
    """Serve both processes, with a task of each kind in the balancer."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    with (
        pytest.MonkeyPatch.context() as patch,
        served_fleet(folder) as fleet,
        requests.Session() as session,
    ):
        for module, name in PATCHED:
            patch.setattr(module, name, getattr(module, name))  # put back at the end
        session.trust_env = False  # no proxy stands before a loopback address
        made = {process: Target(process, fleet, session) for process in KEYS}
        made["balancer"].keep_tasks()
        yield made


@pytest.fixture(autouse=True)
def ready_again(targets: dict[str, Target]) -> Iterator[None]:
    """End the maintenance that a test has ordered."""
    yield
    for target in targets.values():
        target.end_maintenance()


def _by_chance(
    operation: Operation, mode: GenerationMode, count: int, call: Callable[[Case, Manner], None]
) -> None:
    """Call with cases of a mode."""

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode), manner=MANNERS)
    def drawn(case: Case, manner: Manner) -> None:
        call(case, manner)

    drawn()


@pytest.mark.parametrize(("process", "path", "method"), OPERATIONS, ids=lambda part: str(part))
def test_answers_are_those_that_are_documented(
    targets: dict[str, Target], process: str, path: str, method: str
) -> None:
    """No undocumented status, body or type; no secret, no hang; what the document allows is taken, and no more."""
    target, chance = targets[process], random.Random(SEED)
    operation = target.cases.operation(path, method)
    count = EXAMPLES * (SHARE_OF_TASKS if path == "/task" else 1)

    def call(case: Case, manner: Manner) -> None:
        target.call(case, manner, chance)

    try:
        for case in target.cases.boundaries(operation, 2 * count, chance):
            call(case, Manner.any(chance))
        # Any text is a header or an id, so without query and body nothing is invalid.
        for mode in MODES if operation.query or operation.body else MODES[:1]:
            _by_chance(operation, mode, count, call)
    except BaseException as wrong:
        wrong.add_note(f"FUZZ_SEED={SEED} FUZZ_EXAMPLES={EXAMPLES}")
        raise


@pytest.mark.parametrize("process", KEYS)
def test_the_served_document_has_the_operations_that_are_tested(
    targets: dict[str, Target], process: str
) -> None:
    """The list above, made without a fleet, is what a running process serves."""
    paths = cast("dict[str, JsonObject]", targets[process].document.content["paths"])
    served = [(process, path, method) for path, item in paths.items() for method in item]
    assert served == [operation for operation in OPERATIONS if operation[0] == process]


@pytest.mark.parametrize(("process", "path", "method"), OPERATIONS, ids=lambda part: str(part))
@pytest.mark.parametrize("given_key", ["", "wrong", "Bearer wrong", "Basic d3I6b25n", "é"])
def test_who_may_call_is_documented(
    targets: dict[str, Target], process: str, path: str, method: str, given_key: str
) -> None:
    """Without a key, or with a wrong one, exactly the operations that say so answer."""
    target = targets[process]
    content = target.document.content
    operation = cast("dict[str, dict[str, JsonObject]]", content["paths"])[path][method]
    everybody: list[JsonObject] = [{}]
    rules = operation.get("security", content.get("security", everybody))
    headers = {"Authorization": given_key.encode()} if given_key else {}
    answer = target.ask(method, path.replace("{id}", "x"), headers=headers)
    assert (answer.status_code != 401) == ({} in cast("list[JsonObject]", rules))
