"""The record of named entity recognition, a labelled sentence, and what is done with many of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from medm_plm.errors import InputError

OUTSIDE = "O"
_HASH_RANGE = 2**64


@dataclass(frozen=True)
class Sentence:
    """A sentence whose words have labels.

    Args:
        document_id (`str`): the document it is from, or the file where the source does not tell documents
            apart.
        number (`int`): its place in the document or file, as the source counts.
        tokens (`tuple[str, ...]`): its words, never empty.
        labels (`tuple[str, ...]`): IOB2 label of each word: `O`, `B-kind` or `I-kind`.
    """

    document_id: str
    number: int
    tokens: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass
class Corpus:
    """Sentences of one or more files and what happened while they were read.

    Args:
        sentences (`list[Sentence]`): in the order of the files.
        counts (`Counter`): how much was left out or mended, by reason; empty if nothing was.
    """

    sentences: list[Sentence] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def extend(self, other: Corpus) -> None:
        """Add the sentences and the counts of another corpus."""
        self.sentences += other.sentences
        self.counts += other.counts


def label_names(sentences: Iterable[Sentence]) -> list[str]:
    """List the labels of an IOB2 model.

    Args:
        sentences (`Iterable[Sentence]`): the training sentences.

    Returns:
        `O`, then `B-kind` and `I-kind` of each kind of entity in alphabetical order, whether met or not.
    """
    kinds = sorted({label[2:] for sentence in sentences for label in sentence.labels if label != OUTSIDE})
    return [OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI")]


def labels_of_spans(num_tokens: int, spans: Iterable[tuple[int, int, str]]) -> tuple[tuple[str, ...], int]:
    """Turn spans into IOB2 labels; of spans that overlap, the longer one stays and then the earlier one.

    Args:
        num_tokens (`int`): length of the sentence.
        spans (`Iterable[tuple[int, int, str]]`): first word, last word and kind of each entity.

    Returns:
        The labels, and how many spans were left out because they overlap another.
    """
    labels, left_out = [OUTSIDE] * num_tokens, 0
    for first, last, kind in sorted(set(spans), key=lambda span: (span[0] - span[1], span)):
        if any(label != OUTSIDE for label in labels[first : last + 1]):
            left_out += 1
            continue
        labels[first : last + 1] = [f"B-{kind}"] + [f"I-{kind}"] * (last - first)
    return tuple(labels), left_out


def split_off_documents(
    sentences: Sequence[Sentence], share: float, seed: int
) -> tuple[list[Sentence], list[Sentence]]:
    """Divide sentences so that no document stands on both sides.

    Documents are drawn by a hash of seed and id. If there are fewer documents than it takes to make up the
    share, as in a file that does not tell its documents apart, the last sentences are split off in one piece,
    so that one document at most is cut in two.

    Args:
        sentences (`Sequence[Sentence]`): sentences in the order of their source.
        share (`float`): share of the documents, or of the sentences, that is split off.
        seed (`int`): another one draws other documents.

    Returns:
        The sentences that stay and those that are split off.

    Raises:
        InputError: if one of the two would be empty.
    """
    num_documents = len({sentence.document_id for sentence in sentences})
    if num_documents * share >= 1:
        kept = [s for s in sentences if _draw(seed, s.document_id) >= share]
        split_off = [s for s in sentences if _draw(seed, s.document_id) < share]
    else:
        end = len(sentences) - round(share * len(sentences))
        kept, split_off = list(sentences[:end]), list(sentences[end:])
    if not kept or not split_off:
        raise InputError(
            "the training documents are too few to split off some for validation",
            received=f"{num_documents} documents, {len(sentences)} sentences",
            remedy="name a file or folder by --ner_validation",
        )
    return kept, split_off


def _draw(seed: int, document_id: str) -> float:
    """A number in [0, 1) that depends on seed and document alone."""
    digest = hashlib.sha256(f"{seed}:{document_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / _HASH_RANGE
