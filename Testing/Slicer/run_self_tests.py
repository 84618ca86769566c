r"""Run the self tests in the desktop and end it; the exit code is not zero where a test failed.

    Slicer --testing --no-splash \
        --additional-module-paths SliceInterpolation --python-script Testing/Slicer/run_self_tests.py

Give absolute paths, and leave out --additional-module-paths where the extension is installed. Screenshots are saved
into the folder that the environment variable SLICE_INTERPOLATION_SCREENSHOTS names.
"""

import os
import sys

import qt
import slicer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def main() -> None:
    """Run the tests, say how they went, and leave."""
    code = slicer.util.EXIT_FAILURE
    try:
        from SliceInterpolationSelfTests import runAll

        result = runAll()
        if result.wasSuccessful() and result.testsRun:
            code = slicer.util.EXIT_SUCCESS
        print(
            f"SELF TESTS: {result.testsRun} run, {len(result.failures)} failed, {len(result.errors)} errors, ",
            end="",
        )
        print(f"{len(result.skipped)} skipped", flush=True)
    except Exception:
        import traceback

        traceback.print_exc()
    slicer.util.exit(code)


# Views have sizes only once the start-up event loop runs.
qt.QTimer.singleShot(1000, main)
