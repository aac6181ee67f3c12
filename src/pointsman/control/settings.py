"""Everything an operator may choose for one run of the proxy, as one checked value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pointsman.control.drain import DRAIN_DEFAULT
from pointsman.policy.rules import Policy
from pointsman.server.limits import Limits
from pointsman.wire.abi import LEASE_DEFAULT_MS, LEASE_MAX_MS, LEASE_MIN_MS


@dataclass(frozen=True, slots=True)
class Settings:
    policy: Policy
    ca_dir: Path
    """Where the root lives; made on the first run."""
    policy_file: Path | None = None
    """Where `policy` came from: watched, and loaded again when it changes."""
    port: int = 0
    """On 127.0.0.1 and ::1; 0 lets the system choose, for each its own."""
    any_address: bool = False
    """Listen on every address and not on loopback alone: on a gateway the redirected come from elsewhere."""
    upstream_ca: tuple[Path, ...] = ()
    """PEM files with roots trusted upstream, besides those of the system."""
    key_log: Path | None = None
    """Where the secrets of all TLS connections are written, so that captures can be read."""
    flow_file: Path | None = None
    """Flow records as JSON lines, appended."""
    print_flows: bool = False
    """Flow records on the output of `run_proxy`, for people."""
    json_flows: bool = False
    """The same as JSON lines."""
    lease_ms: int = LEASE_DEFAULT_MS
    takeover: bool = False
    """Prove ourselves by a canary before the policy acts, then relieve the instances that run."""
    drain: float = DRAIN_DEFAULT
    """Seconds that the relieved instances give to open connections."""
    state_dir: Path | None = None
    """Where the driver's events are kept; None: beside the root."""
    addons: tuple[str, ...] = ()
    """Files with addons, or `builtin:NAME`, in the order in which they are asked."""
    addon_settings: tuple[str, ...] = ()
    """`NAME=VALUE` for options that addons declare."""
    limits: Limits = field(default_factory=Limits)
    workers: int = 1
    """Processes that share the endpoint; with more than one, this process only looks after them."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is not in 0..65535")
        if not LEASE_MIN_MS <= self.lease_ms <= LEASE_MAX_MS:
            raise ValueError(f"a lease of {self.lease_ms} ms is not in {LEASE_MIN_MS}..{LEASE_MAX_MS}")
