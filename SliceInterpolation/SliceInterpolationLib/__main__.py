"""The command `slice-interpolation`, and `python -m SliceInterpolationLib`, which is how Slicer starts it."""

from __future__ import annotations

import sys

from .cancel import at_once


def main() -> int:
    """Run the command that the process was started with; returns the exit code."""
    arguments = sys.argv[1:]
    at_once(arguments)  # before further imports, which take their time
    from . import process
    from .progress import Reporter

    reporter = Reporter.of_arguments(arguments)

    def command() -> None:
        process.begin()
        from .cli import run_command

        run_command(arguments, reporter)

    code = process.run(command, reporter)
    process.end()
    return code


if __name__ == "__main__":
    sys.exit(main())
