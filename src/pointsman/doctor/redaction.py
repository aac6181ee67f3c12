"""Text without what must not leave the machine: keys, tokens, passwords, names of people.

Rather too much than too little: a report is for a stranger's eyes.  Pure.
"""

from __future__ import annotations

import re

LEFT_OUT = "[left out]"
_RULES = (
    (re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----.*?(-----END [^-]*PRIVATE KEY-----|\n\s*\n|\Z)", re.S), LEFT_OUT),
    (re.compile(r"(?im)^(.*?\b(?:proxy-)?authorization\b\W{1,4}).*$"), rf"\1{LEFT_OUT}"),
    (re.compile(r"(?im)^(.*?\b(?:set-)?cookie\b\W{1,4}).*$"), rf"\1{LEFT_OUT}"),
    (re.compile(r"(?i)\b(bearer|basic|negotiate|digest)\s+[A-Za-z0-9+/_.=~-]{6,}"), rf"\1 {LEFT_OUT}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), LEFT_OUT),
    (re.compile(r"(?i)([a-z][a-z0-9+.-]*://)[^/\s:@]+(:[^/\s@]*)?@"), rf"\1{LEFT_OUT}@"),
    (
        re.compile(
            r"(?i)\b([\w-]*(?:passw(?:or)?d|passphrase|secret|token|api[-_]?key|private[-_]?key|credential)[\w-]*)"
            r"(\W{1,3}?\s*[=:]\s*|\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&}]+)"
        ),
        rf"\1\2{LEFT_OUT}",
    ),
    (re.compile(r"(?i)(https?://[^\s?#\"']+)[?#][^\s\"']*"), rf"\1?{LEFT_OUT}"),
    (re.compile(r"(?i)([\\/](?:users|home|documents and settings)[\\/]+)[^\\/\s\"':;,]+"), r"\1USER"),
    (re.compile(r"\b[A-Za-z0-9+/_-]{40,}={0,2}(?![\\/.\w])"), LEFT_OUT),
)
"""In this order: what is recognised by its shape comes before what is recognised by a name beside it."""


def redact(text: str) -> str:
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
