"""The command line: one file per group of commands, assembled in `app`."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Runs a command line, `sys.argv` by default, and returns the exit code."""
    from xfer.cli import app

    return app.main(argv)
