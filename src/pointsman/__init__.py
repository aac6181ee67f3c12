"""Pointsman: a transparent proxy for Windows, process-aware, in Python."""

__version__ = "0.1.0"
