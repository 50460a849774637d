"""Parts of the report page: text, tables and pictures, each a piece of HTML that loads nothing.

Whatever comes from a report passes through `text`, so that no value can become markup. Pictures are inline
SVG in black, white and grey, with a title for those who cannot see them; their numbers are written in them.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Mapping, Sequence

_NOTHING = "-"
_LONG_WORD = 32  # letters; the columns of longer ones break them
_LABEL_WIDTH, _BAR_WIDTH, _COUNT_WIDTH, _BAR_HEIGHT = 120, 400, 110, 24
_BOX_X, _BOX_WIDTH, _BOX_HEIGHT, _BOX_STEP = 2, 250, 46, 96
_SIDE_X, _SIDE_WIDTH, _LINE_HEIGHT, _REASON_LETTERS = 300, 330, 17, 44


def text(value: object) -> str:
    """Write a value of a report for a reader.

    Args:
        value (`object`): a number, a text, a truth value, nothing, or a list of such, which become lines.

    Returns:
        HTML in which nothing of the value is markup.
    """
    if isinstance(value, list | tuple):
        return "<br>".join(text(part) for part in value) or _NOTHING
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    # What cannot be printed could turn the direction of the text around it.
    return html.escape(
        "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value))
    )


def percent(part: float | None, whole: float | None = 1) -> str | None:
    """Write a share with one decimal; None where there is nothing to divide by."""
    return None if part is None or not whole else f"{100 * part / whole:.1f} %"


def paragraph(sentence: str) -> str:
    """Write a sentence."""
    return f"<p>{text(sentence)}</p>"


def bullets(sentences: Iterable[str]) -> str:
    """Write a list of sentences."""
    return "<ul>" + "".join(f"<li>{text(sentence)}</li>" for sentence in sentences) + "</ul>"


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table whose first column names its rows; numbers stand right.

    Args:
        caption (`str`): what the table shows.
        columns (`Sequence[str]`): headings.
        rows (`Iterable[Sequence]`): values as `text` takes them, as many as there are headings.

    Returns:
        The table in a frame that scrolls where the page is narrow.

    Raises:
        ValueError: if a row is longer or shorter than the headings.
    """
    rows = list(rows)
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"table {caption!r}: a row of {len(row)} cells, expected {len(columns)}")
    kinds = [_kind([row[place] for row in rows]) for place in range(len(columns))]
    head = "".join(
        f'<th scope="col"{kind}>{text(name)}</th>' for name, kind in zip(columns, kinds, strict=True)
    )
    body = []
    for row in rows:
        cells = "".join(
            f"<td{kind}>{text(value)}</td>" for value, kind in zip(row[1:], kinds[1:], strict=True)
        )
        body.append(f'<tr><th scope="row"{kinds[0]}>{text(row[0])}</th>{cells}</tr>')
    return (
        f'<div class="frame"><table><caption>{text(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>{chr(10).join(body)}</tbody></table></div>"
    )


def bars(caption: str, counts: Mapping[str, int]) -> str:
    """Draw a bar for each count, with the count behind it.

    Args:
        caption (`str`): what is counted.
        counts (`Mapping[str, int]`): by name of the bin, in order.

    Returns:
        A figure.
    """
    longest = max(counts.values(), default=0) or 1
    drawn = []
    for row, (name, count) in enumerate(counts.items()):
        y, width = row * _BAR_HEIGHT, _BAR_WIDTH * count / longest
        drawn.append(_words(_LABEL_WIDTH - 8, y + 16, [name], anchor="end"))
        place = f'x="{_LABEL_WIDTH}" y="{y + 3}" width="{width:.1f}" height="{_BAR_HEIGHT - 6}"'
        drawn.append(f'<rect class="bar" {place}/>')
        drawn.append(_words(_LABEL_WIDTH + width + 6, y + 16, [f"{count:,}"]))
    size = (_LABEL_WIDTH + _BAR_WIDTH + _COUNT_WIDTH, max(len(counts), 1) * _BAR_HEIGHT)
    summary = ", ".join(f"{name}: {count:,}" for name, count in counts.items())
    return _figure(caption, summary, size, drawn)


def flow(caption: str, start: str, steps: Iterable[tuple[str, str]]) -> str:
    """Draw how a set shrinks: a box for what is left, and beside each arrow what went and why.

    Args:
        caption (`str`): what is drawn.
        start (`str`): words of the first box; lines are parted by line breaks, here and below.
        steps (`Iterable[tuple[str, str]]`): words about what went, and words of the box that is left.

    Returns:
        A figure.
    """
    steps = list(steps)
    drawn = [_box(_BOX_X, 0, _BOX_WIDTH, start.split("\n"), is_last=not steps)]
    middle = _BOX_X + _BOX_WIDTH / 2
    for number, (gone, left) in enumerate(steps, start=1):
        y = number * _BOX_STEP
        branch = y - (_BOX_STEP - _BOX_HEIGHT) / 2
        line = f"M{middle} {y - _BOX_STEP + _BOX_HEIGHT}V{y - 8}M{middle} {branch}H{_SIDE_X}"
        drawn.append(f'<path class="line" d="{line}"/>')
        drawn.append(f'<path class="tip" d="M{middle} {y}l-5 -9h10z"/>')
        lines = [part for line in gone.split("\n") for part in textwrap.wrap(line, _REASON_LETTERS)]
        height = len(lines) * _LINE_HEIGHT + 10
        drawn.append(_box(_SIDE_X, branch - height / 2, _SIDE_WIDTH, lines, height=height))
        drawn.append(_box(_BOX_X, y, _BOX_WIDTH, left.split("\n"), is_last=number == len(steps)))
    summary = "; ".join([start, *(f"{gone}; left: {left}" for gone, left in steps)]).replace("\n", ", ")
    return _figure(
        caption, summary, (_SIDE_X + _SIDE_WIDTH + 2, len(steps) * _BOX_STEP + _BOX_HEIGHT + 2), drawn
    )


def _kind(column: Iterable[object]) -> str:
    """Tell numbers, which stand right, and fingerprints, which may break anywhere, from words."""
    known = [value for value in column if value is not None]
    if known and all(_is_number(value) for value in known):
        return ' class="number"'
    has_long_word = any(len(word) > _LONG_WORD for value in known for word in str(value).split())
    return ' class="long"' if has_long_word else ""


def _is_number(value: object) -> bool:
    is_share = isinstance(value, str) and value.endswith(" %")
    return is_share or (isinstance(value, int | float) and not isinstance(value, bool))


def _figure(caption: str, summary: str, size: tuple[float, float], drawn: Iterable[str]) -> str:
    width, height = size
    return (
        f"<figure><figcaption>{text(caption)}</figcaption>\n"
        f'<svg role="img" viewBox="0 -1 {width} {height + 1}" style="max-width:{width}px">\n'
        f"<title>{text(caption)}</title><desc>{text(summary)}</desc>\n" + "\n".join(drawn) + "</svg></figure>"
    )


def _box(
    x: float, y: float, width: float, lines: Sequence[str], height: float = _BOX_HEIGHT, is_last: bool = False
) -> str:
    first_line = y + (height - len(lines) * _LINE_HEIGHT) / 2 + 13
    kind = "last box" if is_last else "box"
    frame = f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}"/>'
    return frame + _words(x + 10, first_line, lines)


def _words(x: float, y: float, lines: Sequence[str], anchor: str = "start") -> str:
    spans = (
        f'<tspan x="{x:.1f}" y="{y + number * _LINE_HEIGHT:.1f}">{text(line)}</tspan>'
        for number, line in enumerate(lines)
    )
    return f'<text text-anchor="{anchor}">{"".join(spans)}</text>'
