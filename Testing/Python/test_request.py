"""The request: one set of options that checks itself, and comes back from the command line and from headers."""

import argparse
import json

import pytest

from SliceInterpolationLib import InputError, Request


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"factor": "3"},
        {"factor": "isotropic", "method": "flow", "units": "HU"},
        {"output_mode": "denoised", "strength": 0.1 + 0.2, "axis": "j", "device": "cuda:1", "force": True},
    ],
)
def test_there_and_back(options):
    request = Request(**options)
    parser = argparse.ArgumentParser()
    Request.add_arguments(parser)
    assert Request.from_options(parser.parse_args(request.to_arguments())) == request
    assert Request.from_dict(json.loads(json.dumps(request.as_dict()))) == request
    assert Request.from_dict({**request.as_dict(), "slices": 12}) == request


def test_only_what_differs_becomes_an_argument():
    assert Request().to_arguments() == []
    assert Request(factor="4", strength=0.25).to_arguments() == ["--factor", "4", "--strength", "0.25"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"factor": 1}, "whole number"),
        ({"factor": "²"}, "whole number"),
        ({"factor": True}, "whole number"),
        ({"factor": 2.5}, "whole number"),
        ({"factor": None}, "whole number"),
        ({"factor": 10**9}, "largest is 100"),
        ({"strength": float("nan")}, "between 0 and 1"),
        ({"strength": "much"}, "between 0 and 1"),
        ({"output_mode": "sharpened"}, "denoise-only"),
        ({"axis": "z"}, "auto, i, j, k"),
        ({"units": "label"}, "HU, arbitrary"),
        ({"method": None}, "method must be a text"),
        ({"device": ""}, "device must be a text"),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, said):
    with pytest.raises(InputError, match=said):
        Request(**options)
