"""What schemathesis cannot know of the API from its contract alone.

FUZZ_WORKSPACE names the workspace that has data. FUZZ_EXPECT says how the run
is meant to be answered:

  answers  by the token's workspace; every operation has to answer in kind once
  any      whatever the workspace is
  401      the requests carry no valid token
  404      the token covers another workspace than the one that has data
"""

import json
import os
import threading
import zlib
from collections import Counter, defaultdict
from urllib.parse import unquote

import schemathesis
from hypothesis import strategies as st

WORKSPACE = os.environ["FUZZ_WORKSPACE"]
EXPECT = os.environ["FUZZ_EXPECT"]

# Ways to give a range, of which a question may use one. Questions that mix them
# are 400; if all did, nothing behind the parameters would be asked.
RANGES = (("range",), ("from", "to"), ("start", "end"), ())
# The trace's minutes, and whole minutes and days around it.
STARTS = ("2023-11-16T18:17:00Z", "2023-11-16T19:00:00+01:00", "2023-11-16T23:45:00+05:45", "2023-10-29T00:30:00Z")
ENDS = ("2023-11-16T18:18:00Z", "2023-11-16T19:16:00Z", "2023-11-17T00:00:00+01:00", "2023-11-19T00:00:00Z")
FROMS = ("2023-11-16", "2023-11-01", "2023-10-28", "2022-12-31")
TOS = ("2023-11-16", "2023-11-17", "2023-11-30", "2024-02-29")
ZONES = ("Europe/Copenhagen", "Asia/Kathmandu", "Pacific/Apia", "UTC")
AGENTS = ("all", "agt_support", "agt_travel", "agt_nobody")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Makes the workspace that has data the one that fits, so that others are asked for as mistakes."""
    # Examples have to be bytes where hooks.py writes the bodies; it writes the like.
    raw_schema["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/x-ndjson"].pop("example")
    # A character of a URL can take twelve bytes there, and the server reads only so
    # much of a request's head. The longest cursors that it gives fit, and are tested
    # in the query package.
    raw_schema["components"]["parameters"]["CursorParam"]["schema"]["maxLength"] = 512
    if EXPECT == "any":
        return
    for name in ("WorkspacePathParam", "WorkspaceParam"):
        parameter = raw_schema["components"]["parameters"][name]
        parameter["schema"] = {"type": "string", "enum": [WORKSPACE]}
        parameter.pop("example", None)


def is_positive(case):
    return case.meta is not None and not case.meta.generation.mode.is_negative


def dice(value):
    """A number that the case alone decides, so that the seed decides all."""
    return zlib.crc32(repr(value).encode("utf-8", "surrogatepass"))


@schemathesis.hook
def map_case(context, case):
    """Turns three of four well-formed cases into ones that reach the figures."""
    if EXPECT not in ("answers", "any") or not is_positive(case):
        return case
    if isinstance(case.path_parameters, dict) and unquote(str(case.path_parameters.get("ws"))) == "*":
        case.path_parameters["ws"] = WORKSPACE  # "*" is every workspace, and no id of one
    if isinstance(case.query, dict) and "range" in names_of(case):
        ask_of_the_trace(case.query, names_of(case), dice(case.query))
    if isinstance(case.body, (dict, list)) and case.path in ("/v1/events", "/v1/adjustments", "/v1/sessions"):
        spend_in_the_workspace(case.body, dice(case.body))
    return case


def names_of(case):
    return {parameter.name for parameter in case.operation.query}


def ask_of_the_trace(query, names, n):
    n, kind = divmod(n, 8)
    if kind < 2:
        return
    n, way = divmod(n, len(RANGES))
    for name in {"range", "from", "to", "start", "end", "cursor"} - set(RANGES[way]):
        query.pop(name, None)
    choices = {"from": FROMS, "to": TOS, "start": STARTS, "end": ENDS}
    for name in RANGES[way]:
        if name in choices:
            n, at = divmod(n, len(choices[name]))
            query[name] = choices[name][at]
    for name, values in (("tz", ZONES), ("agent", AGENTS)):
        n, at = divmod(n, len(values))
        if name in query and name in names:
            query[name] = values[at]


def spend_in_the_workspace(body, n):
    for event in body if isinstance(body, list) else [body]:
        n = dice((n, len(event) if isinstance(event, dict) else 0))
        if not isinstance(event, dict) or n % 8 < 2:
            continue
        if "specversion" in event:  # a CloudEvent, of whose data the contract says only that it is an object
            data = event.get("data")
            if isinstance(data, dict):
                data.clear()
                data.update(workspace_id=WORKSPACE, agent_id="agt_fuzzed", channel="api", credits="0.5")
                data.update(id=f"ce-{n}", occurred_at="2023-11-16T18:30:00.000001Z")
        elif "workspace_id" in event:
            event["workspace_id"] = WORKSPACE
            if "occurred_at" in event and n % 8 < 6:
                event["occurred_at"] = ENDS[n % len(ENDS)]


# Two media types have a syntax of their own.

events = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=12),
        "workspace_id": st.sampled_from([WORKSPACE, WORKSPACE, "ws_elsewhere"]),
        "agent_id": st.sampled_from(["agt_support", "agt_fuzzed", " "]),
        "occurred_at": st.sampled_from(ENDS),
        "channel": st.sampled_from(["api", "playground", ""]),
        "credits": st.one_of(st.sampled_from(["1.5", "0", "-1", "0.0000001", "1e3"]), st.integers(), st.decimals(0, 10**9, places=6).map(str)),
    },
    optional={
        "messages": st.one_of(st.none(), st.integers(-1, 10**10)),
        "model": st.one_of(st.none(), st.text(max_size=5)),
        "conversation_id": st.text(max_size=5),
        "unknown": st.booleans(),
    },
)
lines = st.one_of(
    events.map(lambda event: json.dumps(event).encode()),
    events.map(lambda event: json.dumps(event).encode()[:-3]),
    st.sampled_from([b"", b"null", b"[]", b"\xff", b"{}" * 2]),
)
schemathesis.openapi.media_type("application/x-ndjson", st.lists(lines, min_size=1, max_size=8).map(b"\n".join))


def field(number, content):
    """A field of protobuf with a length: a string, bytes or a message."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


@st.composite
def protobuf_events(draw):
    micros = draw(st.sampled_from([1_700_159_400_000_000, 0, -(2**63), 2**63 - 1]))
    fields = [
        field(1, WORKSPACE.encode()),
        field(2, draw(st.text(min_size=1, max_size=9)).encode()),
        field(4, b"agt_fuzzed"),
        bytes([6 << 3 | 1]) + micros.to_bytes(8, "little", signed=True),
        field(7, draw(st.sampled_from([b"api", b"playground", b"", b"\xff"]))),
        bytes([9 << 3]) + varint(draw(st.integers(0, 2**64 - 1) | st.just(3_000_000))),
    ]
    keep = draw(st.sampled_from([range(6)] * 4 + [range(5), range(1, 6), (0, 1)]))
    return field(1, b"".join(fields[n] for n in keep))


schemathesis.openapi.media_type(
    "application/x-protobuf",
    st.one_of(st.lists(protobuf_events(), min_size=1, max_size=5).map(b"".join), st.binary(max_size=64)),
)


def needs_access(operation):
    security = operation.definition.raw.get("security")
    if security is None:
        security = [{"bearerAuth": []}]  # the document's default
    return bool(security) and {} not in security


@schemathesis.check
def access_comes_first(ctx, response, case):
    """Who has no access learns nothing else, whatever is wrong with the request."""
    if case.method.upper() != case.operation.method.upper() or not needs_access(case.operation):
        return
    if EXPECT == "401" and response.status_code != 401:
        raise AssertionError(f"answered {response.status_code} without a valid token")
    if EXPECT == "404":
        named = WORKSPACE in (case.path_parameters or {}).values() or (case.query or {}).get("workspace") == WORKSPACE
        # 401: schemathesis has left the token out, to see whether it is asked for.
        if named and response.status_code not in (401, 404):
            raise AssertionError(f"answered {response.status_code} for a workspace that is not the token's")
        if response.status_code == 202 and response.json().get("accepted", 1) != 0 and WORKSPACE in json.dumps(case.body, default=str):
            raise AssertionError("accepted events of a workspace that is not the token's")


# Operations that random requests cannot bring to their answer in kind.
NEVER_IN_KIND = {"redeemSession"}  # takes a signed code


@schemathesis.check
class EveryOperationIsReached:
    """A run whose requests are all refused proves nothing: each operation has to succeed once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.statuses = defaultdict(Counter)

    def after_response(self, ctx, response, case):
        if case.method.upper() == case.operation.method.upper():
            with self.lock:
                self.statuses[case.operation.definition.raw["operationId"]][response.status_code] += 1

    def after_run(self, ctx):
        if EXPECT != "answers":
            return
        never = {
            name: dict(statuses)
            for name, statuses in sorted(self.statuses.items())
            if name not in NEVER_IN_KIND and not any(status < 300 for status in statuses)
        }
        for name, statuses in sorted(self.statuses.items()):
            print(f"{name}: " + ", ".join(f"{n}×{status}" for status, n in sorted(statuses.items())))
        if never:
            raise AssertionError(f"never answered in kind: {never}")
