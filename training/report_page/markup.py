"""Build HTML and SVG as a tree of elements, so that every text in it is escaped."""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring

Content = Element | str
"""What may be inside an element."""


def tag(name: str, /, *children: Content, **attributes: str | float) -> Element:
    """Give an element; ``class_`` stands for ``class`` and ``_`` inside a name for ``-``, numbers get two places."""
    element = Element(name, {_name(key): _value(value) for key, value in attributes.items()})
    return extend(element, *children)


def extend(element: Element, *children: Content) -> Element:
    """Put elements and texts at the end of an element, and give it back."""
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + child
        else:
            element.text = (element.text or "") + child
    return element


def drawing(width: float, height: float, *, font_size: float, paper: str) -> Element:
    """Begin an SVG that stands alone, in a file of its own."""
    return tag(
        "svg",
        tag("rect", width=width, height=height, fill=paper),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        font_family="sans-serif",
        font_size=font_size,
    )


def svg_file(drawn: Element) -> bytes:
    """Write such an SVG."""
    return tostring(drawn, encoding="unicode").encode() + b"\n"


def render(page: Element) -> bytes:
    """Write a whole page; what UTF-8 cannot hold becomes a question mark."""
    return b"<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html").encode("utf-8", "replace")


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
