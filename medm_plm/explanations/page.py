"""An explained visit as one page: no script, nothing loaded from elsewhere, readable in black and white.

Words and codes are shaded by their weight. A shade never stands alone: the heavier a word, the thicker the
line under it; what speaks against the label has a dashed line. Whatever comes from the visit passes through
`text`, so that nothing of it can become markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from medm_plm.data.report.page_parts import paragraph, percent, table, text
from medm_plm.explanations.importance import Importance
from medm_plm.explanations.prediction import Prediction
from medm_plm.explanations.visits import CODES, WORDS, EncodedVisit
from medm_plm.ontologies.titles import nearest_title

BOUNDS = (0.1, 0.25, 0.5, 0.75)
"""Shares of the largest weight from which a word or code has the first, second, third and fourth shade."""
OTHER_LABELS = 5

_BLANKS = re.compile(r"\s+")
_NO_TITLES: Mapping[str, str] = MappingProxyType({})
_TITLES = {
    "attention": "Cross-modal attention",
    "label_attention": "Attention of the label",
    "integrated_gradients": "Integrated gradients",
}
_MEANINGS = {
    "attention": "How the codes look at the words of the note, and the note at the codes (equations 6 and 7 "
    "of Liu et al., 2022). The weights of a part sum to 100 %. They belong to the visit, whatever the label. "
    "Attention tells where the model looked, not that the answer hangs on it.",
    "label_attention": "How this label looks at the words of the note, and at the codes if they stand below. "
    "The weights of a part sum to 100 %. Codes also reach the answer by ways that have no weights here.",
    "integrated_gradients": "What each word and code adds to the score of this label, on the way from the "
    "same visit with every word and code masked. A weight with a dashed line speaks against the label.",
}
# Should a value ever slip through as markup, the browser still loads and runs nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif;
  color: #111; background: #fff }
h1 { font-size: 1.7rem; line-height: 1.2 } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem;
  border-bottom: 2px solid #111 } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem }
.private { border: 2px solid #111; padding: .4rem .8rem; font-weight: 600 }
.note { line-height: 2.1; border-left: 3px solid #bbb; padding-left: 1rem; overflow-wrap: anywhere }
.frame { overflow-x: auto; margin: 1rem 0 1.5rem } table { border-collapse: collapse; font-size: .9rem }
caption { text-align: left; font-weight: 600; padding: .3rem 0 }
th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #bbb }
th[scope=row] { font-weight: 400; min-width: 6rem } thead th { border-bottom: 2px solid #111 }
.number { text-align: right; font-variant-numeric: tabular-nums } td.number { white-space: nowrap }
.w1, .w2, .w3, .w4 { padding: .1rem .15rem; border-bottom-style: solid; border-bottom-color: #111;
  print-color-adjust: exact }
.w1 { background: #eee; border-bottom-width: 1px } .w2 { background: #d6d6d6; border-bottom-width: 2px }
.w3 { background: #b4b4b4; border-bottom-width: 3px }
.w4 { background: #888; border-bottom-width: 4px; font-weight: 700 } .against { border-bottom-style: dashed }
@media print { body { margin: 0; max-width: none; font-size: 10pt } .frame { overflow: visible }
  h2, h3, caption { break-after: avoid } tr { break-inside: avoid } }
"""


def to_html(
    visit: EncodedVisit,
    prediction: Prediction,
    importances: Iterable[Importance],
    titles: Mapping[str, str] = _NO_TITLES,
    visit_id: str | None = None,
) -> str:
    """Show an explained visit as one self-contained page.

    Args:
        visit (`EncodedVisit`): the visit.
        prediction (`Prediction`): the answer that is explained.
        importances (`Iterable[Importance]`): by method, in the order of the page.
        titles (`Mapping[str, str]`, *optional*): titles of codes that the user has, see
            `medm_plm.ontologies.titles.read_titles`.
        visit_id (`str`, *optional*): name of the visit.

    Returns:
        HTML.
    """
    title = f"Explanation: {prediction.task.replace('_', ' ')}"
    sections = [_section(visit, importance, titles) for importance in importances]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style></head>\n"
        f"<body>\n<h1>{text(title)}</h1>\n"
        '<p class="private">This page holds the record of a patient: treat it as you treat the record.</p>\n'
        f"<main>\n{_prediction(prediction, titles, visit_id)}\n" + "\n".join(sections) + "\n</main>\n"
        "</body>\n</html>\n"
    )


def shade(weight: float, largest: float) -> int:
    """Choose one of five shades.

    Args:
        weight (`float`): of a word or code; its sign does not count.
        largest (`float`): largest absolute weight of the part.

    Returns:
        0 (none) to 4 (darkest), by `BOUNDS`.
    """
    return 0 if largest <= 0 else sum(abs(weight) >= bound * largest for bound in BOUNDS)


def shaded_note(visit: EncodedVisit, weights: np.ndarray) -> str:
    """Write the note, as far as it was read, with its words shaded.

    Args:
        visit (`EncodedVisit`): the visit.
        weights (`np.ndarray` of shape `(words,)`): their weights.

    Returns:
        A paragraph; each shaded word tells its weight when pointed at.
    """
    note, largest = visit.inputs.note, _largest(weights)
    parts, end = [], 0
    for word, weight in zip(visit.words, weights, strict=True):
        parts.append(_plain(note[end : word.start]))
        parts.append(_shaded(_plain(note[word.start : word.end]), weight, largest))
        end = word.end
    return f'<p class="note">{"".join(parts) or "No note."}</p>'


def code_title(code: str, titles: Mapping[str, str] = _NO_TITLES) -> str | None:
    """Find what a person calls a code.

    Args:
        code (`str`): a code as `SYSTEM:CODE`, or a label that is none.
        titles (`Mapping[str, str]`, *optional*): titles of codes that the user has.

    Returns:
        Its title, that of the narrowest group with one (marked as a group), or None.
    """
    try:
        title, node = nearest_title(code, titles)
    except ValueError:
        return None
    return title if title is None or node == code else f"of the group: {title}"


def _prediction(prediction: Prediction, titles: Mapping[str, str], visit_id: str | None) -> str:
    order = [int(place) for place in np.argsort(-prediction.probabilities, kind="stable")]
    shown = [prediction.explained, *(place for place in order if place != prediction.explained)]
    rows = [
        (
            _name(prediction.labels[place]),
            code_title(prediction.labels[place], titles),
            percent(float(prediction.probabilities[place])),
            bool(prediction.probabilities[place] >= prediction.threshold[place]),
            place == prediction.explained,
        )
        for place in shown[: OTHER_LABELS + 1]
    ]
    which = "" if visit_id is None else f" for visit {visit_id}"
    columns = ("Label", "Title", "Probability", "Predicted", "Explained here")
    return f"<section><h2>Prediction</h2>\n{table(f'What the model says{which}', columns, rows)}</section>"


def _section(visit: EncodedVisit, importance: Importance, titles: Mapping[str, str]) -> str:
    parts = [
        f"<section><h2>{text(_TITLES[importance.method])}</h2>",
        paragraph(_MEANINGS[importance.method]),
    ]
    if importance.difference is not None:
        parts.append(
            paragraph(
                f"Score of the visit above that of the masked visit: {importance.difference:.4f}; "
                f"the weights miss it by {abs(importance.error):.1e}."
            )
        )
    if (weights := importance.weights.get(WORDS)) is not None:
        parts += [f"<h3>Words of the note</h3>{_legend(weights, importance.is_signed)}"]
        parts += [shaded_note(visit, weights), _remarks(visit, importance)]
    if (weights := importance.weights.get(CODES)) is not None:
        parts += [
            f"<h3>Codes</h3>{_legend(weights, importance.is_signed)}",
            _codes(visit, importance, titles),
        ]
        if not importance.is_signed:
            parts.append(
                paragraph(
                    "On the mark of beginning, which stands for the visit as a whole: "
                    f"{percent(importance.elsewhere[CODES])}."
                )
            )
    return "\n".join([*parts, "</section>"])


def _legend(weights: np.ndarray, is_signed: bool) -> str:
    """Explain the shades by the weights they begin with."""
    largest = _largest(weights)
    if largest <= 0:
        return ""
    examples = [
        _shaded(f"from {_weight(bound * largest, is_signed)}", bound * largest, largest) for bound in BOUNDS
    ]
    if is_signed:
        examples.append(_shaded("against the label", -BOUNDS[1] * largest, largest))
    return f"<p>Shades: {' '.join(examples)}</p>"


def _remarks(visit: EncodedVisit, importance: Importance) -> str:
    sentences = []
    if not importance.is_signed:
        share = percent(importance.elsewhere[WORDS])
        sentences.append(f"On marks of beginning and end, which stand for no word: {share}.")
    if unread := len(visit.inputs.note[visit.num_read :].split()):
        sentences.append(f"The model does not read the last {unread:,} words of the note.")
    return paragraph(" ".join(sentences)) if sentences else ""


def _codes(visit: EncodedVisit, importance: Importance, titles: Mapping[str, str]) -> str:
    """A table of the codes, heaviest first, the names of the codes shaded."""
    if not visit.codes:
        return paragraph("No codes.")
    weights, is_signed, rows = importance.weights[CODES], importance.is_signed, []
    largest = _largest(weights)
    for place in np.argsort(-np.abs(weights), kind="stable"):
        code, weight = visit.codes[place], float(weights[place])
        known = code.token == code.code
        title = code_title(code.code, titles)
        cells = [
            "medication" if code.is_medication else "diagnosis",
            title if known else f"{title or '-'} (read as {code.token})",
        ]
        name = _shaded(text(_name(code.code)), weight, largest)
        rows.append(
            f'<tr><th scope="row">{name}</th>'
            + "".join(f"<td>{text(cell)}</td>" for cell in cells)
            + f'<td class="number">{text(_weight(weight, is_signed))}</td></tr>'
        )
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("Code", "Kind", "Title", "Weight"))
    return (
        '<div class="frame"><table><caption>Codes of the visit, heaviest first</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>{chr(10).join(rows)}</tbody></table></div>"
    )


def _shaded(markup: str, weight: float, largest: float) -> str:
    """Wrap markup in its shade; words without a shade stay bare."""
    level = shade(weight, largest)
    if not level:
        return markup
    against = " against" if weight < 0 else ""
    return f'<span class="w{level}{against}" title="{weight:.4f}">{markup}</span>'


def _plain(words: str) -> str:
    """Escape a stretch of the note, each run of blanks and line breaks as one blank."""
    return text(_BLANKS.sub(" ", words)) if words else ""


def _weight(weight: float, is_signed: bool) -> str:
    return f"{weight:+.4f}" if is_signed else f"{100 * weight:.2f} %"


def _name(label: str) -> str:
    """Codes are written with their system, outcomes as words."""
    return label if ":" in label else label.replace("_", " ")


def _largest(weights: Sequence[float] | np.ndarray) -> float:
    return float(np.abs(weights).max()) if len(weights) else 0.0
