r"""Run the self tests in the desktop and end it; the exit code is not zero where a test failed, or where none ran.

    Slicer --testing --no-splash --additional-module-paths SliceInterpolation \
        --python-script Testing/Slicer/run_self_tests.py [WORD...]

Give absolute paths, and leave out --additional-module-paths where the extension is installed. Words choose the tests
whose names contain one of them. Screenshots are saved into the folder that the environment variable
SLICE_INTERPOLATION_SCREENSHOTS names.

Everything runs before this script returns: under --testing the application then leaves at once, with exit code 0.
"""

from __future__ import annotations

import os
import sys
import time
import traceback

import slicer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def main(words: list[str]) -> int:
    """Run the tests, say how they went in one line, and return the exit code."""
    settle()
    passed = failed = skipped = 0
    try:
        from SliceInterpolationSelfTests import runTests

        result = runTests(words)
        failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
        skipped = len(result.skipped)
        passed = result.testsRun - failed - skipped
    except Exception:
        traceback.print_exc()
        failed += 1
    if not passed and not failed:
        print("No self test ran.", flush=True)
    print(f"SelfTests: {passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return slicer.util.EXIT_SUCCESS if passed and not failed else slicer.util.EXIT_FAILURE


def settle(seconds: float = 1.0) -> None:
    """Let the main window come up: its views have sizes only once events were processed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.01)


slicer.util.exit(main(sys.argv[1:]))
