"""HTML pages that a notebook shows in place: `Page`."""

from __future__ import annotations

from html import escape


class Page(str):
    """The text of an HTML page; a notebook shows the page itself, and a prompt its size.

    Examples
    --------
    >>> Page("<p>Hello</p>")
    Page(12 characters of HTML)
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return a frame that holds the page, for a notebook."""
        return f'<iframe srcdoc="{escape(self, quote=True)}" style="width:100%;height:720px;border:1px solid #8888"></iframe>'

    def __repr__(self) -> str:
        return f"Page({len(self):,} characters of HTML)"
