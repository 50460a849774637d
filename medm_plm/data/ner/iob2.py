"""Files with one word and its IOB2 label a line and an empty line after each sentence (CoNLL style)."""

from __future__ import annotations

from pathlib import Path

from medm_plm.data.ner.reading import read_lines
from medm_plm.data.ner.sentences import OUTSIDE, Corpus, Sentence
from medm_plm.errors import InputError

SUFFIXES = (".tsv", ".conll", ".iob", ".iob2", ".bio", ".txt")
DOCUMENT_MARK = "-DOCSTART-"


def read_iob2(path: str | Path) -> Corpus:
    """Read a file of labelled words.

    The first column is the word, the last one its label; columns are divided by tabs, or by blanks where
    there is no tab. A line that begins with `-DOCSTART-` begins a document; without such lines the file
    counts as one. `I-kind` that follows no entity of its kind (IOB1) is read as `B-kind` and counted.

    Args:
        path (`str` or `Path`): the file.

    Returns:
        The sentences, numbered from 1 in each file; `document_id` is the name of the file without its suffix,
        then a colon and the number of the document if there are marks.

    Raises:
        InputError: if a line has no label or one of another scheme, or the file holds no sentence.
    """
    path = Path(path)
    corpus, document_number = Corpus(), 0
    tokens: list[str] = []
    labels: list[str] = []
    for row, line in enumerate([*read_lines(path), ""], start=1):
        is_mark = line.startswith(DOCUMENT_MARK)
        if line.strip() and not is_mark:
            token, label = _columns(path, row, line)
            if label.startswith("I-") and (not labels or labels[-1][2:] != label[2:]):
                label = f"B-{label[2:]}"
                corpus.counts["labels_i_without_b"] += 1
            tokens.append(token)
            labels.append(label)
            continue
        if tokens:
            document_id = f"{path.stem}:{document_number}" if document_number else path.stem
            number = len(corpus.sentences) + 1
            corpus.sentences.append(Sentence(document_id, number, tuple(tokens), tuple(labels)))
            tokens, labels = [], []
        document_number += is_mark
    if not corpus.sentences:
        raise InputError("the file holds no sentence", file=path, expected="a word, a tab, a label a line")
    return corpus


def _columns(path: Path, row: int, line: str) -> tuple[str, str]:
    columns = line.split("\t") if "\t" in line else line.split()
    token, label = columns[0], columns[-1].strip()
    if len(columns) < 2 or not token:
        raise InputError(
            "a word or its label is missing",
            file=path,
            row=row,
            received=f"{len(columns)} columns",
            expected="a word, a tab and a label, or an empty line between sentences",
        )
    if label != OUTSIDE and (label[:2] not in ("B-", "I-") or not label[2:]):
        raise InputError(
            "the label is none of the IOB2 scheme",
            file=path,
            row=row,
            expected="O, B-kind or I-kind",
            remedy="convert BIOES or BILOU labels first",
        )
    return token, label
