"""Bodies of `POST /task` for the codec's fuzz: valid ones with what they say, and ways to damage them."""

from __future__ import annotations

import json

import msgpack
from hypothesis import strategies as st

from shared.capability import FunctionSpec
from shared.edge.codec import BalancerRules, TaskRules, WorkerRules
from shared.edge.limits import MAX_ATTEMPTS, MAX_CONTRACT, MAX_NAME, MAX_SECONDS
from shared.errors import CODES
from shared.task import PRIORITY_FIRST, PRIORITY_LAST

JsonObject = dict[str, object]

MSGPACK = "application/msgpack"
BOM = b"\xef\xbb\xbf"

# No lone surrogates: no UTF-8 body can hold them.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(texts, values, max_size=3)
# What one field may be given instead: near to what is right, so that only an exact check tells.
NEARLY_RIGHT: list[object] = [
    True, False, 0, -1, 1, 1.0, 1.5, "1", "", "sync", None, [], [{}], {}, {"url": 1}, PRIORITY_LAST + 1,
    {"url": "http://h", "headers": []}, {"url": "http://h", "envelope": 1}, MAX_ATTEMPTS + 1, MAX_SECONDS * 2,
    2**53, float("nan"), float("inf"), -float("inf"),
]  # fmt: skip
seconds = st.floats(0, MAX_SECONDS, exclude_min=True) | st.integers(1, int(MAX_SECONDS))
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9) | st.just(
    "n" * MAX_NAME
)
urls = st.builds("{}://{}{}".format, st.sampled_from(["http", "HTTPS"]), st.sampled_from(
    ["h", "h:1", "u:p@h.example:65535", "[::1]:80", "127.0.0.1"]
), st.sampled_from(["", "/", "/a%20b?c=d#e", "?x"]))  # fmt: skip
# Visible ASCII and what may stand between; tchar of RFC 9110 in names.
header_names = st.from_regex(r"x-[!#$%&'*+.^_`|~0-9A-Za-z-]{1,8}", fullmatch=True)
header_values = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=9
)


class _Hosts:
    """A worker that hosts everything."""

    maintenance = False

    def find_function(self, name: str) -> FunctionSpec | None:
        """Return a function that streams."""
        return FunctionSpec(name=name, streaming=True)


class _Fleet:
    """A fleet in which every function is hosted by one group."""

    def only_group(self, function: str, contract: int) -> str:
        """Return the group."""
        return "the-only-one"


class AnyContract(WorkerRules):
    """The rules of a worker that serves every contract."""

    def check_contract(self, contract: int) -> None:
        """Take it."""


RULES: dict[str, TaskRules] = {
    "worker": AnyContract(1, _Hosts()),
    "balancer": BalancerRules(_Fleet()),
}


def is_msgpack(content_type: str | None) -> bool:
    """Tell whether a body under this content type is read as msgpack, and not as JSON."""
    return content_type is not None and "msgpack" in content_type.lower()


@st.composite
def webhooks(draw: st.DrawFn) -> JsonObject:
    """A valid webhook."""
    webhook: JsonObject = {"url": draw(urls)}
    if draw(st.booleans()):
        webhook["headers"] = draw(
            st.none() | st.dictionaries(header_names, header_values, max_size=3)
        )
    if draw(st.booleans()):
        webhook["envelope"] = draw(st.none() | st.booleans())
    return webhook


@st.composite
def tasks(draw: st.DrawFn) -> JsonObject:
    """A valid task; optional fields are there, null where that is as good as absent, or absent."""
    mode = draw(st.sampled_from(["sync", "stream", "webhook"]))
    contract = draw(st.integers(-MAX_CONTRACT, MAX_CONTRACT))
    task: JsonObject = {
        "function": draw(names),
        "contract": float(contract) if draw(st.booleans()) else contract,
    }
    optional: JsonObject = {
        "group": draw(names | st.none()),
        "input": draw(objects | st.none()),
        "priority": draw(
            st.integers(PRIORITY_FIRST, PRIORITY_LAST) | st.floats(PRIORITY_FIRST, PRIORITY_LAST)
        ),
        "timeout_s": draw(st.none() | seconds),
        "deadline_s": draw(st.none() | seconds),
        "max_attempts": draw(st.none() | st.integers(1, MAX_ATTEMPTS)),
        "metadata": draw(objects | st.none()),
        "retry_on": draw(
            st.none() | st.lists(st.sampled_from(list(CODES)), min_size=1, max_size=32)
        ),
    }
    task |= {name: value for name, value in optional.items() if draw(st.booleans())}
    if mode != "sync" or draw(st.booleans()):
        task["mode"] = mode
    if mode == "webhook":
        task["webhook"] = draw(webhooks())
    else:
        task |= draw(st.fixed_dictionaries({}, optional={"webhook": values}))
    unknown = {f"x-{name}": value for name, value in draw(objects).items()}
    return {**unknown, **task} if draw(st.booleans()) else {**task, **unknown}


@st.composite
def written(draw: st.DrawFn, task: JsonObject) -> tuple[bytes, str | None]:
    """A body that says a task, in one of the forms that JSON and msgpack allow, and its content type."""
    if draw(st.booleans()):
        return msgpack.packb(task), draw(
            st.sampled_from([MSGPACK, "application/x-msgpack", "APPLICATION/MSGPACK; x=y"])
        )
    text = json.dumps(
        task, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 1, "\t\r "]))
    )
    body = draw(st.sampled_from([b"", b" \n"])) + text.encode()
    if draw(st.booleans()) and not body.isascii():
        body = BOM + body
    return body, draw(st.sampled_from([None, "application/json", "text/plain", "é"]))


_WHOLE: JsonObject = {
    "group": "größe", "function": "f", "contract": 1, "input": {"name": "Ada ß", "n": [1, 2.5, None, True]},
    "mode": "webhook", "webhook": {"url": "http://h/", "headers": {"x-a": "b"}, "envelope": True},
    "priority": 3, "timeout_s": 1.5, "deadline_s": 2, "max_attempts": 2, "metadata": {"k": "v"}, "more": {"é": []},
}  # fmt: skip
_SMALL: JsonObject = {"function": "f", "contract": 1, "input": {"a": ["b", {}]}, "metadata": {}}
BODIES: list[tuple[bytes, str | None]] = [
    (body, kind)
    for task in (_WHOLE, _SMALL)
    for body, kind in (
        (json.dumps(task).encode(), None),
        (BOM + json.dumps(task, ensure_ascii=False, indent=1).encode(), "application/json"),
        (msgpack.packb(task), MSGPACK),
    )
]


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """A body with bytes changed, cut out or put in; one place is enough as a rule, so most have one."""
    changed = bytearray(body)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        at = draw(st.integers(0, len(changed)))
        some = draw(st.binary(max_size=2) | st.sampled_from(_TOKENS))
        cut = draw(st.integers(0, 2))
        changed[at : at + cut] = some
    return bytes(changed)


_TOKENS = [
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"NaN", b"-Infinity", b"1e999", b"\\ud800", b"\xff",
    b'"function":', b'"priority":-1', b"\x00", b"\xc1", b"\xdf\xff\xff\xff\xff", b"\xc7\x01\x05a", b"[" * 2000,
]  # fmt: skip
