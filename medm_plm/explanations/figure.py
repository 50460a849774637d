"""The paper's picture of attention: words of a note and codes, the darker the more they are looked at.

Grey only, with the largest weight in numbers, so that it can be read in print. The cross-modal
module has one query a side, so attention is one row of weights over the words and one over the codes, and not
a table of words by codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medm_plm.data.files import make_private_folder, write_private
from medm_plm.drawing import FILE_METADATA, new_figure
from medm_plm.errors import InputError
from medm_plm.explanations.explaining import VisitExplanation
from medm_plm.explanations.page import code_title
from medm_plm.explanations.visits import CODES, WORDS

_LETTERS_OF_LINE, _LINE_HEIGHT, _INCHES_OF_LETTER = 96, 0.34, 0.085
_DARKEST = 0.55  # share of black on which black words can still be read
_TITLE_LETTERS = 40


def attention_figure(explanation: VisitExplanation, stem: Path, most_words: int = 120) -> list[Path]:
    """Draw the attention over a fragment of the note and over the codes.

    The fragment is the stretch of the note with the most weight in it.

    Args:
        explanation (`VisitExplanation`): its first importance that weighs words and codes is drawn.
        stem (`Path`): the files without their endings.
        most_words (`int`, defaults to 120): length of the fragment.

    Returns:
        A PNG and an SVG, the same bytes for the same explanation. They hold the record of a patient; only
        their owner can read them.

    Raises:
        InputError: if matplotlib is not installed, or there is nothing to draw.
    """
    drawn = next((found for found in explanation.importances if len(found.weights) > 1), None)
    if drawn is None:
        raise InputError("no method weighs words and codes", expected="attention or integrated_gradients")
    fragment = heaviest_stretch(drawn.weights[WORDS], most_words)
    words = list(zip(explanation.visit.texts(), drawn.weights[WORDS], strict=True))[fragment]
    codes = [
        (_code_label(code.code, explanation.titles), weight)
        for code, weight in zip(explanation.visit.codes, drawn.weights[CODES], strict=True)
    ]
    panels = [("Words of the note", _lines(words)), ("Codes", _lines(codes))]
    return _draw([(name, lines) for name, lines in panels if lines], stem)


def heaviest_stretch(weights: np.ndarray, length: int) -> slice:
    """Find the stretch with the largest sum of absolute weights.

    Args:
        weights (`np.ndarray` of shape `(words,)`): weights.
        length (`int`): words of the stretch.

    Returns:
        The earliest such stretch, all words if there are no more.
    """
    if len(weights) <= length:
        return slice(0, len(weights))
    sums = np.concatenate([[0.0], np.cumsum(np.abs(weights))])
    start = int(np.argmax(sums[length:] - sums[:-length]))
    return slice(start, start + length)


def _code_label(code: str, titles: Mapping[str, str]) -> str:
    title = (code_title(code, titles) or "").removeprefix("of the group: ")
    name = code.partition(":")[2] or code
    short = title if len(title) <= _TITLE_LETTERS else title[: _TITLE_LETTERS - 1] + "…"
    return f"{name} {short}" if short else name


def _lines(items: Sequence[tuple[str, float]]) -> list[list[tuple[str, float]]]:
    """Break words or codes into lines."""
    lines: list[list[tuple[str, float]]] = []
    room = 0
    for name, weight in items:
        width = len(name) + 2
        if width > room:
            lines.append([])
            room = _LETTERS_OF_LINE
        lines[-1].append((name, float(weight)))
        room -= width
    return lines


def _draw(panels: Sequence[tuple[str, Sequence[Sequence[tuple[str, float]]]]], stem: Path) -> list[Path]:
    figure, axes = _axes([len(lines) for _, lines in panels])
    for axis, (name, lines) in zip(axes, panels, strict=True):
        largest = max(abs(weight) for line in lines for _, weight in line) or 1.0
        axis.set_title(f"{name} (darkest: {largest:.3g})", loc="left", fontsize=10)
        for row, line in enumerate(lines):
            place = 0.0
            for word, weight in line:
                _tile(axis, place, row, word, abs(weight) / largest)
                place += len(word) + 2
    make_private_folder(stem.parent)
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in FILE_METADATA]
    for path, (kind, metadata) in zip(files, FILE_METADATA.items(), strict=True):
        save = partial(figure.savefig, format=kind, dpi=150, metadata=metadata)
        write_private(path, save)
    return files


def _tile(axis: Any, place: float, row: int, word: str, share: float) -> None:
    from matplotlib.patches import Rectangle

    grey = str(1 - _DARKEST * share)
    axis.add_patch(Rectangle((place, row + 0.08), len(word) + 1.6, 0.84, facecolor=grey, linewidth=0))
    letters = {"family": "monospace", "fontsize": 9, "va": "center", "ha": "left", "parse_math": False}
    letters["weight"] = "bold" if share > 0.5 else "normal"
    axis.text(place + 0.8, row + 0.5, word, **letters)


def _axes(num_lines: Sequence[int]) -> tuple[Any, list[Any]]:
    width = _LETTERS_OF_LINE * _INCHES_OF_LETTER
    heights = [lines * _LINE_HEIGHT for lines in num_lines]
    figure = new_figure(width, sum(heights) + 0.6 * len(heights))
    axes = figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axis, lines in zip(axes, num_lines, strict=True):
        axis.set_xlim(0, _LETTERS_OF_LINE + 2)
        axis.set_ylim(lines, 0)
        axis.axis("off")
    return figure, list(axes)
