"""From examples of different lengths to the rectangular tensors the models take.

Axes: batch, visits, words, codes, labels. Examples hold ids without padding (see
`medm_plm.training.datasets`): `input_ids` (words), `code_input_ids` and `code_token_type_ids` (codes), and,
depending on the task, `labels`. Everything random is drawn from a generator keyed by (seed, epoch, example
id), so a batch depends neither on the number of workers or ranks nor on what was drawn before it, and an
interrupted run can be continued exactly.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

IGNORED_LABEL = -100
MASKED_SHARE = 0.8
REPLACED_SHARE = 0.1


def keyed_generator(*key: object) -> np.random.Generator:
    """Return a random generator that depends on the key alone, e.g. (seed, epoch, example id).

    Args:
        key (`object`): any parts with a stable text form.

    Returns:
        A generator in the same state in every process and on every machine.
    """
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def pad_sequences(rows: Sequence[Sequence[int] | np.ndarray], padding_value: int) -> torch.Tensor:
    """Pad id lists on the right to the longest of them.

    Args:
        rows (`Sequence[Sequence[int]]`): id lists, possibly empty.
        padding_value (`int`): the id at the padded positions.

    Returns:
        `torch.LongTensor` of shape `(rows, longest)`, at least one wide.
    """
    width = max(1, max(len(row) for row in rows))
    padded = np.full((len(rows), width), padding_value, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return torch.from_numpy(padded)


def attention_mask_of(rows: Sequence[Sequence[int] | np.ndarray]) -> torch.Tensor:
    """Mark the real positions of what `pad_sequences` makes of the same rows: 1 real, 0 padding."""
    return pad_sequences([np.ones(len(row), dtype=np.int64) for row in rows], 0)


def pad_states(rows: Sequence[torch.Tensor | None], width: int) -> torch.Tensor:
    """Pad token states with zeros, `(rows, width, hidden)` in the precision of the states.

    Args:
        rows (`Sequence[torch.Tensor]`): `(words, hidden)` of each note, None where there are no states; at
            least one note has some.
        width (`int`): length of the longest note.
    """
    first = next(row for row in rows if row is not None)
    padded = first.new_zeros((len(rows), width, first.shape[1]))
    for index, row in enumerate(rows):
        if row is not None:
            padded[index, : len(row)] = row
    return padded


@dataclass(frozen=True)
class CodeMasker:
    """Hide some codes of a visit, to be predicted from the note (T2C) and from the remaining codes (C2C).

    Section III-A of Liu et al. (2022), equations 8 and 9: 15 % of the codes, at least one; of these 80 %
    become `[MASK]`, 10 % another code of the same type and 10 % stay as they are.

    Args:
        mask_token_id (`int`): id of `[MASK]`.
        code_ids (`Mapping[int, np.ndarray]`): the ids of the codes of each code type (1 diagnosis, 2
            medication). Only these can be hidden; `[UNK]` and ontology nodes in place of unknown codes
            cannot.
        seed (`int`): part of the key of every drawing.
        mask_share (`float`, defaults to 0.15): share of the visit's codes that are chosen.
    """

    mask_token_id: int
    code_ids: Mapping[int, np.ndarray]
    seed: int = 0
    mask_share: float = 0.15

    @classmethod
    def from_tokenizer(cls, code_tokenizer: Any, seed: int = 0, mask_share: float = 0.15) -> "CodeMasker":
        """Take `[MASK]` and the codes of each type from a `MedMPLMCodeTokenizer`."""
        code_ids = {
            code_type: np.asarray(code_tokenizer.code_ids(code_type), dtype=np.int64) for code_type in (1, 2)
        }
        return cls(code_tokenizer.mask_token_id, code_ids, seed, mask_share)

    def eligible_positions(self, code_input_ids: np.ndarray, code_token_type_ids: np.ndarray) -> np.ndarray:
        """Return the positions whose code is in the vocabulary and so can be hidden and predicted."""
        eligible = np.zeros(len(code_input_ids), dtype=bool)
        for code_type, ids in self.code_ids.items():
            eligible |= (code_token_type_ids == code_type) & np.isin(code_input_ids, ids)
        return np.flatnonzero(eligible)

    def __call__(
        self, code_input_ids: np.ndarray, code_token_type_ids: np.ndarray, epoch: int, example_id: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw the hidden codes of one visit in one epoch.

        Args:
            code_input_ids (`np.ndarray` of shape `(codes,)`): the visit's codes without padding.
            code_token_type_ids (`np.ndarray` of shape `(codes,)`): their types.
            epoch (`int`): number of the pass over the data, from 0.
            example_id (`str`): identifies the visit independently of its place in the data set.

        Returns:
            The codes as the model sees them and the labels, both `(codes,)`: the original id at the chosen
            positions, -100 elsewhere. Without an eligible code nothing is hidden.
        """
        masked = np.array(code_input_ids, dtype=np.int64)
        labels = np.full(len(masked), IGNORED_LABEL, dtype=np.int64)
        eligible = self.eligible_positions(masked, code_token_type_ids)
        if len(eligible) == 0:
            return masked, labels
        generator = keyed_generator(self.seed, epoch, example_id)
        count = max(1, int(self.mask_share * len(eligible) + 0.5))
        for position in generator.permutation(eligible)[:count]:
            labels[position] = masked[position]
            action = generator.random()
            if action < MASKED_SHARE:
                masked[position] = self.mask_token_id
            elif action < MASKED_SHARE + REPLACED_SHARE:
                masked[position] = self._replacement(
                    masked[position], code_token_type_ids[position], generator
                )
        return masked, labels

    def _replacement(self, code_id: int, code_type: int, generator: np.random.Generator) -> int:
        """Draw another code of the same type, or keep the only one there is."""
        candidates = self.code_ids[int(code_type)]
        candidates = candidates[candidates != code_id]
        return int(generator.choice(candidates)) if len(candidates) else int(code_id)


@dataclass(frozen=True)
class VisitCollator:
    """Pad the notes and the codes of a batch of visits to the longest of each.

    Args:
        text_padding_id (`int`, defaults to 0): id of the text tokenizer's padding token.
        code_padding_id (`int`, defaults to 0): id of the code tokenizer's padding token.
        with_text_types (`bool`, defaults to True): whether the text encoder takes `token_type_ids`.
    """

    text_padding_id: int = 0
    code_padding_id: int = 0
    with_text_types: bool = True

    @classmethod
    def from_processor(cls, processor: Any, **fields: Any) -> "VisitCollator":
        """Take the padding ids and the names of the text inputs from a `MedMPLMProcessor`."""
        return cls(
            text_padding_id=processor.tokenizer.pad_token_id,
            code_padding_id=processor.code_tokenizer.pad_token_id,
            with_text_types="token_type_ids" in processor.tokenizer.model_input_names,
            **fields,
        )

    def pad_text(self, visits: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the text inputs of the visits, each of shape `(visits, words)`.

        Where the output of the frozen text layers is kept (see `medm_plm.training.feature_cache`), these
        states, `(visits, words, hidden)`, are added; if only some of the visits have it, a mask `(visits,)`
        tells which.
        """
        rows = [visit["input_ids"] for visit in visits]
        batch = {
            "input_ids": pad_sequences(rows, self.text_padding_id),
            "attention_mask": attention_mask_of(rows),
        }
        if self.with_text_types:
            batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
        kept = [visit.get("text_prefix_states") for visit in visits]
        is_kept = [note is not None for note in kept]
        if any(is_kept):
            states = [None if note is None else note.read() for note in kept]
            batch["text_prefix_states"] = pad_states(states, batch["input_ids"].shape[1])
            if not all(is_kept):
                batch["text_prefix_mask"] = torch.tensor(is_kept)
        return batch

    def pad_codes(self, visits: Sequence[Mapping[str, Any]], prefix: str = "") -> dict[str, torch.Tensor]:
        """Return the code inputs of the visits under prefixed names, each of shape `(visits, codes)`."""
        rows = [visit[f"{prefix}code_input_ids"] for visit in visits]
        types = [visit[f"{prefix}code_token_type_ids"] for visit in visits]
        return {
            f"{prefix}code_input_ids": pad_sequences(rows, self.code_padding_id),
            f"{prefix}code_attention_mask": attention_mask_of(rows),
            f"{prefix}code_token_type_ids": pad_sequences(types, 0),
        }

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad a batch of visits.

        Args:
            examples (`Sequence[Mapping]`): visits with `input_ids`, `code_input_ids`, `code_token_type_ids`
                and, if they have targets, `labels`: a number or a row of numbers of one length.

        Returns:
            `input_ids`, `attention_mask` (and `token_type_ids`) of shape `(batch, words)`; `code_input_ids`,
            `code_attention_mask`, `code_token_type_ids` of shape `(batch, codes)`; `labels` `(batch,)` or
            `(batch, labels)` as float.
        """
        batch = {**self.pad_text(examples), **self.pad_codes(examples)}
        if "labels" in examples[0]:
            labels = np.stack([np.asarray(example["labels"], dtype=np.float32) for example in examples])
            batch["labels"] = torch.from_numpy(labels)
        return batch


@dataclass(frozen=True)
class PretrainingCollator(VisitCollator):
    """Hide codes afresh in each epoch and pad the batch, for T2C and C2C.

    Visits that already carry `labels` (the fixed masks of an evaluation) are only padded.

    Args:
        masker (`CodeMasker`): draws the hidden codes; needed for visits without `labels`.
        predict_all (`bool`, defaults to False): ask for all codes of the visit and not only for the hidden
            ones, the objective of the authors' code.
    """

    masker: CodeMasker | None = None
    predict_all: bool = False

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Hide codes and pad a batch of visits.

        Args:
            examples (`Sequence[Mapping]`): visits with `example_id` and `epoch` beside their ids.

        Returns:
            The inputs of `VisitCollator` and `labels` `(batch, codes)`: the original id of hidden codes, else
            -100.
        """
        masked = [example if "labels" in example else self._mask(example) for example in examples]
        batch = {**self.pad_text(masked), **self.pad_codes(masked)}
        batch["labels"] = pad_sequences([example["labels"] for example in masked], IGNORED_LABEL)
        return batch

    def _mask(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """Hide codes of one visit, keyed by its epoch and id."""
        codes, types = example["code_input_ids"], example["code_token_type_ids"]
        masked, labels = self.masker(codes, types, example["epoch"], example["example_id"])
        if self.predict_all:
            eligible = self.masker.eligible_positions(codes, types)
            labels[eligible] = codes[eligible]
        return {**example, "code_input_ids": masked, "labels": labels}


@dataclass(frozen=True)
class PatientCollator(VisitCollator):
    """Lay the visits of each patient side by side, for medication recommendation (equations 11 to 13).

    Visits that pad a short patient hold `[CLS]`-free padding only and are switched off by `visit_mask`.
    """

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad words, codes and visits of a batch of patients.

        Args:
            examples (`Sequence[Mapping]`): patients with `visits`: a list, in order of time, of visits with
                `input_ids`, `code_input_ids`, `code_token_type_ids` (what is known after the visit),
                `current_code_input_ids`, `current_code_token_type_ids` (its diagnoses), `current_input_ids`
                if words of it are read, and `labels`, the row of medications to predict, or None where the
                visit is no target.

        Returns:
            The visit inputs of shape `(batch, visits, words)` and `(batch, visits, codes)`, `visit_mask`
            `(batch, visits)` and `labels` `(batch, visits, labels)` as float with rows of -100 for no target.
        """
        lengths = [len(example["visits"]) for example in examples]
        visits = [visit for example in examples for visit in example["visits"]]
        flat = {**self.pad_text(visits), **self.pad_codes(visits), **self.pad_codes(visits, "current_")}
        if "current_input_ids" in visits[0]:
            words = [visit["current_input_ids"] for visit in visits]
            flat["current_input_ids"] = pad_sequences(words, self.text_padding_id)
            flat["current_attention_mask"] = attention_mask_of(words)
        flat["labels"] = self._label_rows(visits)
        padding = {
            "input_ids": self.text_padding_id,
            "code_input_ids": self.code_padding_id,
            "current_code_input_ids": self.code_padding_id,
            "current_input_ids": self.text_padding_id,
            "labels": IGNORED_LABEL,
        }
        batch = {name: stack_visits(rows, lengths, padding.get(name, 0)) for name, rows in flat.items()}
        batch["visit_mask"] = attention_mask_of([range(length) for length in lengths])
        return batch

    @staticmethod
    def _label_rows(visits: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Return the label rows `(visits, labels)`, -100 where a visit is no target."""
        width = next(len(visit["labels"]) for visit in visits if visit["labels"] is not None)
        ignored = np.full(width, IGNORED_LABEL, dtype=np.float32)
        rows = [
            ignored if visit["labels"] is None else np.asarray(visit["labels"], np.float32)
            for visit in visits
        ]
        return torch.from_numpy(np.stack(rows))


def stack_visits(rows: torch.Tensor, lengths: Sequence[int], padding_value: int) -> torch.Tensor:
    """Fold the visits of several patients, one after the other, into one row per patient.

    Args:
        rows (`torch.Tensor` of shape `(all visits, width)`): visits of the first patient, of the second, ...
        lengths (`Sequence[int]`): number of visits of each patient.
        padding_value (`int`): content of the padded visits.

    Returns:
        `torch.Tensor` of shape `(batch, visits, width)`.
    """
    folded = rows.new_full((len(lengths), max(lengths), *rows.shape[1:]), padding_value)
    start = 0
    for index, length in enumerate(lengths):
        folded[index, :length] = rows[start : start + length]
        start += length
    return folded
