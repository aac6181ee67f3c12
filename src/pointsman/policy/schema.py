"""The policy format as a JSON schema, for editors that complete and check TOML.

Pure.  It is looser than `load`, which is the judge: everything that `load` accepts is valid here
(tests/policy/test_schema.py).
"""

from __future__ import annotations

from pointsman.policy.decision import Action
from pointsman.policy.load import DEFAULT_ACTIONS
from pointsman.policy.load_groups import KINDS
from pointsman.policy.load_rule import PROTOCOLS
from pointsman.policy.load_upstreams import DNS, FALLBACKS
from pointsman.policy.rules import OnFailure, OnInvalid
from pointsman.policy.upstreams import MAX_ALTERNATIVES, MAX_HOPS

Json = dict[str, object]
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_PORT: Json = {
    "oneOf": [
        {"type": "integer", "minimum": 1, "maximum": 65535},
        {"type": "string", "pattern": r"^\d{1,5}(\s*-\s*\d{1,5})?$"},
    ]
}
_TEXTS = {
    "app": 'programs: a full path, a name, a glob, "@group" or "file:list.txt"',
    "parent": "programs that the app descends from",
    "service": "short names of Windows services",
    "user": "names or SIDs of users",
    "net": 'addresses and networks, "@group", "file:list.txt"',
    "host": 'host names, "*.example.com" for all names below one, "@group", "file:list.txt"',
    "method": "methods of HTTP, in clear",
    "path": "globs over the path of an HTTP request",
    "time": 'spans of local time: "mon-fri 08:00-18:00"',
}


def policy_schema() -> Json:
    return {
        "$schema": _DRAFT,
        "title": "Pointsman policy",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "default": {"enum": list(DEFAULT_ACTIONS), "description": "what happens where no rule matches"},
            "groups": {
                "type": "object",
                "additionalProperties": False,
                "properties": {kind: _table_of(_one_or_more({"type": "string"})) for kind in KINDS},
            },
            "upstreams": _table_of(_upstream()),
            "rule": {"type": "array", "items": _rule()},
        },
    }


def _upstream() -> Json:
    proxy: Json = {
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["url"],
                "properties": {"url": {"type": "string"}, "auth": {"type": "string", "pattern": "^(env|file):."}},
            },
        ]
    }
    chain: Json = {"anyOf": [proxy, {"type": "array", "items": proxy, "minItems": 1, "maxItems": MAX_HOPS}]}
    proxies = {"type": "array", "items": chain, "minItems": 1, "maxItems": MAX_ALTERNATIVES}
    table: Json = {
        "type": "object",
        "additionalProperties": False,
        "required": ["proxies"],
        "properties": {
            "proxies": {"anyOf": [{"type": "string"}, proxies], "description": "alternatives, the best one first"},
            "fallback": {"enum": list(FALLBACKS), "description": "if none of them works"},
            "dns": {"enum": list(DNS), "description": "who looks a host name up: the last proxy, or the app has"},
        },
    }
    return {"anyOf": [chain, table], "description": "a URL, a chain of URLs, or a table of alternatives"}


def _rule() -> Json:
    texts = {key: {**_one_or_more({"type": "string"}), "description": text} for key, text in _TEXTS.items()}
    properties: Json = {
        "name": {"type": "string", "minLength": 1, "maxLength": 100},
        **texts,
        "port": {**_one_or_more(_PORT), "description": 'ports and ranges: 443, "8000-8099"'},
        "protocol": {"enum": list(PROTOCOLS)},
        "action": {"enum": [action.value for action in Action]},
        "upstream": {
            "type": "string",
            "description": "a name of [upstreams]; not with direct or block",
        },
        "on_failure": {"enum": [one.value for one in OnFailure]},
        "on_invalid": {
            "enum": [one.value for one in OnInvalid],
            "description": "what the app gets if the origin's certificate is not valid",
        },
        "client_certificate": {
            "type": "string",
            "minLength": 1,
            "maxLength": 1000,
            "description": "PEM file with certificate and key, relative to the policy, for origins that ask for one",
        },
    }
    return {"type": "object", "additionalProperties": False, "required": ["action"], "properties": properties}


def _one_or_more(item: Json) -> Json:
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


def _table_of(value: Json) -> Json:
    return {"type": "object", "propertyNames": {"pattern": "^[A-Za-z0-9_-]{1,64}$"}, "additionalProperties": value}
