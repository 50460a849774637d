"""Half precision stays close to single, knows no NaN, and `torch.compile` changes nothing."""

import pytest
import torch

from modeling_medm_plm import (
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForReadmissionPrediction,
    MedMPLMForTokenClassification,
)
from tiny_models import build, patient_inputs, visit_inputs

HEADS = (
    MedMPLMForICDCoding,
    MedMPLMForReadmissionPrediction,
    MedMPLMForMedicationRecommendation,
    MedMPLMForTokenClassification,
)
HALVES = (torch.bfloat16, torch.float16)


def small(model_class, **fields):
    """A model with weights of usual size, so that rounding is not blown up."""
    model = build(model_class, **fields)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3)
    return model


def inputs_of(model_class) -> dict[str, torch.Tensor]:
    if model_class is MedMPLMForMedicationRecommendation:
        return patient_inputs(visits=3)
    inputs = visit_inputs()
    if model_class is MedMPLMForTokenClassification:
        inputs = {name: values for name, values in inputs.items() if not name.startswith("code")}
    return inputs


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("classifier", ["mlp", "label_attention"])
@pytest.mark.parametrize("model_class", HEADS)
def test_half_precision_is_close_to_single(model_class, classifier, dtype):
    model, inputs = small(model_class, classifier=classifier), inputs_of(model_class)
    with torch.no_grad():
        expected = model(**inputs).logits
        found = model.to(dtype)(**inputs).logits
    assert found.dtype == dtype
    tolerance = {torch.bfloat16: 3e-2, torch.float16: 4e-3}[dtype]
    assert (found.float() - expected).abs().max() <= tolerance * max(1.0, expected.abs().max().item())
    assert not torch.equal(found.float(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("model_class", HEADS)
def test_rows_of_nothing_but_padding_give_numbers(model_class, dtype):
    model, inputs = small(model_class).to(dtype), inputs_of(model_class)
    for name, values in inputs.items():
        if name.endswith("attention_mask"):
            values[-1] = 0
    with torch.no_grad():
        logits = model(**inputs).logits
    assert torch.isfinite(logits).all()
    # The other rows are what they are without such a row beside them.
    with torch.no_grad():
        alone = model(**{name: values[:-1] for name, values in inputs.items()}).logits
    torch.testing.assert_close(logits[:-1], alone, atol=2e-2 if dtype in HALVES else 1e-5, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("model_class", [MedMPLMForICDCoding, MedMPLMForMedicationRecommendation])
def test_a_compiled_model_says_the_same_at_every_length(model_class):
    model, inputs = build(model_class), inputs_of(model_class)
    compiled = torch.compile(model, dynamic=True)
    for words in (7, 5, 3):
        cut = {
            name: values[..., :words] if name in ("input_ids", "attention_mask") else values
            for name, values in inputs.items()
        }
        with torch.no_grad():
            expected, found = model(**cut).logits, compiled(**cut).logits
        real = slice(None) if expected.dim() == 2 else slice(1, None)
        torch.testing.assert_close(found[:, real], expected[:, real], atol=1e-4, rtol=1e-4)
