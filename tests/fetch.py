"""A stand-in for `curl -sS URL` on machines without one: standard library only, the same few options and statuses.

fetch.py [-sS] [-k] [-v] [-o FILE] [-mSECONDS] URL
"""

from __future__ import annotations

import shutil
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

FETCH = ["curl", "-sS"] if shutil.which("curl") else [sys.executable, str(Path(__file__))]
"""The command to fetch with: curl where there is one, since it is a client that we did not write."""
PROGRAM = Path(shutil.which(FETCH[0]) or FETCH[0]).resolve()
"""The file that such a process runs."""


def main(arguments: list[str]) -> int:
    context = ssl.create_default_context()
    if "-k" in arguments:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    seconds = next((float(word[2:]) for word in arguments if word.startswith("-m")), 30.0)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(arguments[-1], timeout=seconds) as response:
            body = response.read()
    except urllib.error.URLError as error:
        print(f"fetch: {error.reason}", file=sys.stderr)
        return 7
    except OSError as error:
        print(f"fetch: {error}", file=sys.stderr)
        return 56
    if "-o" not in arguments:
        sys.stdout.buffer.write(body)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
