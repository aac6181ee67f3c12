"""The schema accepts what `load` accepts, and refuses the commonest mistakes."""

from __future__ import annotations

import re
import tomllib

import pytest

from pointsman.control.policy_file import default_policy_text
from pointsman.policy.schema import policy_schema


def holds(schema: object, value: object) -> bool:
    """As much of JSON Schema 2020-12 as our schema uses; an unknown keyword fails the test."""
    assert isinstance(schema, dict)
    return all(_keyword(name, wanted, schema, value) for name, wanted in schema.items())


def _keyword(name: str, wanted: object, schema: dict[str, object], value: object) -> bool:
    table = value if isinstance(value, dict) else {}
    match name, wanted:
        case (("$schema" | "title" | "description"), _):
            return True
        case "type", str():
            kinds = {"object": dict, "array": list, "string": str, "integer": int}
            return isinstance(value, kinds[wanted]) and not isinstance(value, bool)
        case "enum", list():
            return value in wanted
        case "anyOf", list():
            return any(holds(one, value) for one in wanted)
        case "oneOf", list():
            return sum(holds(one, value) for one in wanted) == 1
        case "required", list():
            return set(wanted) <= set(table)
        case "properties", dict():
            return all(holds(wanted[key], one) for key, one in table.items() if key in wanted)
        case "additionalProperties", False:
            properties = schema["properties"]
            assert isinstance(properties, dict)
            return set(table) <= set(properties)
        case "additionalProperties", dict():
            return all(holds(wanted, one) for one in table.values())
        case "propertyNames", dict():
            return all(holds(wanted, key) for key in table)
        case "items", dict():
            return not isinstance(value, list) or all(holds(wanted, one) for one in value)
        case "pattern", str():
            return not isinstance(value, str) or re.search(wanted, value) is not None
        case (("minimum" | "maximum"), int()):
            return not isinstance(value, int) or (value >= wanted if name == "minimum" else value <= wanted)
        case (("minLength" | "maxLength" | "minItems" | "maxItems"), int()):
            if not isinstance(value, str | list):
                return True
            return len(value) <= wanted if name.startswith("max") else len(value) >= wanted
    raise AssertionError(f"the schema uses {name}: {wanted}")


EVERYTHING = """
default = "direct"
[groups.apps]
a = ["curl", "@b"]
b = "file:x"
[groups.hosts]
h = ["*.x"]
[groups.networks]
n = "10.0.0.0/8"
[upstreams]
u = ["socks5://192.0.2.1:1080", "http://192.0.2.2:3128"]
one = { url = "https://proxy.example:443", auth = "env:PROXY_AUTH" }
[upstreams.table]
proxies = ["http://a.example:1", ["socks5h://b.example:1", { url = "socks5+tls://[2001:db8::1]:2", auth = "file:s" }]]
fallback = "direct"
dns = "app"
[[rule]]
name = "x"
app = "@a"
parent = ["cmd.exe"]
user = "alice"
net = "@n"
port = [80, "1-9"]
host = "@h"
protocol = "http"
method = "GET"
path = "/**"
time = "mon-fri 08:00-18:00"
action = "upstream"
upstream = "u"
on_failure = "open"
[[rule]]
service = ["a"]
action = "block"
"""


@pytest.mark.parametrize("text", [EVERYTHING, 'default = "block"', default_policy_text()])
def test_what_is_a_policy_is_valid(text: str) -> None:
    assert holds(policy_schema(), tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    ['default = "x"', "[[rule]]\nport = 1", '[[rule]]\naction = "block"\nprot = 1',
     '[[rule]]\naction = "block"\nport = 70000', "rule = 1", '[groups.people]\na = "b"',
     '[[rule]]\naction = "block"\nhost = []',
     '[[rule]]\naction = "block"\nname = ""'],
)  # fmt: skip
def test_what_is_no_policy_is_not_valid(text: str) -> None:
    assert not holds(policy_schema(), tomllib.loads(text))
