"""The command line: a file per group of commands, put together in `app`."""

from __future__ import annotations


def main(words: list[str] | None = None) -> int:
    """Runs a command line, `sys.argv` by default, and returns the exit code."""
    from xfer.cli import app

    return app.main(words)
