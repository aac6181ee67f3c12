"""Where in a TOML text a key stands: `tomllib` does not tell, and an error without a line is half an error.

A search by line, not a second TOML parser: it is right for what people write (one key a line, tables under
`[[rule]]`).  Where a text is unusual (inline tables, multi-line strings that look like keys) it may name the line of
the rule, or of a look-alike; no meaning depends on it.
"""

from __future__ import annotations

import re

_RULE = re.compile(r"\s*\[\[\s*[\"']?rule[\"']?\s*\]\]")
_TABLE = re.compile(r"\s*\[\s*([A-Za-z0-9_.\"'-]+)\s*\]")
_KEY = re.compile(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*[=.]")


class Lines:
    def __init__(self, text: str) -> None:
        self._top: dict[str, int] = {}
        self._rules: list[tuple[int, dict[str, int]]] = []
        keys, prefix = self._top, ""
        for number, line in enumerate(text.splitlines(), start=1):
            if _RULE.match(line):
                keys, prefix = {}, ""
                self._rules.append((number, keys))
            elif table := _TABLE.match(line):
                name = table[1].replace('"', "").replace("'", "")
                keys, prefix = self._top, name + "."
                self._top.setdefault(name, number)
                self._top.setdefault(name.partition(".")[0], number)
            elif found := _KEY.match(line):
                keys.setdefault(prefix + found[1], number)

    def top(self, *keys: str) -> int:
        """Of a key, or of a table, outside of all rules: of the innermost of `keys` that is found."""
        for count in range(len(keys), 0, -1):
            line = self._top.get(".".join(keys[:count]))
            if line is not None:
                return line
        return 1

    def rule(self, index: int) -> int:
        return self._rules[index][0] if index < len(self._rules) else self.top("rule")

    def key(self, index: int, key: str) -> int:
        """The rule's own line if the key is not found."""
        if index >= len(self._rules):
            return self.top("rule")
        line, keys = self._rules[index]
        return keys.get(key, line)
