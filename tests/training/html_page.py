"""Read a page as a strict reader would: every element that is opened is closed, in order."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"meta", "img", "br", "hr", "link", "input"})


@dataclass(eq=False)
class Page(HTMLParser):
    """Hold the elements of a page, its cells row by row and the text of the rest."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    text: str = ""
    misnested: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.opened.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if not self.opened or self.opened.pop() != tag:
            self.misnested.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"}.intersection(self.opened):
            self.rows[-1][-1] += data

    def attribute(self, name: str) -> list[str]:
        """Give the values that an attribute has anywhere."""
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]

    def row(self, head: str) -> list[str]:
        """Give the other cells of the first row that begins so."""
        return next(cells[1:] for cells in self.rows if cells and cells[0] == head)


def read_page(source: bytes) -> Page:
    """Read a page from its bytes."""
    page = Page()
    page.feed(source.decode())
    page.close()
    return page
