"""A visit as a model reads it: which words and codes of it stand at which positions of the inputs.

Axes: words (of the note, word pieces merged), codes, positions (word pieces, or codes with `[CLS]`).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from medm_plm.data import tasks
from medm_plm.data.collators import VisitCollator
from medm_plm.data.schema import DIAGNOSIS_CODES, MEDICATION_CODES
from medm_plm.errors import InputError
from tokenization_medm_plm import MedMPLMProcessor, normalize_code

EXPLAINED_TASKS = ("readmission", "icd_coding", "medication_prediction", "mortality")
WORDS, CODES = "words", "codes"
PARTS = (WORDS, CODES)

# A number with its decimals, a word with its apostrophes and hyphens, or a single mark.
_WORD = re.compile(r"\d+(?:[.,]\d+)*\w*|\w+(?:['-]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class VisitInputs:
    """What a model may read of a visit.

    Args:
        note (`str`): its note, "" where there is none.
        diagnosis_codes, medication_codes (`tuple[str, ...]`): its codes.
    """

    note: str = ""
    diagnosis_codes: tuple[str, ...] = ()
    medication_codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Word:
    """A word of the note: `start` and `end` in the note, and the positions of its word pieces."""

    start: int
    end: int
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Code:
    """A code of the visit.

    Args:
        code (`str`): as the visit has it.
        token (`str`): as the model reads it; a code that is not in the vocabulary becomes a node, or `[UNK]`.
        is_medication (`bool`): which list it is from.
        position (`int`): where it stands in the inputs.
    """

    code: str
    token: str
    is_medication: bool
    position: int


@dataclass(frozen=True)
class EncodedVisit:
    """A visit, its ids, and its words and codes as far as the model reads them.

    Args:
        inputs (`VisitInputs`): the visit.
        ids (`Mapping[str, list[int]]`): `input_ids`, `code_input_ids` and `code_token_type_ids`.
        words (`tuple[Word, ...]`): in the order of the note.
        codes (`tuple[Code, ...]`): diagnoses, then medications.
    """

    inputs: VisitInputs
    ids: Mapping[str, list[int]]
    words: tuple[Word, ...]
    codes: tuple[Code, ...]

    @property
    def num_read(self) -> int:
        """Characters of the note up to the end of the last word that is read."""
        return self.words[-1].end if self.words else 0

    def texts(self) -> list[str]:
        """The words as they stand in the note."""
        return [self.inputs.note[word.start : word.end] for word in self.words]

    def size(self, part: str) -> int:
        """Number of its `"words"` or `"codes"`."""
        return len(self.words if part == WORDS else self.codes)

    def without(self, part: str, deleted: Collection[int]) -> VisitInputs:
        """Delete words or codes; the other part stays whole.

        What was cut off stays away, so that no deletion lets the model read further.

        Args:
            part (`str`): "words" or "codes".
            deleted (`Collection[int]`): which of them, by their place in `words` or `codes`.

        Returns:
            The visit that is left.
        """
        deleted = set(deleted)
        if part == WORDS:
            return replace(self.inputs, note=self._note_without(deleted))
        left = [code for place, code in enumerate(self.codes) if place not in deleted]
        return replace(
            self.inputs,
            diagnosis_codes=tuple(code.code for code in left if not code.is_medication),
            medication_codes=tuple(code.code for code in left if code.is_medication),
        )

    def _note_without(self, deleted: set[int]) -> str:
        letters = list(self.inputs.note[: self.num_read])
        for place in deleted:
            word = self.words[place]
            # A blank in its place: the words around it must not become one.
            letters[word.start : word.end] = [" ", *[""] * (word.end - word.start - 1)]
        return "".join(letters)


def task_inputs(task: str, visit: Mapping[str, Any], medication_window: str = "whole_stay") -> VisitInputs:
    """Take from a visit what a task may read, and nothing else.

    Args:
        task (`str`): a name of `EXPLAINED_TASKS`.
        visit (`Mapping`): a row of `visits.parquet`, or whatever of its columns there is.
        medication_window (`str`, defaults to `"whole_stay"`): which medications are predicted
            (medication prediction).

    Returns:
        Note and codes; what is missing is empty.

    Raises:
        InputError: if the task cannot be explained.
    """
    if task not in EXPLAINED_TASKS:
        raise InputError(
            "this task cannot be explained", received=task, expected=" or ".join(EXPLAINED_TASKS)
        )
    is_first_day = task == "medication_prediction" and medication_window == "first_day"
    known = tasks.PREDICTION_TIMES[tasks.FIRST_DAY_PREDICTION if is_first_day else task]
    medications = visit.get(known.medications) if known.medications else None
    return VisitInputs(
        note=visit.get(known.note) or "",
        diagnosis_codes=tuple(visit.get(DIAGNOSIS_CODES) or ()) if known.diagnoses else (),
        medication_codes=tuple(medications or ()),
    )


def visit_inputs(visit: Mapping[str, Any]) -> VisitInputs:
    """Take note and codes from an example of a task, which holds only what may be read."""
    return VisitInputs(
        visit.get("note") or "",
        tuple(visit.get(DIAGNOSIS_CODES) or ()),
        tuple(visit.get(MEDICATION_CODES) or ()),
    )


def encode_visit(processor: MedMPLMProcessor, inputs: VisitInputs) -> EncodedVisit:
    """Encode a visit and find the positions of its words and codes.

    Args:
        processor (`MedMPLMProcessor`): the processor of the model.
        inputs (`VisitInputs`): the visit.

    Returns:
        The encoded visit.

    Raises:
        InputError: if the tokenizer does not tell where its pieces stand in the note.
    """
    if not processor.tokenizer.is_fast:
        raise InputError(
            "the tokenizer of the notes does not tell where its word pieces stand",
            received=type(processor.tokenizer).__name__,
            expected="a fast tokenizer",
        )
    data = processor(
        text=inputs.note,
        diagnosis_codes=list(inputs.diagnosis_codes),
        medication_codes=list(inputs.medication_codes),
        text_kwargs={"return_offsets_mapping": True},
        verbose=False,
    )
    ids = {name: list(data[name]) for name in ("input_ids", "code_input_ids", "code_token_type_ids")}
    return EncodedVisit(
        inputs, ids, words_of(inputs.note, data["offset_mapping"]), _codes_of(processor, inputs, ids)
    )


def words_of(note: str, offsets: Sequence[Sequence[int]]) -> tuple[Word, ...]:
    """Merge word pieces to words.

    A piece that reaches over several words makes one word of them.

    Args:
        note (`str`): the note.
        offsets (`Sequence[Sequence[int]]`): start and end of each piece in the note, both 0 at special
            tokens.

    Returns:
        The words that have a piece, in the order of the note.
    """
    spans = [match.span() for match in _WORD.finditer(note)]
    starts = [start for start, _ in spans]
    pieces: list[tuple[int, int]] = []  # position, first span
    continues = [False] * len(spans)
    for position, (start, end) in enumerate(offsets):
        piece = note[start:end]
        start, end = start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
        if start < end:
            first, after_last = bisect_right(starts, start) - 1, bisect_left(starts, end)
            pieces.append((position, first))
            continues[first + 1 : after_last] = [True] * (after_last - first - 1)
    first_spans = [index for index, is_inside in enumerate(continues) if not is_inside]
    positions: list[list[int]] = [[] for _ in first_spans]
    for position, span in pieces:
        positions[bisect_right(first_spans, span) - 1].append(position)
    ends = [spans[index - 1][1] for index in first_spans[1:]] + [end for _, end in spans[-1:]]
    words = zip(first_spans, ends, positions, strict=True)
    return tuple(Word(starts[first], end, tuple(found)) for first, end, found in words if found)


def _codes_of(
    processor: MedMPLMProcessor, inputs: VisitInputs, ids: Mapping[str, Sequence[int]]
) -> tuple[Code, ...]:
    """Walk along the ids and the codes of the visit, passing over repeated and cut ones."""
    tokenizer, codes = processor.code_tokenizer, []
    for code_type, of_visit in enumerate((inputs.diagnosis_codes, inputs.medication_codes), start=1):
        positions = [at for at, kind in enumerate(ids["code_token_type_ids"]) if kind == code_type]
        seen: set[str] = set()
        for code in of_visit:
            lists = ([[code], []], [[], [code]])[code_type - 1]
            alone = tokenizer(*lists, verbose=False)["input_ids"][1:]
            if not positions or not alone or normalize_code(code) in seen:
                continue
            seen.add(normalize_code(code))
            if ids["code_input_ids"][positions[0]] == alone[0]:
                token = tokenizer.convert_ids_to_tokens(alone[0])
                codes.append(Code(code, token, code_type == 2, positions.pop(0)))
    return tuple(codes)


def batch_of(processor: MedMPLMProcessor, visits: Sequence[EncodedVisit]) -> dict[str, torch.Tensor]:
    """Pad visits to a batch.

    Args:
        processor (`MedMPLMProcessor`): gives the padding.
        visits (`Sequence[EncodedVisit]`): at least one.

    Returns:
        The inputs of the model.
    """
    return VisitCollator.from_processor(processor)([visit.ids for visit in visits])
