"""Pre-training and task heads: losses and features against slow references, and no leak between rows."""

import numpy as np
import pytest
import torch

from modeling_medm_plm import (
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForPreTraining,
    MedMPLMForReadmissionPrediction,
    MedMPLMModelOutput,
)
from tiny_models import LABELS, build, masked_code_labels, medication_labels, patient_inputs, visit_inputs

CURRENT_TEXT = ("current_input_ids", "current_attention_mask")
VISIT_HEADS = (MedMPLMForPreTraining, MedMPLMForReadmissionPrediction, MedMPLMForICDCoding)


def example_of(model_class) -> dict[str, torch.Tensor]:
    """Inputs with labels for one head."""
    if model_class is MedMPLMForMedicationRecommendation:
        inputs = patient_inputs(visits=4)
        return inputs | {"labels": medication_labels(inputs)}
    inputs = visit_inputs()
    labels = {
        MedMPLMForPreTraining: masked_code_labels(inputs),
        MedMPLMForReadmissionPrediction: torch.tensor([1.0, 0.0, 1.0]),
        MedMPLMForICDCoding: (torch.arange(3 * LABELS).view(3, LABELS) % 3 == 0).float(),
    }
    return inputs | {"labels": labels[model_class]}


def logits_of(outputs) -> torch.Tensor:
    return (
        outputs.logits if "logits" in outputs else torch.cat([outputs.t2c_logits, outputs.c2c_logits], dim=-1)
    )


def numpy_sigmoid_loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Equations 13, 15 and 17, element by element."""
    probability = 1 / (1 + np.exp(-logits))
    return -(labels * np.log(probability) + (1 - labels) * np.log(1 - probability))


def numpy_mlp(layers: torch.nn.Sequential, features: np.ndarray) -> np.ndarray:
    for layer in layers:
        if isinstance(layer, torch.nn.Linear):
            features = features @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        elif not isinstance(layer, torch.nn.Dropout):
            features = layer(torch.from_numpy(features)).numpy()
    return features


def test_pretraining_losses_equal_numpy():
    """Equations 8 to 10: minus log softmax at every chosen code, averaged over the chosen codes."""
    model = build(MedMPLMForPreTraining).double()
    example = example_of(MedMPLMForPreTraining)
    outputs = model(**example)
    losses = []
    for name in ("t2c", "c2c"):
        logits, terms = outputs[f"{name}_logits"].detach().numpy(), []
        for row, chosen in zip(logits, example["labels"].numpy(), strict=True):
            shifted = np.exp(row - row.max())
            terms += [-np.log(shifted[code] / shifted.sum()) for code in chosen if code >= 0]
        assert len(terms) == 4
        losses.append(np.mean(terms))
        assert outputs[f"{name}_loss"].item() == pytest.approx(losses[-1], rel=1e-6)
    assert outputs.loss.item() == pytest.approx(sum(losses), rel=1e-6)


def test_pretraining_target_all_is_the_mean_over_the_vocabulary():
    model = build(MedMPLMForPreTraining, pretraining_target="all").double()
    example = example_of(MedMPLMForPreTraining)
    outputs = model(**example)
    targets = np.zeros((3, 20))
    for row, codes in enumerate(example["labels"].numpy()):
        targets[row, codes[codes >= 0]] = 1
    for name in ("t2c", "c2c"):
        expected = numpy_sigmoid_loss(outputs[f"{name}_logits"].detach().numpy(), targets).mean()
        assert outputs[f"{name}_loss"].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("model_class", [MedMPLMForReadmissionPrediction, MedMPLMForICDCoding])
def test_visit_heads_equal_numpy(model_class):
    """Equations 14 to 17."""
    model = build(model_class).double()
    example = example_of(model_class)
    outputs = model(**example)
    base = model.model(**{name: value for name, value in example.items() if name != "labels"})
    features = torch.cat([base.text_augmented_output, base.code_augmented_output], -1).detach().numpy()
    logits = numpy_mlp(model.classifier, features)
    np.testing.assert_allclose(outputs.logits.detach(), logits, rtol=1e-8)
    labels = example["labels"].numpy().reshape(logits.shape)
    assert outputs.loss.item() == pytest.approx(numpy_sigmoid_loss(logits, labels).mean(), rel=1e-6)


def test_medication_recommendation_equals_numpy():
    """Equations 11 to 13, patient by patient and visit by visit."""
    model = build(MedMPLMForMedicationRecommendation).double()
    example = example_of(MedMPLMForMedicationRecommendation)
    outputs = model(**example)
    patient_losses = []
    for patient in range(3):
        num_visits = int(example["visit_mask"][patient].sum())
        visits = [
            model.model(**{name: example[name][patient, visit][None] for name in visit_inputs()})
            for visit in range(num_visits)
        ]
        losses = []
        for target in range(1, num_visits):
            earlier = visits[:target]
            current = model.model(
                **{
                    name: example[f"current_{name}"][patient, target][None]
                    for name in ("code_input_ids", "code_attention_mask", "code_token_type_ids")
                }
            ).code_pooler_output
            features = [
                np.mean([v.text_augmented_output[0].detach().numpy() for v in earlier], axis=0),
                np.mean([v.code_augmented_output[0].detach().numpy() for v in earlier], axis=0),
                current[0].detach().numpy(),
            ]
            logits = numpy_mlp(model.classifier, np.concatenate(features)[None])[0]
            np.testing.assert_allclose(outputs.logits[patient, target].detach(), logits, rtol=1e-7, atol=1e-9)
            losses.append(numpy_sigmoid_loss(logits, example["labels"][patient, target].numpy()).mean())
        patient_losses.append(np.mean(losses))
    assert outputs.loss.item() == pytest.approx(np.mean(patient_losses), rel=1e-6)


def test_current_note_and_medications_are_not_read():
    """Defect 3: the discharge summary of the visit whose medications are asked for must not matter."""
    model = build(MedMPLMForMedicationRecommendation)
    example = example_of(MedMPLMForMedicationRecommendation)
    with torch.no_grad():
        before = model(**example).logits
        for name in ("input_ids", "code_input_ids"):
            changed = example[name].clone()
            changed[:, 2, 1:] = 8
            after = model(**example | {name: changed}).logits
            assert torch.equal(before[:, 1:3], after[:, 1:3])  # visit 2 and the visit before it
            assert not torch.equal(before[0, 3], after[0, 3])  # history of the visit after it
        diagnoses = example["current_code_input_ids"].clone()
        diagnoses[:, 2, 1:3] = 8
        after = model(**example | {"current_code_input_ids": diagnoses}).logits
        assert not torch.equal(before[0, 2], after[0, 2])


def with_current_note(example: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Add a text of the current visit, shorter than the notes of its history."""
    words = visit_inputs(9, example["visit_mask"].shape)
    names = ("input_ids", "attention_mask")
    return example | {f"current_{name}": words[name][..., :5].clone() for name in names}


def test_the_text_of_the_current_visit_is_one_more_input_of_its_own_target():
    model = build(MedMPLMForMedicationRecommendation, use_current_note=True).double()
    plain = build(MedMPLMForMedicationRecommendation).double()
    example = with_current_note(example_of(MedMPLMForMedicationRecommendation))
    without = {name: value for name, value in example.items() if name not in CURRENT_TEXT}
    text_size = model.config.text_config.hidden_size
    assert model.classifier[1].in_features == plain.classifier[1].in_features + text_size
    seen = []
    model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        model(**example)
        for patient, visit in ((0, 1), (1, 2), (1, 3)):
            alone = {
                "input_ids": example["current_input_ids"][patient, visit][None],
                "attention_mask": example["current_attention_mask"][patient, visit][None],
            }
            expected = model.model(**alone).text_pooler_output[0]
            torch.testing.assert_close(seen[0][patient, visit, -text_size:], expected)
        seen.clear()
        changed = example["current_input_ids"].clone()
        changed[:, 2, 1:3] = 8
        before, after = model(**example).logits, model(**example | {"current_input_ids": changed}).logits
    assert not torch.equal(before[0, 2], after[0, 2])
    assert torch.equal(before[:, [1, 3]], after[:, [1, 3]]), "it serves no other visit"
    assert torch.isfinite(plain(**without).loss)


def test_padding_of_the_text_of_the_current_visit_changes_nothing():
    model = build(MedMPLMForMedicationRecommendation, use_current_note=True)
    example = with_current_note(example_of(MedMPLMForMedicationRecommendation))
    padded = {name: torch.nn.functional.pad(example[name], (0, 4)) for name in CURRENT_TEXT}
    with torch.no_grad():
        before, after = model(**example).logits, model(**example | padded).logits
    target = example["visit_mask"].bool()
    target[:, 0] = False
    torch.testing.assert_close(before[target], after[target], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reads", [True, False])
def test_text_of_the_current_visit_and_configuration_must_agree(reads):
    model = build(MedMPLMForMedicationRecommendation, use_current_note=reads)
    example = example_of(MedMPLMForMedicationRecommendation)
    with pytest.raises(ValueError, match=f"use_current_note=True.*it is {reads}"):
        model(**(example if reads else with_current_note(example)))


@pytest.mark.parametrize("model_class", [*VISIT_HEADS, MedMPLMForMedicationRecommendation])
def test_other_rows_of_the_batch_do_not_matter(model_class):
    """Defect 2: rows mixed by a `view`."""
    model = build(model_class)
    example = {name: value for name, value in example_of(model_class).items() if name != "labels"}
    order = [2, 0, 1]
    with torch.no_grad():
        logits = logits_of(model(**example))
        permuted = logits_of(model(**{name: value[order] for name, value in example.items()}))
        alone = logits_of(model(**{name: value[:1] for name, value in example.items()}))
    real = slice(1, None) if model_class is MedMPLMForMedicationRecommendation else slice(None)
    torch.testing.assert_close(permuted[:, real], logits[order][:, real], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone[:, real], logits[:1][:, real], atol=1e-5, rtol=1e-4)


def change_padding(example: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Other values wherever a mask is zero, in words, codes and visits."""
    changed = dict(example)
    for name in example:
        if name.endswith("input_ids"):
            mask = example[name.replace("input_ids", "attention_mask")].bool()
            changed[name] = torch.where(mask, example[name], 9)
    if "visit_mask" in example:
        absent = ~example["visit_mask"].bool()
        for name in example:
            if name.endswith("input_ids"):
                changed[name] = changed[name].masked_fill(absent[..., None], 13)
    return changed


@pytest.mark.parametrize("model_class", [*VISIT_HEADS, MedMPLMForMedicationRecommendation])
def test_padding_of_words_codes_and_visits_changes_no_bit(model_class):
    """Defect 4."""
    model = build(model_class)
    example = example_of(model_class)
    changed = change_padding(example)
    assert any(not torch.equal(example[name], changed[name]) for name in example)
    with torch.no_grad():
        one, other = model(**example), model(**changed)
    assert torch.equal(one.loss, other.loss)
    mask = example.get("visit_mask", torch.ones(3)).bool()
    assert torch.equal(logits_of(one)[mask], logits_of(other)[mask])


def test_only_needed_visits_are_computed(monkeypatch):
    model = build(MedMPLMForMedicationRecommendation)
    inputs = patient_inputs(visits=4)
    inputs["visit_mask"] = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    rows = []
    forward = model.model.text_model.forward
    monkeypatch.setattr(
        model.model.text_model,
        "forward",
        lambda **kwargs: rows.append(len(kwargs["input_ids"])) or forward(**kwargs),
    )
    outputs = model(**inputs)
    assert rows == [3 + 1 + 0]  # all but the last visit of each patient
    assert outputs.text_augmented_output.shape == (3, 4, 32)
    assert outputs.text_augmented_output[1, 1:].abs().max() == 0


def test_patients_without_a_target_give_a_finite_loss_with_gradients():
    model = build(MedMPLMForMedicationRecommendation).train()
    inputs = patient_inputs()
    inputs["visit_mask"][:, 1] = 0
    labels = torch.full((3, 2, LABELS), -100.0)
    loss = model(**inputs, labels=labels).loss
    loss.backward()
    assert loss.item() == 0.0


@pytest.mark.parametrize("model_class", [*VISIT_HEADS, MedMPLMForMedicationRecommendation])
def test_every_head_returns_the_fields_of_the_base_model(model_class):
    fields = set(MedMPLMModelOutput.__dataclass_fields__)
    outputs = build(model_class)(**example_of(model_class))
    assert fields <= set(type(outputs).__dataclass_fields__)
    assert outputs.text_augmented_output is not None
    assert outputs.code_last_hidden_state is not None
    assert outputs.to_tuple()[0] is outputs.loss


@pytest.mark.parametrize("model_class", [*VISIT_HEADS, MedMPLMForMedicationRecommendation])
def test_a_visit_without_codes_is_cls_alone(model_class):
    model = build(model_class)
    example = {n: v for n, v in example_of(model_class).items() if n != "labels"}
    without = {n: v for n, v in example.items() if "code" not in n or n.startswith("current")}
    shape = example["code_input_ids"].shape[:-1]
    only_cls = without | {"code_input_ids": torch.ones(*shape, 1, dtype=torch.long)}
    with torch.no_grad():
        assert torch.equal(logits_of(model(**without)), logits_of(model(**only_cls)))


@pytest.mark.parametrize("model_class", [MedMPLMForICDCoding, MedMPLMForMedicationRecommendation])
def test_a_task_without_a_note_says_what_to_do(model_class):
    with pytest.raises(ValueError, match="encoding of the empty string"):
        build(model_class)(code_input_ids=torch.ones(1, 1, dtype=torch.long))


def test_readmission_has_one_score():
    model = build(MedMPLMForReadmissionPrediction, num_labels=2)
    assert model(**visit_inputs()).logits.shape == (3, 1)
    assert model.config.num_labels == 1
