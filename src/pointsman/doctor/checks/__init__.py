"""All checks, in the order in which causes come before effects."""

from __future__ import annotations

from pointsman.doctor.checks import (
    abi_version,
    authority,
    bfe,
    blocklist,
    clock,
    crash_dumps,
    delete_pending,
    device_link,
    driver_file,
    driver_headers,
    driver_health,
    driver_running,
    driver_service,
    driver_signature,
    driver_unchanged,
    elevation,
    event_logs,
    foreign,
    integrity_enforced,
    interception,
    listening,
    loaded_image,
    memory_integrity,
    network,
    processor,
    programs,
    proxy_service,
    registration,
    restart_pending,
    secure_boot,
    staged_version,
    test_signing,
    trust_of_machine,
    wfp_engine,
    wfp_filters,
    windows_build,
)

CANARIES = (interception.CANARY_V4, interception.CANARY_V6, interception.BLOCK, interception.LOOP)
"""Those that send something."""

PROGRAMS = programs.CHECK
"""Starts every program that it is about, so it is looked at on demand only."""

CHECKS = (
    windows_build.CHECK, processor.CHECK, elevation.CHECK, restart_pending.CHECK, crash_dumps.CHECK,
    secure_boot.CHECK, test_signing.CHECK, integrity_enforced.CHECK, memory_integrity.CHECK, memory_integrity.WHQL_ONLY,
    blocklist.CHECK, event_logs.INTEGRITY,
    driver_service.CHECK, delete_pending.CHECK, driver_file.CHECK, event_logs.QUARANTINE, driver_unchanged.CHECK,
    driver_headers.CHECK,
    driver_signature.CHECK, driver_running.CHECK, loaded_image.CHECK, device_link.CHECK, abi_version.CHECK,
    driver_health.CHECK, staged_version.CHECK,
    bfe.CHECK, wfp_engine.ENGINE, wfp_engine.OBJECTS, wfp_engine.CALLOUTS_LIVE, wfp_filters.FILTERS, wfp_filters.ORDER,
    wfp_engine.STALE, wfp_filters.NET_EVENTS,
    registration.CHECK, registration.LEASE, listening.CHECK,
    authority.VALID, authority.KEY, authority.TRUSTED, trust_of_machine.CHECK,
    foreign.DRIVERS_RUNNING, foreign.REDIRECTORS, network.SYSTEM_PROXY, network.PORTS, clock.CHECK,
    proxy_service.CHECK, event_logs.SERVICES, proxy_service.LOG,
    *CANARIES,
)  # fmt: skip
