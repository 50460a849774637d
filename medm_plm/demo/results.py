"""Answers of the models as pieces of the page: a table, and the words and codes shaded by attention.

Whatever comes from the visitor passes through `text`, and the finished piece through `inert`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from medm_plm.data.report.page_parts import percent, text
from medm_plm.demo.codes import dotted_code, title_of
from medm_plm.demo.predicting import Answer, Line
from medm_plm.explanations.importance import Importance
from medm_plm.explanations.page import shade, shaded_note
from medm_plm.explanations.visits import CODES, WORDS, EncodedVisit

HEADINGS = {
    "icd_coding": ("ICD coding", "Diagnoses of this visit, from its note and medications."),
    "readmission": ("Readmission", "Back within 30 days of discharge? From the note and all codes."),
    "medication_recommendation": (
        "Medication recommendation",
        "Medications for the next visit, from its diagnoses and this visit as the only earlier one.",
    ),
}
NUM_HEAVIEST = 6
_MEANINGS = {
    "attention": "Cross-modal attention: the codes look at the words, the note looks at the codes.",
    "label_attention": "Attention of the label {label}.",
}
_ONLY_EARLIER = " The diagnoses of the next visit count as well and have no weights here."


def results(answers: Iterable[Answer]) -> str:
    """Show what the models say.

    Args:
        answers (`Iterable[Answer]`): one for each task.

    Returns:
        HTML without scripts, styles or addresses.
    """
    return inert(f'<div class="answers">{"".join(map(_card, answers))}</div>')


def message(sentence: str) -> str:
    """Show one sentence in place of an answer."""
    return inert(f'<div class="message" role="status">{text(sentence)}</div>')


def inert(html: str) -> str:
    """Take from HTML what gradio would fill in as a template, `${...}` and `{{...}}`."""
    return html.replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;").replace("`", "&#96;")


def _card(answer: Answer) -> str:
    heading, reads = HEADINGS[answer.task]
    if not answer.lines:
        body = "<p>Pick the diagnoses of the next visit to have medications recommended for it.</p>"
    elif answer.task == "readmission":
        body = _outcome(answer.lines[0])
    else:
        body = _codes_table(answer)
    return (
        f'<section class="answer" data-task="{answer.task}"><h3>{heading}</h3><p class="reads">{reads}</p>'
        f"{body}{_attention(answer)}</section>"
    )


def _outcome(line: Line) -> str:
    word = "yes" if line.decision else "no"
    return (
        f'<p class="outcome"><strong>{percent(line.probability)}</strong> '
        f'<span class="decision {word}">{word}</span></p>{_bar(line)}'
        f'<p class="remark">Decided "yes" from {percent(line.threshold)} on.</p>'
    )


def _codes_table(answer: Answer) -> str:
    rows = "".join(
        f'<tr class="{"predicted" if line.decision else ""}">'
        f'<th scope="row"><b>{text(dotted_code(line.label))}</b> {_title(line)}</th>'
        f'<td class="number">{percent(line.probability)}{_bar(line)}</td>'
        f"<td>{'yes' if line.decision else 'no'}</td></tr>"
        for line in answer.lines
    )
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("Code", "Probability", "Decision"))
    thresholds = {line.threshold for line in answer.lines}
    limit = f"from {percent(thresholds.pop())} on" if len(thresholds) == 1 else "by a threshold of each code"
    return (
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f'<p class="remark">{answer.num_predicted} of {answer.num_labels} codes decided "yes", {limit}; '
        f"the {len(answer.lines)} most probable are shown.</p>"
    )


def _title(line: Line) -> str:
    if line.title is None:
        return "-"
    is_group = line.title_of != line.label
    return f"{text(line.title)}{' <span class=group>(group)</span>' if is_group else ''}"


def _bar(line: Line) -> str:
    """A bar with a mark at the threshold; the number stands beside it."""
    share, mark = (round(100 * min(1.0, max(0.0, value)), 1) for value in (line.probability, line.threshold))
    return (
        f'<span class="bar" aria-hidden="true"><span style="width:{share}%"></span>'
        f'<i style="left:{mark}%"></i></span>'
    )


def _attention(answer: Answer) -> str:
    if answer.visit is None:
        return ""
    if not answer.importances:
        return '<p class="remark">This model has no attention to show.</p>'
    words, codes = _of_part(answer.importances, WORDS), _of_part(answer.importances, CODES)
    parts = [f'<p class="remark">{text(_meaning(answer, words or codes))}</p>']
    if words is not None:
        parts += [_heaviest(answer.visit, words), shaded_note(answer.visit, words.weights[WORDS])]
        parts.append(_unread(answer.visit))
    if codes is not None:
        parts.append(_codes(answer.visit, codes.weights[CODES]))
    return f"<details open><summary>Words and codes it looked at</summary>{''.join(parts)}</details>"


def _of_part(importances: Sequence[Importance], part: str) -> Importance | None:
    """The kind of attention that is closest to the label and says something of the part."""
    return next((found for found in reversed(importances) if part in found.weights), None)


def _meaning(answer: Answer, importance: Importance | None) -> str:
    if importance is None:
        return ""
    label = dotted_code(answer.lines[0].label) if answer.lines else ""
    ending = _ONLY_EARLIER if answer.task == "medication_recommendation" else ""
    return _MEANINGS[importance.method].format(label=label) + ending


def _heaviest(visit: EncodedVisit, importance: Importance) -> str:
    weights, words = importance.weights[WORDS], visit.texts()
    order = np.argsort(-np.abs(weights), kind="stable")[:NUM_HEAVIEST]
    named = ", ".join(f"<b>{text(words[place])}</b> ({percent(float(weights[place]))})" for place in order)
    return f"<p>Heaviest words: {named or '-'}</p>"


def _unread(visit: EncodedVisit) -> str:
    unread = len(visit.inputs.note[visit.num_read :].split())
    return (
        f'<p class="remark">Words at the end of the note that are not read: {unread:,}.</p>' if unread else ""
    )


def _codes(visit: EncodedVisit, weights: np.ndarray) -> str:
    if not visit.codes:
        return "<p>No codes are read.</p>"
    largest = float(np.abs(weights).max())
    items = []
    for place in np.argsort(-np.abs(weights), kind="stable"):
        code, weight = visit.codes[place], float(weights[place])
        name = f'<span class="w{shade(weight, largest)}">{text(dotted_code(code.code))}</span>'
        items.append(f"<li>{name} {text(title_of(code.code))} ({percent(weight)})</li>")
    return f'<ul class="codes" aria-label="Codes, heaviest first">{"".join(items)}</ul>'
