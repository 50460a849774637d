"""The layout of the i2b2/VA 2010 corpus: a `.txt` file and a `.con` file for each document.

A line of the text is a sentence and its words stand between blanks. A line of the annotations names an entity
by its words and by line (from 1) and word (from 0) of its first and last word:

    c="a mild fever" 4:6 4:8||t="problem"

The annotations are in lower case, whatever the text is.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from medm_plm.data.ner.reading import read_lines
from medm_plm.data.ner.sentences import Corpus, Sentence, labels_of_spans
from medm_plm.errors import InputError

TEXT_SUFFIX, CONCEPT_SUFFIX = ".txt", ".con"
# The quoted words may hold quotation marks themselves, so the places are found from the end of the line.
_CONCEPT = re.compile(r'c="(.*)"\s+(\d+):(\d+)\s+(\d+):(\d+)\s*\|\|\s*t="([^"\s|]+)"\s*')


class Concept(NamedTuple):
    """One line of a `.con` file."""

    words: tuple[str, ...]
    first_line: int
    first_word: int
    last_line: int
    last_word: int
    kind: str


def read_i2b2(*places: str | Path) -> Corpus:
    """Read documents and their annotations, wherever they lie below some folders.

    In the corpus texts and annotations of the test part stand in two folders: give both. A text without
    annotations (the corpus has such a folder) is left out and counted. An entity whose place in the text does
    not hold its words, or that overlaps a longer one, is left out and counted. Lines that an entity connects
    become one sentence.

    Args:
        places (`str` or `Path`): folders or single files.

    Returns:
        The sentences; `number` is the line of the text, `document_id` the path of the text without its
        suffix.

    Raises:
        InputError: if there is no document, a `.con` file has no text or more than one, a line of it cannot
            be understood, or no entity stands where its file says.
    """
    texts = _find(places, TEXT_SUFFIX)
    pairs: dict[Path, Path] = {}
    for concept_file in _find(places, CONCEPT_SUFFIX):
        text_file = _text_of(concept_file, texts)
        if text_file in pairs:
            raise InputError("two annotation files for one text", file=text_file, received=concept_file.name)
        pairs[text_file] = concept_file
    if not pairs:
        raise InputError(
            "no annotated document",
            file=places[0],
            received=f"{len(texts)} {TEXT_SUFFIX} files",
            expected=f"{TEXT_SUFFIX} and {CONCEPT_SUFFIX} files of the same names",
        )
    base = Path(os.path.commonpath([text_file.parent for text_file in pairs]))
    corpus, num_concepts = Corpus(), 0
    for text_file in sorted(pairs):
        concepts = read_concepts(pairs[text_file])
        num_concepts += len(concepts)
        document_id = text_file.relative_to(base).with_suffix("").as_posix()
        corpus.extend(document_sentences(document_id, read_lines(text_file), concepts))
    corpus.counts["texts_without_annotations"] += len(texts) - len(pairs)
    if num_concepts and corpus.counts["entities_not_at_their_place"] == num_concepts:
        raise InputError(
            "no entity stands where its annotation says",
            file=base,
            remedy="give texts and annotations of the same release, unchanged",
        )
    corpus.counts = +corpus.counts  # without the zeros
    return corpus


def read_concepts(path: Path) -> list[Concept]:
    """Read the entities of a `.con` file.

    Args:
        path (`Path`): the file; empty lines are skipped.

    Returns:
        The entities in the order of the file.

    Raises:
        InputError: if a line has another form.
    """
    concepts = []
    for row, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        match = _CONCEPT.fullmatch(line.strip())
        if match is None:
            raise InputError(
                "the line cannot be understood",
                file=path,
                row=row,
                expected='c="words" line:word line:word||t="kind"',
            )
        words, *places, kind = match.groups()
        first_line, first_word, last_line, last_word = map(int, places)
        quoted = tuple(words.casefold().split())
        concepts.append(Concept(quoted, first_line, first_word, last_line, last_word, kind))
    return concepts


def document_sentences(document_id: str, lines: Sequence[str], concepts: Iterable[Concept]) -> Corpus:
    """Label the words of a document.

    Args:
        document_id (`str`): name of the document.
        lines (`Sequence[str]`): its lines, from the first.
        concepts (`Iterable[Concept]`): its entities.

    Returns:
        A sentence for each line that has words (or for several lines that an entity connects), and counts.
    """
    corpus = Corpus()
    # Numbers of all words of the document, so that entities over several lines need no rule of their own.
    tokens = [line.split() for line in lines]
    starts = [0]
    for words in tokens:
        starts.append(starts[-1] + len(words))
    flat = [token for words in tokens for token in words]
    spans: list[tuple[int, int, str]] = []
    joined: set[int] = set()
    for concept in concepts:
        span = _place(concept, lines, starts, flat)
        if span is None:
            corpus.counts["entities_not_at_their_place"] += 1
            continue
        spans.append((*span, concept.kind))
        joined.update(range(concept.first_line, concept.last_line))
    labels, overlapping = labels_of_spans(len(flat), spans)
    corpus.counts["entities_overlapping_a_longer_one"] += overlapping
    corpus.counts["lines_joined_by_an_entity"] += len(joined)
    first = 0
    for line in range(1, len(lines) + 1):
        if line in joined:
            continue
        begin, end = starts[first], starts[line]
        if begin < end:
            sentence = Sentence(document_id, first + 1, tuple(flat[begin:end]), labels[begin:end])
            corpus.sentences.append(sentence)
        first = line
    return corpus


def _place(
    concept: Concept, lines: Sequence[str], starts: Sequence[int], flat: Sequence[str]
) -> tuple[int, int] | None:
    """First and last word of an entity among all words of the document, if its words stand there."""
    if not 1 <= concept.first_line <= concept.last_line <= len(lines):
        return None
    ends = ((concept.first_line, concept.first_word), (concept.last_line, concept.last_word))
    # Some annotators' tools counted the empty words between double blanks as well.
    for count in (_words_before, _words_before_at_single_blanks):
        first, last = (starts[line - 1] + count(lines[line - 1], word) for line, word in ends)
        is_in_line = first < starts[concept.first_line] and last < starts[concept.last_line]
        if is_in_line and concept.words == tuple(word.casefold() for word in flat[first : last + 1]):
            return first, last
    return None


def _words_before(line: str, word: int) -> int:
    return word


def _words_before_at_single_blanks(line: str, word: int) -> int:
    return sum(1 for part in line.split(" ")[:word] if part)


def _find(places: Iterable[str | Path], suffix: str) -> list[Path]:
    """Files with a suffix, hidden ones (what macOS leaves in archives) apart."""
    found: set[Path] = set()
    for place in map(Path, places):
        if not place.exists():
            raise InputError("no such file or folder", file=place)
        files = place.rglob("*") if place.is_dir() else [place]
        found.update(file for file in files if file.suffix == suffix and not file.name.startswith("."))
    return sorted(found)


def _text_of(concept_file: Path, texts: Iterable[Path]) -> Path:
    """The text of the same name, the nearest one if several sites use the name."""
    nearest: dict[int, list[Path]] = defaultdict(list)
    for text_file in texts:
        if text_file.stem == concept_file.stem:
            shared = len(Path(os.path.commonpath([text_file, concept_file])).parts)
            nearest[shared].append(text_file)
    candidates = nearest[max(nearest)] if nearest else []
    if len(candidates) != 1:
        raise InputError(
            "the text of these annotations is not clear" if candidates else "annotations without their text",
            file=concept_file,
            received=f"{len(candidates)} files {concept_file.stem}{TEXT_SUFFIX}",
            expected="one",
            remedy="give the folder of the texts too" if not candidates else "give one site at a time",
        )
    return candidates[0]
