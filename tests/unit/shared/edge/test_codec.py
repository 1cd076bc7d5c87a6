"""`POST /task` as the codec reads it: every row of the contract's §2, and the balancer's of §5."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.edge.codec import BalancerRules, EdgeHeaders, TaskRules, WorkerRules, parse_task
from shared.errors import Failure, failure
from shared.task import Mode, TaskRequest, WebhookTarget
from tests.unit.shared.edge.rows import Groups, Hosts, body, without

HEADERS = EdgeHeaders(correlation_id="c-1")
HOOK = {"url": "https://example.org/hook"}


def worker() -> TaskRules:
    """Return the rules of a worker."""
    return WorkerRules(1, Hosts())


def balancer() -> TaskRules:
    """Return the rules of a balancer; every function has one group."""
    return BalancerRules(Groups("g1"))


def accepted(given: bytes, rules: TaskRules, headers: EdgeHeaders = HEADERS) -> TaskRequest:
    """Parse a body that must be accepted."""
    parsed = parse_task(given, headers, rules)
    assert isinstance(parsed, TaskRequest), parsed
    return parsed


def refused(given: bytes, rules: TaskRules) -> Failure:
    """Parse a body that must be refused."""
    parsed = parse_task(given, HEADERS, rules)
    assert isinstance(parsed, Failure), parsed
    return parsed


PRIORITY = "Invalid priority: must be between 1 and 2097152"
FUNCTION = "Missing or invalid function name"
CONTRACT = "Missing or invalid contract"
WEBHOOK = "Missing or invalid webhook.url for mode webhook"
YEAR = "must be a number of seconds greater than 0 and at most 31536000"

# (body, code, status, text): what both sides refuse alike.
BOTH = [
    (body(group="g", priority=0), "invalid_priority", 400, PRIORITY),
    (body(group="g", priority=None), "invalid_priority", 400, PRIORITY),
    (body(group="g", priority=2097153), "invalid_priority", 400, PRIORITY),
    (body(group="g", priority=-1), "invalid_priority", 400, PRIORITY),
    (body(group="g", priority="1"), "invalid_priority", 400, PRIORITY),
    (body(group="g", priority=True), "invalid_priority", 400, PRIORITY),
    (body(group="g", priority=0.999), "invalid_priority", 400, PRIORITY),
    (b'{"group":"g","function":"hello","contract":1,"priority":1e999}', "invalid_priority", 400, PRIORITY),
    (body(group="g", function=5), "invalid_function", 400, FUNCTION),
    (body(group="g", function=["hello"]), "invalid_function", 400, FUNCTION),
    (body(group="g", function="x" * 257), "invalid_function", 400, FUNCTION),
    (body(group="g", contract="1"), "invalid_contract", 400, CONTRACT),
    (body(group="g", contract=True), "invalid_contract", 400, CONTRACT),
    (body(group="g", contract=1.5), "invalid_contract", 400, CONTRACT),
    (body(group="g", contract={}), "invalid_contract", 400, CONTRACT),
    (b'{"group":"g","function":"hello","contract":1e999}', "invalid_contract", 400, CONTRACT),
    (b'{"group":"g","function":"hello","contract":%b}' % (b"9" * 5000), "invalid_contract", 400, CONTRACT),
    (body(group="g", contract=2**60), "invalid_contract", 400, CONTRACT),
    (body(group="g", input="x"), "invalid_input", 400, "Invalid input: must be an object"),
    (body(group="g", input=[]), "invalid_input", 400, "Invalid input: must be an object"),
    (body(group="g", input=5), "invalid_input", 400, "Invalid input: must be an object"),
    (body(group="g", input=False), "invalid_input", 400, "Invalid input: must be an object"),
    (body(group="g", mode="later"), "invalid_mode", 400, "Invalid mode"),
    (body(group="g", mode=None), "invalid_mode", 400, "Invalid mode"),
    (body(group="g", mode=[]), "invalid_mode", 400, "Invalid mode"),
    (body(group="g", mode="webhook"), "invalid_webhook", 400, WEBHOOK),
    (body(group="g", mode="webhook", webhook={}), "invalid_webhook", 400, WEBHOOK),
    (body(group="g", mode="webhook", webhook="http://a"), "invalid_webhook", 400, WEBHOOK),
    (body(group="g", timeout_s=0), "invalid_field", 400, f"Invalid timeout_s: {YEAR}"),
    (body(group="g", timeout_s="5"), "invalid_field", 400, f"Invalid timeout_s: {YEAR}"),
    (body(group="g", timeout_s=True), "invalid_field", 400, f"Invalid timeout_s: {YEAR}"),
    (body(group="g", timeout_s=1e12), "invalid_field", 400, f"Invalid timeout_s: {YEAR}"),
    (body(group="g", deadline_s=-1), "invalid_field", 400, f"Invalid deadline_s: {YEAR}"),
    (
        body(group="g", max_attempts=0), "invalid_field", 400,
        "Invalid max_attempts: must be an integer between 1 and 1000",
    ),
    (
        body(group="g", max_attempts=1.5), "invalid_field", 400,
        "Invalid max_attempts: must be an integer between 1 and 1000",
    ),
    (
        body(group="g", metadata=[1]), "invalid_field", 400,
        "Invalid metadata: must be an object of at most 16384 bytes of JSON",
    ),
    (
        body(group="g", metadata={"a": "x" * 16384}), "invalid_field", 400,
        "Invalid metadata: must be an object of at most 16384 bytes of JSON",
    ),
]  # fmt: skip

BAD_JSON = [
    b"", b" ", b"{", b"nope", b'{"function":"hello"', b"{} {}", b"[]", b"5", b"null", b'"x"',
    b'{"function":"hello","contract":1,"input":{"a":NaN}}',
    b'{"function":"hello","contract":1,"input":{"a":[Infinity]}}',
    b'{"function":"hello","contract":1,"priority":-Infinity}',
    b'{"function":"hello","contract":1,"other":NaN}',
    b'{"function":"hello","contract":1,"input":{"a":"\xff"}}',
    b'{"function":"hello","contract":1,"input":{"\xc3\x28":1}}',
    b'{"function":"hello","contract":1,"metadata":{"a":"\xed\xa0\x80"}}',
    b'{"function":"hello","contract":1,"other":"\xff"}',
    b'{"function":"hello","contract":1,"input":{"a":"\\ud800"}}',
    b'{"function":"hello","contract":1,"input":{"a":"\\udc00 tail of a pair that has no head"}}',
    b'{"function":"hello","contract":1,"input":{"a":01}}',
    b'{"function":"hello","contract":1,"input":{"a":1,}}',
    b'{"function":"hello","contract":1,"input":{"a":"\x01"}}',
    b"{'function':'hello'}",
    b'{"function":"hello","contract":1,"input":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"function":"hello","contract":1,"input":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    b'{"function":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"other":' + b"[" * 100_000,
    b"[" * 100_000,
    b'{"priority":1e999,"input":{"a":NaN}}',
]  # fmt: skip

WORKER = [
    (b'{"contract":1}', "invalid_function", 400, FUNCTION),
    (body(function=""), "invalid_function", 400, FUNCTION),
    (body(function=None), "invalid_function", 400, FUNCTION),
    (b'{"function":"hello"}', "invalid_contract", 400, CONTRACT),
    (body(contract=None), "invalid_contract", 400, CONTRACT),
    (
        body(contract=2), "contract_mismatch", 400,
        "Contract version mismatch: requested 2, worker is 1",
    ),
    (body(function="nope"), "function_not_found", 404, "Function 'nope' not found"),
    (body(function="__proto__"), "function_not_found", 404, "Function '__proto__' not found"),
    (
        body(mode="stream"), "streaming_not_supported", 400,
        "Function 'hello' does not support streaming",
    ),
]  # fmt: skip

MISSING = "Missing group, function, or contract"
BALANCER = [
    (without("function"), "invalid_request", 400, MISSING),
    (without("contract"), "invalid_request", 400, MISSING),
    (without("group", "function"), "invalid_request", 400, MISSING),
    (body(group="g", function=""), "invalid_request", 400, MISSING),
    (body(group="g", contract=None), "invalid_request", 400, MISSING),
    (body(group=5), "invalid_request", 400, MISSING),
    (b"{}", "invalid_request", 400, MISSING),
]


def _same(found: Failure, code: str, status: int, text: str) -> None:
    assert (found.code, found.status, found.message) == (code, status, text)


@pytest.mark.parametrize("rules", [worker, balancer])
@pytest.mark.parametrize(("given", "code", "status", "text"), BOTH)
def test_rows_of_both_sides(
    given: bytes, code: str, status: int, text: str, rules: Callable[[], TaskRules]
) -> None:
    """A field that is wrong is refused alike wherever the task is sent, without coercion."""
    _same(refused(given, rules()), code, status, text)


@pytest.mark.parametrize("rules", [worker, balancer])
@pytest.mark.parametrize("given", BAD_JSON, ids=lambda given: given[:60].decode("latin-1"))
def test_what_is_no_json_object(given: bytes, rules: Callable[[], TaskRules]) -> None:
    """Whatever is wrong and however deep it lies, even in fields nobody reads: 400, never a crash."""
    _same(refused(given, rules()), "invalid_json", 400, "Invalid JSON body")


@pytest.mark.parametrize(("given", "code", "status", "text"), WORKER)
def test_rows_of_the_worker(given: bytes, code: str, status: int, text: str) -> None:
    """A worker refuses what it does not host, in Andera's words."""
    _same(refused(given, worker()), code, status, text)


@pytest.mark.parametrize(("given", "code", "status", "text"), BALANCER)
def test_rows_of_the_balancer(given: bytes, code: str, status: int, text: str) -> None:
    """A balancer needs to know the lane before anything else."""
    _same(refused(given, balancer()), code, status, text)


def test_a_worker_in_maintenance_says_so_before_it_looks_at_the_fields() -> None:
    """Maintenance comes right after the JSON check."""
    rules = WorkerRules(1, Hosts(maintenance=True))
    _same(refused(body(priority=0), rules), "maintenance", 503, "Worker is in maintenance mode")
    assert refused(b"nope", rules).code == "invalid_json"


# Faults in the order of the checks; each body has one of them and all that come after it.
FAULTS: list[tuple[str, str, object]] = [
    ("invalid_priority", "priority", 0),
    ("invalid_function", "function", 5),
    ("invalid_contract", "contract", "1"),
    ("contract_mismatch", "contract", 2),
    ("invalid_input", "input", 5),
    ("invalid_mode", "mode", "later"),
    ("function_not_found", "function", "nope"),
    ("invalid_webhook", "mode", "webhook"),
    ("invalid_field", "timeout_s", 0),
]


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_the_order_of_the_worker_s_checks(first: int) -> None:
    """With several faults the one that the contract names first is told."""
    fields = {name: value for _, name, value in reversed(FAULTS[first:])}
    assert refused(body(**fields), worker()).code == FAULTS[first][0]


def test_the_order_of_the_balancer_s_checks() -> None:
    """Presence, priority, function, contract, input, mode, webhook, our fields."""
    faults = [
        fault for fault in FAULTS if fault[0] not in ("contract_mismatch", "function_not_found")
    ]
    for first, (code, _, _) in enumerate(faults):
        fields = {name: value for _, name, value in reversed(faults[first:])}
        assert refused(body(group="g", **fields), balancer()).code == code
    assert refused(b'{"priority":0}', balancer()).code == "invalid_request"


def test_the_smallest_task() -> None:
    """What is left out takes the documented defaults."""
    assert accepted(body(), worker()) == TaskRequest(
        function="hello", contract=1, correlation_id="c-1"
    )


def test_a_task_with_everything() -> None:
    """Every field arrives as it was sent; input and metadata stay raw text."""
    hook = {**HOOK, "headers": {"x-a": "1"}, "envelope": True}
    given = (
        b'{"function":"hello","contract":1.0,"group":"g1","input": {"b" : 1.50, "a":"\xc3\xa9"} ,'
        b'"priority":2.5,"mode":"webhook","webhook":'
        + json.dumps(hook).encode()
        + b',"timeout_s":5,'
        b'"deadline_s":0.25,"max_attempts":3.0,"metadata":{"k": [1, 2]},"unknown":{"x":[]}}'
    )
    headers = EdgeHeaders(correlation_id="c-2", wr_auth="Bearer worker-key")
    assert accepted(given, balancer(), headers) == TaskRequest(
        function="hello", contract=1, group="g1", input=b'{"b" : 1.50, "a":"\xc3\xa9"}', priority=2.5,
        mode=Mode.WEBHOOK,
        webhook=WebhookTarget(url=HOOK["url"], headers=(("x-a", "1"),), envelope=True),
        timeout_s=5.0, deadline_s=0.25, max_attempts=3, metadata=b'{"k": [1, 2]}',
        correlation_id="c-2", worker_key="worker-key",
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"input": None}, {"timeout_s": None}, {"deadline_s": None}, {"max_attempts": None},
        {"metadata": None}, {"webhook": 5}, {"webhook": None}, {"group": 5}, {"extra": {"deep": [1]}},
    ],
    ids=str,
)  # fmt: skip
def test_null_is_left_out_and_what_is_not_asked_for_is_ignored(fields: dict[str, object]) -> None:
    """A worker ignores the group, a sync task its webhook, everybody what he does not know."""
    assert accepted(body(**fields), worker()) == accepted(body(), worker())


@pytest.mark.parametrize("priority", [1, 1.0, 1.5, 2097152])
def test_any_number_in_range_is_a_priority(priority: float) -> None:
    """Fractions are allowed, as in Andera."""
    assert accepted(body(priority=priority), worker()).priority == priority


@pytest.mark.parametrize("contract", [b"1", b"1.0", b"1e0", b"10e-1"])
def test_a_whole_number_is_an_integer_however_it_is_written(contract: bytes) -> None:
    """1.0 is the integer 1."""
    found = accepted(b'{"function":"hello","contract":%b}' % contract, worker()).contract
    assert found == 1
    assert type(found) is int


def test_the_last_of_duplicated_keys_counts_as_in_andera() -> None:
    """One reading for all: what was checked is what runs; nested ones are passed on as they came."""
    given = (
        b'{"function":"nope","contract":1,"function":"hello","input":{"x":1},"input":{"a":1,"a":2}}'
    )
    parsed = accepted(given, worker())
    assert (parsed.function, parsed.input) == ("hello", b'{"a":1,"a":2}')


def test_a_byte_order_mark_is_skipped() -> None:
    """Andera's body parser skips it."""
    assert accepted(b"\xef\xbb\xbf" + body(), worker()).function == "hello"


def test_a_number_that_no_float_holds_hurts_nobody_where_it_is_not_checked() -> None:
    """1e999 is JSON: inside the input it is the function's to judge."""
    given = b'{"function":"hello","contract":1,"input":{"a":1e999},"x":1e999}'
    assert accepted(given, worker()).input == b'{"a":1e999}'


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/xml", "application/json"]
)
def test_the_content_type_is_not_checked(content_type: str | None) -> None:
    """All but msgpack is read as JSON."""
    headers = EdgeHeaders(content_type=content_type)
    assert accepted(body(), worker(), headers).function == "hello"


@pytest.mark.parametrize("group", [None, ""])
def test_the_only_group_of_a_function_may_be_left_out(group: object) -> None:
    """The balancer finds it, with the contract as an integer."""
    groups = Groups("only")
    assert accepted(body(group=group, contract=1.0), BalancerRules(groups)).group == "only"
    assert groups.asked == [("hello", 1)]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (None, "invalid_request"),
        (failure("no_worker_available", retry_after_s=1), "no_worker_available"),
    ],
)
def test_a_group_that_cannot_be_found_is_told(answer: Failure | None, code: str) -> None:
    """Several groups, or none yet: the caller hears which."""
    assert refused(body(), BalancerRules(Groups(answer))).code == code


def test_the_group_of_an_invalid_function_is_not_looked_for() -> None:
    """The field's own check words the failure."""
    groups = Groups("only")
    assert refused(body(function=5), BalancerRules(groups)).code == "invalid_function"
    assert refused(body(contract="1"), BalancerRules(groups)).code == "invalid_contract"
    assert groups.asked == []


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "function",
        "contract",
        "group",
        "input",
        "priority",
        "mode",
        "webhook",
        "timeout_s",
        "metadata",
    ]
)


@given(st.dictionaries(NAMES | st.text(max_size=3), JSON_VALUES))
def test_no_body_makes_the_codec_raise(fields: dict[str, object]) -> None:
    """Any JSON object is a task or a failure with a 4xx status."""
    given = json.dumps(fields).encode()
    for rules in (worker(), balancer()):
        parsed = parse_task(given, HEADERS, rules)
        assert isinstance(parsed, TaskRequest) or 400 <= parsed.status < 500


@given(st.binary(max_size=60))
def test_no_bytes_make_the_codec_raise(given: bytes) -> None:
    """Neither as JSON nor as msgpack."""
    for content_type in (None, "application/msgpack"):
        parsed = parse_task(given, EdgeHeaders(content_type=content_type), worker())
        assert isinstance(parsed, Failure)


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=5))
def test_any_object_is_an_input_and_stays_the_same(value: dict[str, object]) -> None:
    """What the function will read is what the caller wrote."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return
    given = b'{"function":"hello","contract":1,"input":' + encoded + b"}"
    assert accepted(given, worker()).input == encoded
