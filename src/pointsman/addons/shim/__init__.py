"""Names of mitmproxy's addon API that stand for ours: what simple scripts import (docs/reference/addons.md).

Only reached as `mitmproxy`, through `addons.import_hook`.  Nothing here does anything of its own.
"""

from __future__ import annotations
