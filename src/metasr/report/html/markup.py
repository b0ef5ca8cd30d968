"""HTML out of Python: what is not marked as HTML is text, and escaped."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence

_VOID = ("br", "img", "meta", "hr")


class Markup(str):
    """Text that is HTML already. Everything else is escaped where it is put in."""

    __slots__ = ()


Child = str | None | Sequence["Child"]


def markup(child: Child) -> Markup:
    """A text as HTML: escaped, unless it is HTML already; several one after the other; none as nothing."""
    if child is None:
        return Markup("")
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return Markup(html.escape(child, quote=True))
    return Markup("".join(markup(c) for c in child))


def element(name: str, /, *children: Child, **attributes: str | bool | None) -> Markup:
    """``<name attribute="...">children</name>``.

    Args:
        name: the element's.
        children: text, which is escaped, or HTML.
        attributes: ``class_`` stands for ``class``, ``aria_label`` for ``aria-label``; none and false are left out,
            true gives a bare attribute.
    """
    told = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            told.append(f" {key}")
        elif value is not None and value is not False:
            told.append(f' {key}="{html.escape(str(value), quote=True)}"')
    start = f"<{name}{''.join(told)}>"
    return Markup(start if name in _VOID else f"{start}{markup(children)}</{name}>")


def scrolling(label: str, child: Child) -> Markup:
    """A box of its own for what may be wider than the screen, within reach of the keyboard."""
    return element("div", child, class_="scroll", tabindex="0", role="region", aria_label=label)


def table(
    columns: Sequence[Child], rows: Sequence[Sequence[Child]], *, caption: str, numbers: Collection[int] = ()
) -> Markup:
    """A table that scrolls inside its box; the first cell of a row is its heading.

    Args:
        columns: headings.
        rows: their cells.
        caption: what the table shows.
        numbers: columns that are aligned to the right.
    """

    def kind(i: int) -> str | None:
        return "n" if i in numbers else None

    head = [element("th", c, scope="col", class_=kind(i)) for i, c in enumerate(columns)]
    body = []
    for row in rows:
        cells = [element("th", row[0], scope="row", class_=kind(0))]
        cells += [element("td", c, class_=kind(i)) for i, c in enumerate(row[1:], start=1)]
        body.append(element("tr", cells))
    return scrolling(
        caption,
        element(
            "table",
            element("caption", element("span", caption)),
            element("thead", element("tr", head)),
            element("tbody", body),
        ),
    )


def details(summary: Child, *children: Child, open_: bool = False) -> Markup:
    """What is folded away until it is asked for (and open in print)."""
    return element("details", element("summary", summary), children, open=open_)
