"""A weight for each label and each token that stands in a visit, beside the deep head."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from modeling_medm_plm import (
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForReadmissionPrediction,
)
from test_modeling_heads import change_padding, example_of
from tiny_models import NUM_NODES, build, tiny_config, visit_inputs

HEADS = (MedMPLMForICDCoding, MedMPLMForReadmissionPrediction)
WIDE = {"classifier_token_weights": True}


def said_by_tokens(model, inputs: dict[str, torch.Tensor]) -> list[list[float]]:
    """Sum of the weights of the distinct real tokens of each visit, by loops."""
    said = []
    for visit in range(len(inputs["input_ids"])):
        row = [0.0] * model.config.num_labels
        for kind, prefix in (("words", ""), ("codes", "code_")):
            ids, mask = inputs[prefix + "input_ids"][visit], inputs[prefix + "attention_mask"][visit]
            distinct = {int(token) for token, real in zip(ids, mask, strict=True) if real}
            for token in distinct:
                for label in range(model.config.num_labels):
                    row[label] += model.token_weights[kind].weight[token, label].item()
        said.append(row)
    return said


@pytest.mark.parametrize("classifier", ["mlp", "label_attention"])
@pytest.mark.parametrize("model_class", HEADS)
def test_what_tokens_say_equals_a_loop(model_class, classifier):
    model = build(model_class, classifier=classifier, **WIDE).double()
    inputs = visit_inputs()
    inputs["input_ids"][0, 2] = inputs["input_ids"][0, 1]  # a word that stands twice counts once
    with torch.no_grad():
        logits = model(**inputs).logits
        weights, model.token_weights = model.token_weights, None
        deep = model(**inputs).logits
    model.token_weights = weights
    torch.testing.assert_close(logits - deep, logits.new_tensor(said_by_tokens(model, inputs)))


@pytest.mark.parametrize("model_class", HEADS)
def test_padding_changes_no_bit(model_class):
    """Also where a padded place holds the id of a word that occurs."""
    model, example = build(model_class, **WIDE), example_of(model_class)
    with torch.no_grad():
        expected = model(**example).logits
        assert torch.equal(model(**change_padding(example)).logits, expected)
        same = dict(example)
        for name in ("input_ids", "code_input_ids"):
            mask = example[name.replace("input_ids", "attention_mask")].bool()
            same[name] = torch.where(mask, example[name], example[name][:, :1])
        assert torch.equal(model(**same).logits, expected)


def test_tokens_say_nothing_before_training_and_learn_in_it():
    torch.manual_seed(0)
    model = MedMPLMForICDCoding(tiny_config(classifier_dropout=0.0, **WIDE)).train()
    weights = [part.weight for part in model.token_weights.values()]
    assert all(not weight.any() for weight in weights)
    example = example_of(MedMPLMForICDCoding)
    model(**example).loss.backward()
    for weight, prefix in zip(weights, ("", "code_"), strict=True):
        present = set(
            example[prefix + "input_ids"][example[prefix + "attention_mask"].bool()].flatten().tolist()
        )
        assert set(weight.grad.abs().sum(dim=1).nonzero().flatten().tolist()) == present


def test_the_group_of_an_unknown_code_has_a_weight_too():
    """The tokenizer places codes outside the vocabulary at inner nodes, whose ids lie behind all codes."""
    model, inputs = build(MedMPLMForICDCoding, **WIDE), visit_inputs()
    inputs["code_input_ids"][0, 1] = NUM_NODES - 1
    with torch.no_grad():
        before = model(**inputs).logits
        model.token_weights["codes"].weight[NUM_NODES - 1] += 1
        assert torch.allclose(model(**inputs).logits[0], before[0] + 1, atol=1e-5)


def test_dropout_leaves_out_tokens_in_training_only():
    model = build(MedMPLMForICDCoding, classifier_dropout=0.5, **WIDE)
    tokens, ids = model.token_weights["words"], visit_inputs()["input_ids"]
    mask = torch.ones_like(ids)
    assert torch.equal(tokens(ids, mask), tokens(ids, mask))
    tokens.train()
    assert not torch.equal(tokens(ids, mask), tokens(ids, mask))


def test_they_are_saved_and_any_auto_class_loads_them(tmp_path):
    trained = build(MedMPLMForICDCoding, **WIDE)
    trained.save_pretrained(tmp_path)
    inputs = visit_inputs()
    with torch.no_grad():
        expected = trained(**inputs).logits
        loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path, trust_remote_code=True)
        assert torch.equal(loaded.eval()(**inputs).logits, expected)


def test_medication_recommendation_refuses_them():
    with pytest.raises(ValueError, match="heads that read one visit"):
        MedMPLMForMedicationRecommendation(tiny_config(**WIDE))


def test_states_without_tokens_are_refused():
    model, inputs = build(MedMPLMForICDCoding, **WIDE), visit_inputs()
    ids = inputs.pop("input_ids")
    with pytest.raises(ValueError, match="Give `input_ids` and `code_input_ids`"):
        model(inputs_embeds=model.get_input_embeddings()(ids), **inputs)
