"""Batches are padded copies of their examples; hidden codes depend on seed, epoch and example alone."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from medm_plm.data.collators import (
    CodeMasker,
    PatientCollator,
    PretrainingCollator,
    VisitCollator,
    keyed_generator,
    pad_sequences,
)

MASK = 2
UNKNOWN, INNER_NODE = 3, 40
CODE_IDS = {1: np.arange(4, 24), 2: np.arange(24, 33)}
TEXT_PADDING = 9


def masker(**fields) -> CodeMasker:
    return CodeMasker(MASK, CODE_IDS, **{"seed": 5, **fields})


def visit(number: int, num_words: int = 6, num_diagnoses: int = 5, num_medications: int = 3) -> dict:
    """A visit whose ids are drawn from its number, with codes of both types."""
    generator = keyed_generator("visit", number)
    codes = [
        1,
        *generator.choice(CODE_IDS[1], num_diagnoses, False),
        *generator.choice(CODE_IDS[2], num_medications, False),
    ]
    return {
        "example_id": f"visit {number}",
        "epoch": 0,
        "input_ids": generator.integers(10, 90, num_words).astype(np.int32),
        "code_input_ids": np.array(codes, dtype=np.int32),
        "code_token_type_ids": np.array([0] + [1] * num_diagnoses + [2] * num_medications, dtype=np.int8),
    }


def visits_of_many_sizes() -> list[dict]:
    return [visit(i, num_words=2 + 3 * i, num_diagnoses=1 + i, num_medications=i % 3) for i in range(4)]


def assert_is_row_of(
    single: dict[str, torch.Tensor], batch: dict[str, torch.Tensor], row: int, padding: dict
) -> None:
    """The example alone is the start of its row in the batch, and the rest of the row is padding."""
    assert single.keys() == batch.keys()
    for name, alone in single.items():
        inside, alone = batch[name][row], alone[0]
        window = tuple(slice(0, size) for size in alone.shape)
        assert torch.equal(inside[window], alone), name
        rest = torch.ones_like(inside, dtype=torch.bool)
        rest[window] = False
        assert (inside[rest] == padding.get(name, 0)).all(), name


def test_pad_sequences_gives_one_column_to_empty_rows():
    assert pad_sequences([[], []], 7).tolist() == [[7], [7]]
    assert pad_sequences([[1, 2], [3]], 7).tolist() == [[1, 2], [3, 7]]


@pytest.mark.parametrize("row", range(4))
def test_visit_alone_equals_its_row_in_a_batch(row):
    collator = VisitCollator(text_padding_id=TEXT_PADDING, code_padding_id=0)
    visits = visits_of_many_sizes()
    padding = {"input_ids": TEXT_PADDING}
    assert_is_row_of(collator([visits[row]]), collator(visits), row, padding)


@pytest.mark.parametrize("row", range(4))
def test_masked_visit_alone_equals_its_row_in_a_batch(row):
    collator = PretrainingCollator(text_padding_id=TEXT_PADDING, masker=masker())
    visits = visits_of_many_sizes()
    padding = {"input_ids": TEXT_PADDING, "labels": -100}
    assert_is_row_of(collator([visits[row]]), collator(visits), row, padding)


def test_attention_masks_mark_the_real_positions():
    batch = VisitCollator()(visits_of_many_sizes())
    assert batch["attention_mask"].sum(1).tolist() == [2, 5, 8, 11]
    assert batch["code_attention_mask"].sum(1).tolist() == [2, 4, 6, 5]
    assert batch["code_token_type_ids"][3].tolist() == [0, 1, 1, 1, 1, 0]


def test_text_types_are_given_only_to_encoders_that_take_them():
    assert "token_type_ids" in VisitCollator()([visit(1)])
    assert "token_type_ids" not in VisitCollator(with_text_types=False)([visit(1)])


@pytest.mark.parametrize(("labels", "shape"), [(np.uint8(1), (2,)), (np.array([1, 0, 1], np.uint8), (2, 3))])
def test_labels_become_float(labels, shape):
    batch = VisitCollator()([{**visit(i), "labels": labels} for i in range(2)])
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].shape == shape
    assert torch.equal(batch["labels"][0], torch.as_tensor(labels, dtype=torch.float32))


def test_labels_hold_the_original_code_exactly_where_it_was_chosen():
    for number in range(50):
        example = visit(number, num_diagnoses=18, num_medications=8)
        original = example["code_input_ids"]
        masked, labels = masker()(original, example["code_token_type_ids"], 0, example["example_id"])
        chosen = labels != -100
        assert chosen.sum() == 4  # 15 % of 26, rounded
        assert (labels[chosen] == original[chosen]).all()
        assert (masked[~chosen] == original[~chosen]).all()
        assert not chosen[0]


@pytest.mark.parametrize(("num_codes", "expected"), [(1, 1), (3, 1), (9, 1), (10, 2), (17, 3)])
def test_at_least_one_code_is_chosen_and_the_share_is_rounded(num_codes, expected):
    example = visit(0, num_diagnoses=num_codes, num_medications=0)
    _, labels = masker()(example["code_input_ids"], example["code_token_type_ids"], 0, "a")
    assert (labels != -100).sum() == expected


def test_chosen_codes_are_masked_replaced_and_kept_in_the_right_shares():
    counts: Counter[str] = Counter()
    for epoch in range(1500):
        example = visit(epoch, num_diagnoses=12, num_medications=8)
        original, types = example["code_input_ids"], example["code_token_type_ids"]
        masked, labels = masker()(original, types, epoch, example["example_id"])
        for position in np.flatnonzero(labels != -100):
            code, before = masked[position], original[position]
            action = "mask" if code == MASK else "keep" if code == before else "replace"
            counts[action] += 1
            if action == "replace":
                assert code in CODE_IDS[types[position]]
    total = counts.total()
    assert total == 1500 * 3
    # Four standard deviations of a share of 4,500 draws are 0.024 and 0.018.
    assert counts["mask"] / total == pytest.approx(0.8, abs=0.024)
    assert counts["replace"] / total == pytest.approx(0.1, abs=0.018)
    assert counts["keep"] / total == pytest.approx(0.1, abs=0.018)


def test_every_code_of_a_visit_is_chosen_equally_often():
    example = visit(3, num_diagnoses=6, num_medications=4)
    chosen = np.zeros(11)
    for epoch in range(2000):
        _, labels = masker(mask_share=0.2)(
            example["code_input_ids"], example["code_token_type_ids"], epoch, example["example_id"]
        )
        chosen += labels != -100
    assert chosen[1:] / 2000 == pytest.approx(np.full(10, 0.2), abs=0.04)


def test_unknown_codes_and_ontology_nodes_are_never_chosen():
    codes, types = np.array([1, UNKNOWN, INNER_NODE, 4]), np.array([0, 1, 1, 1])
    for epoch in range(50):
        _, labels = masker(mask_share=1.0)(codes, types, epoch, "a")
        assert labels.tolist() == [-100, -100, -100, 4]
    masked, labels = masker()(codes[:3], types[:3], 0, "a")
    assert masked.tolist() == [1, UNKNOWN, INNER_NODE]
    assert (labels == -100).all()


def test_the_only_code_of_a_type_is_never_replaced():
    lonely = CodeMasker(MASK, {1: np.array([4]), 2: np.array([5])}, seed=1)
    seen = {int(lonely(np.array([1, 4]), np.array([0, 1]), epoch, "a")[0][1]) for epoch in range(200)}
    assert seen == {MASK, 4}


def test_masks_depend_on_seed_epoch_and_example_and_on_nothing_else():
    example = visit(0, num_diagnoses=15)

    def labels(seed: int, epoch: int, example_id: str) -> list[int]:
        return masker(seed=seed)(
            example["code_input_ids"], example["code_token_type_ids"], epoch, example_id
        )[1].tolist()

    first = labels(1, 0, "a")
    np.random.seed(123)
    torch.manual_seed(123)
    assert labels(1, 0, "a") == first
    for other in ((2, 0, "a"), (1, 1, "a"), (1, 0, "b")):
        assert labels(*other) != first


def test_predicting_all_codes_labels_every_known_code():
    example = {
        **visit(2),
        "code_input_ids": np.array([1, 4, INNER_NODE, 25]),
        "code_token_type_ids": np.array([0, 1, 1, 2]),
    }
    batch = PretrainingCollator(masker=masker(), predict_all=True)([example])
    assert batch["labels"].tolist() == [[-100, 4, -100, 25]]


def test_fixed_masks_are_left_alone():
    example = {**visit(2), "labels": np.array([-100, 7])}
    batch = PretrainingCollator()([example])
    assert batch["labels"].tolist() == [[-100, 7]]
    assert batch["code_input_ids"][0].tolist() == example["code_input_ids"].tolist()


class VisitsOfEpoch(Dataset):
    def __init__(self, epoch: int):
        self.epoch = epoch

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict:
        return {**visit(index), "epoch": self.epoch}


def test_masks_are_the_same_for_any_number_of_workers_and_differ_between_epochs():
    def batches(epoch: int, workers: int) -> list[torch.Tensor]:
        loader = DataLoader(
            VisitsOfEpoch(epoch),
            batch_size=4,
            num_workers=workers,
            collate_fn=PretrainingCollator(masker=masker()),
        )
        return [batch["code_input_ids"] for batch in loader]

    alone, helped, later = batches(0, 0), batches(0, 2), batches(1, 0)
    assert all(map(torch.equal, alone, helped))
    assert not all(map(torch.equal, alone, later))


def patient(number: int, num_visits: int) -> dict:
    visits = []
    for index in range(num_visits):
        member = visit(10 * number + index, num_words=3 + index, num_diagnoses=2 + number)
        member["current_code_input_ids"] = member["code_input_ids"][: 3 + number]
        member["current_code_token_type_ids"] = member["code_token_type_ids"][: 3 + number]
        member["labels"] = None if index == 0 else np.array([index, 0, 1, 1], np.uint8)
        visits.append(member)
    return {"example_id": str(number), "epoch": 0, "visits": visits}


PATIENT_PADDING = {"input_ids": TEXT_PADDING, "labels": -100}


def test_patients_are_laid_out_by_visit():
    batch = PatientCollator(text_padding_id=TEXT_PADDING)([patient(0, 2), patient(1, 3)])
    assert batch["visit_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["input_ids"].shape == (2, 3, 5)
    assert batch["code_input_ids"].shape == (2, 3, 7)
    assert batch["current_code_input_ids"].shape == (2, 3, 4)
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"][0].tolist() == [[-100.0] * 4, [1.0, 0.0, 1.0, 1.0], [-100.0] * 4]
    assert batch["labels"][1, 2].tolist() == [2.0, 0.0, 1.0, 1.0]
    assert (batch["input_ids"][0, 2] == TEXT_PADDING).all()
    assert batch["attention_mask"][0].sum(1).tolist() == [3, 4, 0]
    second = patient(1, 3)["visits"][1]
    assert batch["input_ids"][1, 1, :4].tolist() == second["input_ids"].tolist()
    assert (
        batch["current_code_token_type_ids"][1, 1].tolist() == second["current_code_token_type_ids"].tolist()
    )


@pytest.mark.parametrize("row", range(3))
def test_patient_alone_equals_its_row_in_a_batch(row):
    collator = PatientCollator(text_padding_id=TEXT_PADDING)
    patients = [patient(0, 2), patient(1, 4), patient(2, 3)]
    assert_is_row_of(collator([patients[row]]), collator(patients), row, PATIENT_PADDING)
