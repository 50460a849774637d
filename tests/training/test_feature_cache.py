"""The kept output of the frozen text layers: equal to computing it, and never somebody else's."""

import numpy as np
import pytest
import torch

from medm_plm.data.collators import PatientCollator, VisitCollator
from medm_plm.training import feature_cache
from medm_plm.training.feature_cache import add_prefix_states, prefix_fingerprint
from modeling_medm_plm import MedMPLMForMedicationRecommendation, MedMPLMForPreTraining
from tiny_models import LABELS, build


def tokenized_visits(count: int = 5) -> list[dict]:
    """Visits whose notes have 2 to 7 tokens."""
    generator = np.random.default_rng(0)
    return [
        {
            "input_ids": generator.integers(4, 50, 2 + index % 6).astype(np.int32),
            "code_input_ids": np.array([1, 5, 6 + index], dtype=np.int32),
            "code_token_type_ids": np.array([0, 1, 1], dtype=np.int8),
        }
        for index in range(count)
    ]


def kept(model, folder, visits, dtype="float32"):
    visits = [dict(visit) for visit in visits]
    add_prefix_states(model.model, visits, folder, dtype=dtype)
    return visits


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 1e-2)])
def test_scores_from_kept_states_equal_computed_ones(tmp_path, dtype, tolerance):
    model = build(MedMPLMForPreTraining, num_frozen_text_layers=1)
    visits, collate = tokenized_visits(), VisitCollator(with_text_types=False)
    with torch.no_grad():
        plain = model(**collate(visits)).t2c_logits
        cached = model(**collate(kept(model, tmp_path, visits, dtype))).t2c_logits
    torch.testing.assert_close(plain, cached, atol=tolerance * plain.abs().max().item(), rtol=tolerance)


def test_kept_states_serve_patients_with_several_visits(tmp_path):
    model = build(MedMPLMForMedicationRecommendation, num_frozen_text_layers=1)
    visits = tokenized_visits()
    for index, visit in enumerate(visits):
        visit["current_code_input_ids"], visit["current_code_token_type_ids"] = (
            np.array([1, 7]),
            np.array([0, 1]),
        )
        visit["labels"] = None if index in (0, 3) else np.zeros(LABELS, dtype=np.uint8)
    collate = PatientCollator(with_text_types=False)
    logits = []
    for rows in (visits, kept(model, tmp_path, visits)):
        patients = [{"visits": rows[:3]}, {"visits": rows[3:]}]
        with torch.no_grad():
            logits.append(model(**collate(patients)).logits[:, 1])
    torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-5)


def test_nothing_is_computed_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "NOTES_PER_FILE", 2)
    model = build(MedMPLMForPreTraining, num_frozen_text_layers=1)
    computed, compute = [], feature_cache._compute
    monkeypatch.setattr(
        feature_cache,
        "_compute",
        lambda model, visits, *rest: computed.append(len(visits)) or compute(model, visits, *rest),
    )
    visits = tokenized_visits()
    first = kept(model, tmp_path, [*visits, visits[0]])  # one note twice
    assert computed == [2, 2, 1]
    kept(model, tmp_path, visits[::-1][:3])  # another task: some of the notes in another order
    assert computed == [2, 2, 1]
    sorted(tmp_path.rglob("*.json"))[0].unlink()  # as if a run had been killed before its index was written
    second = kept(model, tmp_path, visits)
    assert len(computed) == 4
    for one, other in zip(first, second, strict=False):
        np.testing.assert_array_equal(one["text_prefix_states"], other["text_prefix_states"])


def test_other_weights_and_another_precision_have_another_fingerprint():
    model = build(MedMPLMForPreTraining, num_frozen_text_layers=1)
    before = prefix_fingerprint(model.model, np.float16)
    assert before == prefix_fingerprint(
        build(MedMPLMForPreTraining, num_frozen_text_layers=1).model, np.float16
    )
    assert before != prefix_fingerprint(model.model, np.float32)
    with torch.no_grad():
        model.model.text_model.encoder.layer[1].output.dense.bias.add_(1)  # a live layer
        assert before == prefix_fingerprint(model.model, np.float16)
        model.model.text_model.encoder.layer[0].output.dense.bias.add_(1)
    assert before != prefix_fingerprint(model.model, np.float16)


def test_files_are_for_their_owner_alone(tmp_path):
    kept(build(MedMPLMForPreTraining, num_frozen_text_layers=1), tmp_path, tokenized_visits())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(file.suffix for file in files) == [".json", ".npy"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert files[0].parent.stat().st_mode & 0o777 == 0o700
