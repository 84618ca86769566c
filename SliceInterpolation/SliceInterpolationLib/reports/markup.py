"""HTML and SVG as elements instead of text, so that nothing is ever left unescaped."""

from __future__ import annotations

from typing import Optional, Union
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

Child = Optional[Union[Element, str]]


def element(name: str, /, *children: Child, **attributes: str | float | None) -> Element:
    """An element with texts and elements inside; what is None is left out.

    Attributes: `class_` becomes class, `text_anchor` text-anchor, a number is written in at most 6 digits.

    Example::

        element("p", "between ", element("b", "12 & 13"), class_="note")
    """
    made = Element(name)
    for key, value in attributes.items():
        if value is not None:
            made.set(key.rstrip("_").replace("_", "-"), value if isinstance(value, str) else f"{value:.6g}")
    for child in children:
        if isinstance(child, str):
            if len(made):
                made[-1].tail = (made[-1].tail or "") + child
            else:
                made.text = (made.text or "") + child
        elif child is not None:
            made.append(child)
    return made


def as_html(root: Element) -> str:
    """A whole document as text. What UTF-8 cannot hold (file names may) becomes a question mark."""
    text = "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"
    return text.encode("utf-8", "replace").decode("utf-8")
