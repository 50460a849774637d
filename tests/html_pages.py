"""A reader of pages that complains of markup that is not closed."""

from html.parser import HTMLParser


class MarkupReader(HTMLParser):
    """Elements, attributes and what is open; a test adds what else it looks at."""

    void = frozenset({"meta", "br"})

    def __init__(self, html):
        super().__init__()
        self.elements, self.attributes, self.open = [], [], []
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self.attributes += attributes
        if tag not in self.void:
            self.open.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag
