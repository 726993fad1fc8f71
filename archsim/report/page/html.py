"""The pieces of a page: sections, tables that scroll, lines with their labels. Knows HTML, not what it says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from dataflow.overview import LABEL, escaped


def section(heading: str, *inside: str) -> str:
    """A section under a heading; nothing without anything inside."""
    body = "".join(inside)
    return f"<section><h2>{escaped(heading)}</h2>{body}</section>" if body else ""


def paragraph(told: str) -> str:
    """A paragraph of text."""
    return f"<p>{escaped(told)}</p>"


def table(
    caption: str, names: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[str] = (), kind: str = ""
) -> str:
    """A table that scrolls where it is long, the first cell of each row its heading; columns of `numbers` at the right.

    Nothing without rows.
    """
    sides = [' class="number"' * (name in numbers) for name in names]
    head = "".join(f'<th scope="col"{side}>{escaped(name)}</th>' for name, side in zip(names, sides, strict=True))
    body = []
    for first, *others in rows:
        cells = "".join(f"<td{side}>{escaped(cell)}</td>" for cell, side in zip(others, sides[1:], strict=True))
        body.append(f'<tr><th scope="row">{escaped(first)}</th>{cells}</tr>')
    if not body:
        return ""
    told = f"<caption>{escaped(caption)}</caption>" if caption else ""
    of_kind = f' class="{kind}"' if kind else ""
    whole = f"<table{of_kind}>{told}<thead><tr>{head}</tr></thead>"
    return scrolled("div", f"{whole}<tbody>{''.join(body)}</tbody></table>", label=caption)


def lines(told: Iterable[str], *, caption: str) -> str:
    """Lines that begin with a label, as the text of a report has them, as a table."""
    rows = []
    for line in told:
        label, text = escaped(line[:LABEL].strip()), escaped(line[LABEL:])
        rows.append(f'<tr><th scope="row">{label}</th><td>{text}</td></tr>')
    return f'<table class="lines"><caption>{escaped(caption)}</caption><tbody>{"".join(rows)}</tbody></table>'


def text(told: Sequence[str], *, label: str) -> str:
    """Lines as they are, each character as wide as the others; nothing without any."""
    return scrolled("pre", escaped("\n".join(told)), label=label) if told else ""


def scrolled(element: str, inside: str, *, label: str) -> str:
    """An element that the keyboard can scroll."""
    return f'<{element} class="scroll" tabindex="0" role="region" aria-label="{escaped(label)}">{inside}</{element}>'
