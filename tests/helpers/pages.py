"""Reads a page as it is written, and checks that it is well-formed and its links lead on."""

import html.parser
from urllib.parse import unquote


class Page(html.parser.HTMLParser):
    """Elements of a page as (tag, attributes), its texts, and tags that were left open."""

    VOID = ("meta", "link", "img", "br", "input")

    def __init__(self, path):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append(" ".join(data.split()))

    def all(self, tag, **attributes):
        return [a for t, a in self.elements if t == tag and attributes.items() <= a.items()]


def check_page(path):
    """Well-formed, with a heading and landmarks, pictures that have a text, links to files."""
    page = Page(path)
    assert page.open == []
    assert page.all("h1") and page.all("main") and page.all("html", lang="en")
    targets = [a["href"] for _, a in page.elements if "href" in a]
    targets += [a["src"] for _, a in page.elements if "src" in a]
    for target in targets:
        if target.startswith("data:"):
            continue
        file, _, anchor = target.partition("#")
        goal = path.parent / unquote(file) if file else path
        assert goal.is_file(), target
        if anchor:
            assert f'id="{anchor}"' in goal.read_text(encoding="utf-8")
    for image in page.all("img"):
        assert "alt" in image, image
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in page.elements:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in identifiers
    for cell in page.all("th"):
        assert cell.get("scope") in ("col", "row", "rowgroup"), cell
    assert len(page.all("caption")) == len(page.all("table"))
    return page
