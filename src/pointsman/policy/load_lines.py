"""Where in a TOML text a key stands: `tomllib` does not tell, and an error without a line is half an error.

A search by line, not a second TOML parser: it is right for what people write (one key a line, tables under
`[[rule]]`).  Where a text is unusual (inline tables, multi-line strings that look like keys) it may name the line of
the rule, or of a look-alike; no meaning depends on it.
"""

from __future__ import annotations

import re

_RULE = re.compile(r"\s*\[\[\s*[\"']?rule[\"']?\s*\]\]")
_KEY = re.compile(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*[=.]")


class Lines:
    def __init__(self, text: str) -> None:
        self._top: dict[str, int] = {}
        self._rules: list[tuple[int, dict[str, int]]] = []
        keys = self._top
        for number, line in enumerate(text.splitlines(), start=1):
            if _RULE.match(line):
                keys = {}
                self._rules.append((number, keys))
            elif found := _KEY.match(line):
                keys.setdefault(found[1], number)

    def top(self, key: str) -> int:
        """Also of a table that is no [[rule]]."""
        return self._top.get(key, 1)

    def rule(self, index: int) -> int:
        return self._rules[index][0] if index < len(self._rules) else self.top("rule")

    def key(self, index: int, key: str) -> int:
        """The rule's own line if the key is not found."""
        if index >= len(self._rules):
            return self.top("rule")
        line, keys = self._rules[index]
        return keys.get(key, line)
