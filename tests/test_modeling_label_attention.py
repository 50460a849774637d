"""The head in which each label looks for its own evidence in words and codes, of every task."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from modeling_medm_plm import (
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForReadmissionPrediction,
    MedMPLMLabelEvidence,
    MedMPLMLabelWiseHead,
    MedMPLMModel,
    _found_in_earlier_visits,
)
from test_modeling_heads import change_padding, example_of, numpy_mlp, with_current_note
from test_modeling_long_notes import LONG, codes_of, note_of
from tiny_models import BATCH, LABELS, build, tiny_config, visit_inputs

HEAD = {"classifier": "label_attention"}
PRIOR = [(label + 1) / 20 for label in range(LABELS)]
VISIT_HEADS = (MedMPLMForICDCoding, MedMPLMForReadmissionPrediction)
HEADS = (*VISIT_HEADS, MedMPLMForMedicationRecommendation)


def inputs_of(model_class) -> dict[str, torch.Tensor]:
    return {name: values for name, values in example_of(model_class).items() if name != "labels"}


def start(model_class, **fields):
    """A model with the weights it is born with."""
    torch.manual_seed(0)
    return model_class(tiny_config(**HEAD, **fields)).eval()


def search(head: MedMPLMLabelEvidence, tokens: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """beta_l . sum_t softmax_t(u_l . tanh(W x_t)) x_t, and the weights `(labels, tokens)`."""
    weights = (head.projection.weight, head.query.weight, head.evidence)
    projection, query, evidence = (weight.detach().numpy() for weight in weights)
    found, weights = np.zeros(len(query)), np.zeros((len(query), len(tokens)))
    for label in range(len(query)):
        scores = [np.exp(query[label] @ np.tanh(projection @ x)) for x in tokens]
        for t, x in enumerate(tokens):
            weights[label, t] = scores[t] / sum(scores)
            found[label] += weights[label, t] * (evidence[label] @ x)
    return found, weights


def own_logits(head: MedMPLMLabelWiseHead, features: np.ndarray) -> np.ndarray:
    """The perceptron and the bias for one visit."""
    hidden = numpy_mlp(head.perceptron[:-1], features[None])[0]
    return head.perceptron[-1].weight.detach().numpy() @ hidden + head.bias.detach().numpy()


def tokens_of(model, inputs: dict[str, torch.Tensor]) -> dict[str, list[np.ndarray]]:
    """Normalised word states and code embeddings of one visit, without padding."""
    tokens = {}
    if "input_ids" in inputs:
        states = model(**{n: inputs[n][None] for n in ("input_ids", "attention_mask")}).text_last_hidden_state
        rows = states[0].detach().numpy()[inputs["attention_mask"].bool().numpy()]
        tokens["words"] = [(z - z.mean()) / np.sqrt(z.var() + 1e-5) for z in rows]
    if "code_input_ids" in inputs:
        ids, kinds = (inputs[f"code_{name}"][None] for name in ("input_ids", "token_type_ids"))
        rows = model.code_model.embeddings(ids, kinds, None)[0].detach().numpy()
        tokens["codes"] = list(rows[inputs["code_attention_mask"].bool().numpy()])
    return tokens


@pytest.mark.parametrize("model_class", VISIT_HEADS)
@pytest.mark.parametrize("chunks", [1, 3])
def test_the_head_of_a_visit_equals_a_loop(model_class, chunks):
    model = build(model_class, **HEAD, **(LONG if chunks > 1 else {})).double()
    model.set_attn_implementation("eager")
    inputs = note_of() | codes_of() if chunks > 1 else visit_inputs()
    outputs = model(**inputs, output_attentions=True)
    base = model.model(**inputs)
    features = torch.cat([base.text_augmented_output, base.code_augmented_output], -1).detach().numpy()
    for visit in range(BATCH):
        tokens = tokens_of(model.model, {name: values[visit] for name, values in inputs.items()})
        logits = own_logits(model.classifier, features[visit])
        weights = {"words": outputs.label_attentions, "codes": outputs.label_code_attentions}
        for name, given in weights.items():
            found, expected = search(model.classifier.sources[name], tokens[name])
            logits = logits + found
            given, size = given[visit].detach(), expected.shape[1]
            np.testing.assert_allclose(given[:, :size], expected, rtol=1e-6, atol=1e-10)
            assert given[:, size:].abs().sum() == 0
        np.testing.assert_allclose(outputs.logits[visit].detach(), logits, rtol=1e-6, atol=1e-8)
    assert model(**inputs).label_attentions is model(**inputs).label_code_attentions is None
    loss = model(**inputs, labels=torch.ones_like(outputs.logits)).loss
    assert loss.item() == pytest.approx(np.log1p(np.exp(-outputs.logits.detach().numpy())).mean(), rel=1e-6)


@pytest.mark.parametrize("use_current_note", [False, True])
def test_medication_recommendation_equals_a_softmax_over_all_earlier_tokens(use_current_note):
    model = build(MedMPLMForMedicationRecommendation, **HEAD, use_current_note=use_current_note).double()
    inputs = inputs_of(MedMPLMForMedicationRecommendation)
    inputs = with_current_note(inputs) if use_current_note else inputs
    features = []
    model.classifier.perceptron.register_forward_pre_hook(lambda _, given: features.append(given[0].detach()))
    logits = model(**inputs).logits.detach()
    for patient in range(BATCH):
        visits, current = [], []
        for visit in range(int(inputs["visit_mask"][patient].sum())):
            row = {name: values[patient, visit] for name, values in inputs.items() if name != "visit_mask"}
            visits.append(
                tokens_of(model.model, {n: v for n, v in row.items() if not n.startswith("current")})
            )
            now = {n.removeprefix("current_"): v for n, v in row.items() if n.startswith("current")}
            current.append(tokens_of(model.model, now))
        for target in range(1, len(visits)):
            tokens = {
                name: [x for visit in visits[:target] for x in visit[name]] for name in ("words", "codes")
            }
            tokens |= {f"current_{name}": states for name, states in current[target].items()}
            assert tokens.keys() == model.classifier.sources.keys()
            expected = own_logits(model.classifier, features[0][patient, target].numpy())
            for name, states in tokens.items():
                expected = expected + search(model.classifier.sources[name], states)[0]
            np.testing.assert_allclose(logits[patient, target], expected, rtol=1e-6, atol=1e-8)


def test_the_visit_vectors_of_medication_recommendation_are_those_of_the_paper_s_head():
    model = build(MedMPLMForMedicationRecommendation, **HEAD, use_current_note=True).double()
    plain = build(MedMPLMForMedicationRecommendation, use_current_note=True).double()
    plain.model.load_state_dict(model.model.state_dict())
    inputs = with_current_note(inputs_of(MedMPLMForMedicationRecommendation))
    seen = []
    for layer in (model.classifier.perceptron, plain.classifier):
        layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    with torch.no_grad():
        model(**inputs), plain(**inputs)
    torch.testing.assert_close(seen[0], seen[1])


def test_earlier_visits_are_put_together_whatever_the_size_of_their_scores():
    """A later visit that outweighs all others by far must not drown the earlier targets."""
    log_totals = torch.tensor([0.0, 1.0, 300.0, -500.0]).view(1, 4, 1)
    found = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1)
    got = _found_in_earlier_visits(found, log_totals, torch.tensor([[True, True, True, False]]))
    second = (1 + 2 * np.e) / (1 + np.e)
    np.testing.assert_allclose(got.flatten(), [0.0, 1.0, second, 3.0], rtol=1e-6)


@pytest.mark.parametrize("model_class", HEADS)
def test_padding_of_words_codes_and_visits_changes_no_bit(model_class):
    model, inputs = build(model_class, **HEAD), inputs_of(model_class)
    mask = inputs.get("visit_mask", torch.ones(BATCH)).bool()
    wider = {
        name: values if name == "visit_mask" else torch.nn.functional.pad(values, (0, 3))
        for name, values in inputs.items()
    }
    if "visit_mask" in inputs:
        wider = {
            name: torch.nn.functional.pad(values, (0, 0) * (values.dim() - 2) + (0, 2))
            for name, values in wider.items()
        }
    with torch.no_grad():
        logits = model(**inputs).logits
        assert torch.equal(model(**change_padding(inputs)).logits[mask], logits[mask])
        padded = model(**wider).logits
    padded = padded[:, : mask.shape[1]] if mask.dim() == 2 else padded
    torch.testing.assert_close(padded[mask], logits[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model_class", HEADS)
def test_other_rows_of_the_batch_do_not_matter(model_class):
    model, inputs = build(model_class, **HEAD), inputs_of(model_class)
    order = [2, 0, 1]
    with torch.no_grad():
        logits = model(**inputs).logits
        permuted = model(**{name: values[order] for name, values in inputs.items()}).logits
        alone = model(**{name: values[:1] for name, values in inputs.items()}).logits
    real = slice(1, None) if model_class is MedMPLMForMedicationRecommendation else slice(None)
    torch.testing.assert_close(permuted[:, real], logits[order][:, real], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone[:, real], logits[:1][:, real], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("use_current_note", [False, True])
def test_nothing_of_the_visit_itself_or_of_later_ones_is_read(use_current_note):
    model = build(MedMPLMForMedicationRecommendation, **HEAD, use_current_note=use_current_note)
    inputs = inputs_of(MedMPLMForMedicationRecommendation)
    inputs = with_current_note(inputs) if use_current_note else inputs
    ids = [name for name in inputs if name.endswith("input_ids")]
    assert len(ids) == 4 if use_current_note else 3
    with torch.no_grad():
        before = model(**inputs).logits
        for name in ids:
            changed = inputs[name].clone()
            changed[:, 2, 1:] = 8
            after = model(**inputs | {name: changed}).logits
            same = [1, 3] if name.startswith("current") else [1, 2]
            other = 2 if name.startswith("current") else 3
            assert torch.equal(before[:, same], after[:, same]), name
            assert not torch.equal(before[0, other], after[0, other]), name
        without_medications = inputs["code_attention_mask"].clone()
        without_medications[:, 2, 2:] = 0
        after = model(**inputs | {"code_attention_mask": without_medications}).logits
        assert torch.equal(before[:, 1:3], after[:, 1:3])


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


@pytest.mark.parametrize("model_class", HEADS)
def test_visits_without_codes_are_well_defined(model_class):
    model, inputs = build(model_class, **HEAD), inputs_of(model_class)
    without = {name: values for name, values in inputs.items() if "code" not in name}
    shape = inputs["code_input_ids"].shape[:-1]
    only_cls = without | {"code_input_ids": torch.ones(*shape, 1, dtype=torch.long)}
    with torch.no_grad():
        logits = model(**without).logits
        assert torch.equal(logits, model(**only_cls).logits)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("model_class", HEADS)
@pytest.mark.parametrize("with_prior", [False, True])
def test_a_new_head_starts_at_the_shares_of_the_labels(model_class, with_prior):
    prior = PRIOR[:1] if model_class is MedMPLMForReadmissionPrediction else PRIOR
    model = start(model_class, **({"label_prior": prior} if with_prior else {}), num_labels=len(prior))
    example = example_of(model_class)
    shares = torch.sigmoid(model(**example).logits)
    torch.testing.assert_close(
        shares, torch.tensor(prior if with_prior else [0.5] * len(prior)).expand_as(shares)
    )
    # The first two steps reach all of its weights.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: value.clone() for name, value in model.classifier.named_parameters()}
    for _ in range(2):
        model(**example).loss.backward()
        optimizer.step()
    for name, value in model.classifier.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_a_new_head_attends_to_some_tokens_more_than_to_others():
    model = start(MedMPLMForICDCoding)
    model.set_attn_implementation("eager")
    outputs = model(**visit_inputs(), output_attentions=True)
    for weights in (outputs.label_attentions, outputs.label_code_attentions):
        assert weights[:, :, :4].std(dim=-1).min() > 1e-3


@pytest.mark.parametrize("use_current_note", [False, True])
def test_weights_of_medication_recommendation_are_left_out(use_current_note):
    model = build(MedMPLMForMedicationRecommendation, **HEAD, use_current_note=use_current_note)
    model.set_attn_implementation("eager")
    inputs = inputs_of(MedMPLMForMedicationRecommendation)
    outputs = model(**(with_current_note(inputs) if use_current_note else inputs), output_attentions=True)
    assert outputs.label_attentions is outputs.label_code_attentions is None
    assert outputs.note_token_attentions is not None


@pytest.mark.parametrize("has_target", [True, False])
def test_every_weight_gets_a_gradient_in_every_batch(has_target):
    model = build(MedMPLMForMedicationRecommendation, **HEAD, use_current_note=True).train()
    example = with_current_note(example_of(MedMPLMForMedicationRecommendation))
    if not has_target:
        example["visit_mask"][:, 1:] = 0
        example["labels"] = torch.full_like(example["labels"], -100.0)
    loss = model(**example).loss
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    if has_target:
        assert all(p.grad.abs().max() > 0 for p in model.classifier.parameters())


@pytest.mark.parametrize("model_class", HEADS)
def test_every_weight_of_a_visit_s_head_gets_a_gradient(model_class):
    model = build(model_class, **HEAD, num_frozen_text_layers=1).train()
    model(**example_of(model_class)).loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("model_class", HEADS)
def test_the_head_is_saved_and_any_auto_class_loads_it(model_class, tmp_path):
    trained = build(model_class, **HEAD)
    trained.save_pretrained(tmp_path)
    inputs = inputs_of(model_class)
    with torch.no_grad():
        expected = trained(**inputs).logits
        for loaded in (
            model_class.from_pretrained(tmp_path),
            AutoModelForSequenceClassification.from_pretrained(tmp_path, trust_remote_code=True),
        ):
            assert type(loaded).__name__ == model_class.__name__
            assert torch.equal(loaded.eval()(**inputs).logits, expected)


@pytest.mark.parametrize("model_class", HEADS)
def test_a_new_head_is_put_on_loaded_encoders(model_class, tmp_path):
    build(MedMPLMModel).save_pretrained(tmp_path)
    prior = PRIOR[:1] if model_class is MedMPLMForReadmissionPrediction else PRIOR
    fields = {**HEAD, "label_prior": prior, "num_labels": len(prior)}
    fresh = model_class.from_pretrained(tmp_path, **fields).eval()
    with torch.no_grad():
        shares = torch.sigmoid(fresh(**inputs_of(model_class)).logits)
    torch.testing.assert_close(shares, torch.tensor(prior).expand_as(shares))


@pytest.mark.parametrize("model_class", HEADS)
def test_the_exported_graph_equals_eager(model_class):
    model, example = build(model_class, **HEAD), example_of(model_class)
    with torch.no_grad():
        expected = model(**example)
        program = torch.export.export(model, (), example, strict=False)
        got = program.module()(**example)
    torch.testing.assert_close(got.loss, expected.loss, atol=1e-5, rtol=1e-4)


def test_bfloat16_trains():
    for model_class in HEADS:
        model = build(model_class, **HEAD).to(torch.bfloat16).train()
        loss = model(**example_of(model_class)).loss
        loss.backward()
        assert torch.isfinite(loss)


@pytest.mark.parametrize("model_class", HEADS)
def test_the_paper_s_head_is_the_default_and_untouched(model_class):
    model = build(model_class)
    assert isinstance(model.classifier, torch.nn.Sequential)
    outputs = model(**example_of(model_class))
    assert "label_attentions" not in outputs
    assert "label_code_attentions" not in outputs


def test_dropout_acts_on_what_a_label_reads():
    config = tiny_config(**HEAD, classifier_dropout=0.5)
    torch.manual_seed(0)
    head, words = MedMPLMLabelEvidence(config, 32), torch.randn(2, 7, 32)
    torch.nn.init.normal_(head.evidence)
    first, second = (head(words, None)[0] for _ in range(2))
    assert not torch.equal(first, second)
    head.eval()
    assert torch.equal(head(words, None)[0], head(words, None)[0])


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


@pytest.mark.parametrize("model_class", [MedMPLMForICDCoding, MedMPLMForMedicationRecommendation])
def test_a_prior_of_other_labels(model_class):
    with pytest.raises(ValueError, match="`label_prior` has 2 values for 11 labels"):
        model_class(tiny_config(**HEAD, label_prior=[0.5, 0.5]))
