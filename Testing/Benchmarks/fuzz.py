"""`Testing/Python/test_fuzz.py` with as many cases as wanted: `python Testing/Benchmarks/fuzz.py --cases 10000`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1] / "Python" / "test_fuzz.py"


def main() -> int:
    """Run the cases; the exit code of pytest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="of all properties together")
    parser.add_argument("--seed", type=int, default=0, help="the same one gives the same cases")
    options = parser.parse_args()
    os.environ["FUZZ_CASES"] = str(options.cases)
    return pytest.main(
        [str(TESTS), "-q", "--hypothesis-show-statistics", f"--hypothesis-seed={options.seed}"]
    )


if __name__ == "__main__":
    sys.exit(main())
