"""The command line: it only parses, checks and calls the library, and nothing imports it."""

from __future__ import annotations

from hepgan.cli.app import cli, main

__all__ = ["cli", "main"]
