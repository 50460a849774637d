"""Strict span scores of named entity recognition: right kind, right first and right last word, or wrong.

The same numbers as `seqeval` with `mode="strict"` and `scheme=IOB2`, also for sequences that are no valid
IOB2 (a test compares the two). seqeval itself has had no release since 2020 and is not needed to run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from medm_plm.errors import InputError

Span = tuple[str, int, int]
"""Kind, first word and last word of an entity."""


def spans_of(labels: Sequence[str]) -> list[Span]:
    """List the entities of a sentence.

    An entity begins at a `B-kind` and goes on over the `I-kind` of the same kind behind it. An `I-kind`
    without such a beginning belongs to no entity.

    Args:
        labels (`Sequence[str]`): label of each word.

    Returns:
        The entities in their order.
    """
    spans: list[Span] = []
    is_open = False
    for index, label in enumerate(labels):
        prefix, _, kind = label.partition("-")
        if prefix == "B":
            spans.append((kind, index, index))
            is_open = True
        elif prefix == "I" and is_open and spans[-1][0] == kind:
            spans[-1] = (kind, spans[-1][1], index)
        else:
            is_open = False
    return spans


def span_metrics(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Count entities that were found exactly.

    Args:
        predictions (`Sequence[Sequence[str]]`): predicted labels, sentence by sentence.
        references (`Sequence[Sequence[str]]`): true labels, of the same lengths.

    Returns:
        `span_precision`, `span_recall`, `span_f1` over all entities (micro average), `span_f1_KIND` of each
        kind that was met or predicted, and `num_spans`, the number of true entities. What would divide by
        zero is zero.

    Raises:
        InputError: if a sentence has another number of labels here than there.
    """
    if [len(labels) for labels in predictions] != [len(labels) for labels in references]:
        raise InputError(
            "predictions and references do not fit",
            received=f"{len(predictions)} and {len(references)} sentences",
            expected="the same sentences with one label a word",
        )
    found, predicted, true = Counter[str](), Counter[str](), Counter[str]()
    for guess, truth in zip(predictions, references, strict=True):
        guessed_spans, true_spans = set(spans_of(guess)), set(spans_of(truth))
        predicted.update(kind for kind, _, _ in guessed_spans)
        true.update(kind for kind, _, _ in true_spans)
        found.update(kind for kind, _, _ in guessed_spans & true_spans)
    metrics = {
        "span_f1": _ratio(2 * found.total(), predicted.total() + true.total()),
        "span_precision": _ratio(found.total(), predicted.total()),
        "span_recall": _ratio(found.total(), true.total()),
    }
    for kind in sorted(predicted | true):
        metrics[f"span_f1_{kind}"] = _ratio(2 * found[kind], predicted[kind] + true[kind])
    return {**metrics, "num_spans": true.total()}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
