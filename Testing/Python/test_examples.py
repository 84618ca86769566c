"""The examples in the docstrings of the networks run and show what they say."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
from importlib import import_module

import pytest
import torch

from SliceInterpolationLib import networks

NAMES = sorted(module.name for module in pkgutil.iter_modules(networks.__path__))


def examples(name: str) -> dict[str, doctest.DocTest]:
    """The docstrings of a module that hold examples, by the name of what they belong to."""
    module = import_module(f"{networks.__name__}.{name}")
    found = doctest.DocTestFinder().find(module, module.__name__)
    return {test.name.removeprefix(f"{module.__name__}."): test for test in found if test.examples}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:`torch.jit.:DeprecationWarning")
def test_examples_show_what_they_say(name):
    torch.manual_seed(0)
    report: list[str] = []
    for test in examples(name).values():
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
    assert not report, "".join(report)


def test_every_network_has_an_example():
    """All of the catalogue, and what can be run by itself of those that are made of parts."""
    for module, network in networks.ARCHITECTURES.values():
        assert network in examples(module)
    parts = ("SaintAMI", "SaintRFN", "AcvttNet", "AcvttFusion", "PatchDiscriminator", "EfficientNetV2S")
    assert {*parts, "SlidingWindow"} <= {one for name in NAMES for one in examples(name)}
    for module, network in networks.ARCHITECTURES.values():
        lines = examples(module)[network].examples
        assert len(lines) == 2, f"{network}: two lines that anybody can try"
        assert network in inspect.cleandoc(lines[0].source + lines[1].source)
