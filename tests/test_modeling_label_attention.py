"""The head of ICD coding in which each label looks for its own evidence in the note."""

import numpy as np
import pytest
import torch

from modeling_medm_plm import (
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForReadmissionPrediction,
    MedMPLMModel,
)
from test_modeling_heads import numpy_mlp
from test_modeling_long_notes import LONG, codes_of, note_of
from tiny_models import BATCH, LABELS, build, tiny_config, visit_inputs

HEAD = {"classifier": "label_attention"}
PRIOR = [(label + 1) / 20 for label in range(LABELS)]


def head_by_loops(model: MedMPLMForICDCoding, inputs: dict) -> tuple[np.ndarray, np.ndarray]:
    """logit_l = beta_l . sum_t softmax_t(u_l . tanh(W z_t)) z_t + MLP_l([R_Text, R_Code])"""
    base, head = model.model(**inputs), model.classifier
    projection, query = (layer.weight.detach().numpy() for layer in (head.projection, head.query))
    evidence = head.evidence.detach().numpy()
    states, mask = base.text_last_hidden_state.detach().numpy(), inputs["attention_mask"].numpy()
    features = torch.cat([base.text_augmented_output, base.code_augmented_output], -1).detach().numpy()
    logits, all_weights = np.zeros((BATCH, LABELS)), np.zeros((BATCH, LABELS, mask.shape[1]))
    for visit in range(BATCH):
        tokens = {}
        for word in np.flatnonzero(mask[visit]):
            z = states[visit, word]
            tokens[word] = (z - z.mean()) / np.sqrt(z.var() + 1e-5)
        perceptron = numpy_mlp(head.perceptron, features[visit][None])[0]
        for label in range(LABELS):
            scores = {word: query[label] @ np.tanh(projection @ z) for word, z in tokens.items()}
            total = sum(np.exp(score) for score in scores.values())
            found = np.zeros(states.shape[-1])
            for word, z in tokens.items():
                all_weights[visit, label, word] = np.exp(scores[word]) / total
                found += all_weights[visit, label, word] * z
            logits[visit, label] = evidence[label] @ found + perceptron[label]
    return logits, all_weights


@pytest.mark.parametrize("chunks", [1, 3])
def test_the_head_equals_a_loop(chunks):
    model = build(MedMPLMForICDCoding, **HEAD, **(LONG if chunks > 1 else {})).double()
    model.set_attn_implementation("eager")
    inputs = note_of() | codes_of() if chunks > 1 else visit_inputs()
    outputs = model(**inputs, output_attentions=True)
    logits, weights = head_by_loops(model, inputs)
    np.testing.assert_allclose(outputs.logits.detach(), logits, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(outputs.label_attentions.detach(), weights, rtol=1e-7, atol=1e-12)
    assert model(**inputs).label_attentions is None
    assert model(**inputs, labels=torch.ones(BATCH, LABELS)).loss.item() == pytest.approx(
        np.log1p(np.exp(-logits)).mean(), rel=1e-6
    )


def test_padding_changes_nothing():
    model = build(MedMPLMForICDCoding, **HEAD)
    inputs = visit_inputs()
    longer = {
        name: torch.nn.functional.pad(values, (0, 6)) if name in ("input_ids", "attention_mask") else values
        for name, values in inputs.items()
    }
    with torch.no_grad():
        torch.testing.assert_close(model(**longer).logits, model(**inputs).logits, atol=1e-5, rtol=1e-5)


def test_codes_and_every_chunk_count():
    model, inputs = build(MedMPLMForICDCoding, **HEAD, **LONG), note_of() | codes_of()
    with torch.no_grad():
        before = model(**inputs).logits
        for name, position in (("input_ids", 4), ("input_ids", 18), ("code_input_ids", 2)):
            changed = inputs[name].clone()
            changed[0, position] = 5 if changed[0, position] != 5 else 6
            after = model(**inputs | {name: changed}).logits
            assert (after[0] != before[0]).any()
            torch.testing.assert_close(after[1:], before[1:])


@pytest.mark.parametrize("prior", [None, PRIOR])
def test_a_new_head_starts_at_the_shares_of_the_labels(prior):
    torch.manual_seed(0)
    model = MedMPLMForICDCoding(tiny_config(**HEAD, label_prior=prior)).eval()
    shares = torch.sigmoid(model(**visit_inputs()).logits)
    torch.testing.assert_close(shares, torch.tensor(prior or [0.5] * LABELS).expand(BATCH, -1))
    # It attends to some words more than to others, and the first two steps reach all of its weights.
    model.set_attn_implementation("eager")
    weights = model(**visit_inputs(), output_attentions=True).label_attentions
    assert weights.std(dim=-1).min() > 1e-3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: value.clone() for name, value in model.classifier.named_parameters()}
    for _ in range(2):
        model(**visit_inputs(), labels=torch.ones(BATCH, LABELS)).loss.backward()
        optimizer.step()
    for name, value in model.classifier.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_the_head_is_saved_and_a_new_one_is_put_on_loaded_encoders(tmp_path):
    trained = build(MedMPLMForICDCoding, **HEAD, label_prior=PRIOR)
    trained.save_pretrained(tmp_path / "trained")
    loaded = MedMPLMForICDCoding.from_pretrained(tmp_path / "trained").eval()
    with torch.no_grad():
        assert torch.equal(loaded(**visit_inputs()).logits, trained(**visit_inputs()).logits)
    build(MedMPLMModel).save_pretrained(tmp_path / "encoders")
    fields = {**HEAD, "label_prior": PRIOR, "num_labels": LABELS}
    fresh = MedMPLMForICDCoding.from_pretrained(tmp_path / "encoders", **fields).eval()
    with torch.no_grad():
        shares = torch.sigmoid(fresh(**visit_inputs()).logits)
    torch.testing.assert_close(shares, torch.tensor(PRIOR).expand(BATCH, -1))


def test_the_paper_s_head_is_the_default_and_untouched():
    model = build(MedMPLMForICDCoding, label_prior=PRIOR)
    assert isinstance(model.classifier, torch.nn.Sequential)
    assert "label_attentions" not in model(**visit_inputs())


def test_dropout_acts_on_what_a_label_found():
    model = build(MedMPLMForICDCoding, **HEAD, classifier_dropout=0.5)
    model.classifier.train()
    visit, words = torch.randn(2, 56), torch.randn(2, 7, 32)
    torch.nn.init.zeros_(model.classifier.perceptron[-1].weight)
    first, second = (model.classifier(visit, words, None)[0] for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("model_class", [MedMPLMForReadmissionPrediction, MedMPLMForMedicationRecommendation])
def test_other_tasks_refuse_it(model_class):
    with pytest.raises(ValueError, match=f"`classifier` is 'label_attention', which {model_class.__name__}"):
        model_class(tiny_config(**HEAD))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label_prior": [0.5, 1.0]}, "`label_prior` is 1.0, but must lie between 0 and 1"),
        ({"classifier": "attention"}, "`classifier` is 'attention', but must be one of mlp, label_attention"),
        ({"max_note_chunks": 0}, "`max_note_chunks` is 0"),
    ],
)
def test_impossible_settings(fields, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**fields)


def test_a_prior_of_other_labels():
    with pytest.raises(ValueError, match="`label_prior` has 2 values for 11 labels"):
        MedMPLMForICDCoding(tiny_config(**HEAD, label_prior=[0.5, 0.5]))
