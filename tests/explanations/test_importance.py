"""Weights land on the right words and codes, sum to what they should, and equal slow references."""

import sys

import numpy as np
import pytest
import torch
from explained_models import VISITS, lively_model

from medm_plm.errors import InputError
from medm_plm.explanations.importance import (
    attention_of_codes,
    attention_of_words,
    available_methods,
    importances,
)
from medm_plm.explanations.prediction import predict, probabilities, task_of
from medm_plm.explanations.visits import (
    CODES,
    WORDS,
    Code,
    EncodedVisit,
    VisitInputs,
    Word,
    batch_of,
    encode_visit,
    task_inputs,
)

ROW = VISITS.row(3, named=True)


def explained(task="readmission", methods=("attention",), label=0, **options):
    model, processor = lively_model(task, **options)
    visit = encode_visit(processor, task_inputs(task, ROW))
    return model, processor, visit, importances(model, processor, visit, label, methods)


def constructed_visit() -> EncodedVisit:
    words = (Word(0, 3, (1,)), Word(4, 9, (2, 4)))
    codes = (Code("a", "a", False, 2), Code("b", "b", True, 1))
    return EncodedVisit(VisitInputs("the fever"), {}, words, codes)


def test_constructed_attention_lands_on_its_words_and_codes():
    weights = np.array([0.1, 0.2, 0.3, 0.05, 0.25, 0.1])
    of_words, rest = attention_of_words(constructed_visit(), weights)
    assert of_words == pytest.approx([0.2, 0.55])
    assert rest == pytest.approx(0.25)
    of_codes, rest = attention_of_codes(constructed_visit(), np.array([0.5, 0.2, 0.3]))
    assert of_codes == pytest.approx([0.3, 0.2])
    assert rest == pytest.approx(0.5)


@pytest.mark.parametrize("chunks", [1, 3])
def test_attention_sums_to_one_and_is_that_of_the_model(chunks):
    lengths = {} if chunks == 1 else {"max_note_chunks": chunks, "chunk_length": 8}
    model, processor, visit, (found,) = explained(**lengths)
    for part in (WORDS, CODES):
        assert found.weights[part].sum() + found.elsewhere[part] == pytest.approx(1.0, abs=1e-6)
        assert len(found.weights[part]) == visit.size(part) > 1
        assert found.elsewhere[part] > 0
    with torch.no_grad():
        base = model.model(**batch_of(processor, [visit]), output_attentions=True)
    for weight, word in zip(found.weights[WORDS], visit.words, strict=True):
        of_pieces = sum(float(base.note_token_attentions[0, 0, place]) for place in word.positions)
        assert weight == pytest.approx(of_pieces)
    for weight, code in zip(found.weights[CODES], visit.codes, strict=True):
        assert weight == pytest.approx(float(base.code_token_attentions[0, 0, code.position]))


def test_attention_goes_where_the_query_points():
    """A query of the codes that is the key of one word makes all the weight fall on it."""
    model, processor = lively_model()
    visit = encode_visit(processor, task_inputs("readmission", ROW))
    place = visit.words[2].positions[0]
    base = model.model
    with torch.no_grad():
        states = base(**batch_of(processor, [visit])).text_last_hidden_state[0]
        states = base._normalize_text(states)
        key = base.code_cross_modal.key.weight
        wanted = states[place] - (states.sum(0) - states[place]) / (len(states) - 1)
        base.code_cross_modal.query.weight.zero_()
        base.code_cross_modal.query.bias.copy_(200 * torch.linalg.pinv(key.T) @ wanted)
    (found,) = importances(model, processor, visit, 0, ["attention"])
    assert found.weights[WORDS].argmax() == 2
    assert found.weights[WORDS][2] > 0.99


def test_label_attention_is_that_of_the_label():
    model, processor, visit, (found,) = explained(
        "icd_coding", ["label_attention"], label=3, classifier="label_attention"
    )
    output = model(**batch_of(processor, [visit]), output_attentions=True)
    positions = [word.positions[0] for word in visit.words]
    assert found.weights[WORDS] == pytest.approx(output.label_attentions[0, 3, positions].detach().numpy())
    to_codes = getattr(output, "label_code_attentions", None)
    assert found.weights.keys() == ({WORDS} if to_codes is None else {WORDS, CODES})
    if to_codes is not None:
        of_codes = to_codes[0, 3, [code.position for code in visit.codes]].detach().numpy()
        assert found.weights[CODES] == pytest.approx(of_codes)
    assert available_methods(model) == ["attention", "label_attention"]


@pytest.mark.parametrize("chunks", [1, 3])
def test_integrated_gradients_are_complete_and_equal_a_loop(chunks):
    pytest.importorskip("captum", reason="captum is not installed: pip install medm-plm[explanations]")
    lengths = {} if chunks == 1 else {"max_note_chunks": chunks, "chunk_length": 8}
    model, processor, visit, (found,) = explained(
        "medication_prediction", ["integrated_gradients"], label=5, **lengths
    )
    batch = batch_of(processor, [visit])
    masked = {name: values.clone() for name, values in batch.items()}
    for word in visit.words:
        for place in word.positions:
            masked["input_ids"][0, place] = processor.tokenizer.mask_token_id
    for code in visit.codes:
        masked["code_input_ids"][0, code.position] = processor.code_tokenizer.mask_token_id
    with torch.no_grad():
        difference = float(model(**batch).logits[0, 5] - model(**masked).logits[0, 5])
    assert found.difference == pytest.approx(difference, abs=1e-5)
    total = sum(weights.sum() for weights in found.weights.values())
    assert total == pytest.approx(difference, abs=1e-3)
    assert found.error == pytest.approx(total - difference, abs=1e-5)
    assert list(found.elsewhere.values()) == [0.0, 0.0], "special tokens do not move along the path"

    words, codes = gradients_in_a_loop(model, batch, masked, 5)
    expected = [sum(words[place] for place in word.positions) for word in visit.words]
    assert found.weights[WORDS] == pytest.approx(np.array(expected), abs=2e-3)
    assert found.weights[CODES] == pytest.approx(
        np.array([codes[code.position] for code in visit.codes]), abs=2e-3
    )


def gradients_in_a_loop(model, batch, masked, label, steps=400):
    """The midpoint rule, one step at a time."""
    tables = (model.get_input_embeddings(), model.model.code_model.get_input_embeddings())
    ids = ("input_ids", "code_input_ids")
    with torch.no_grad():
        ends = [table(batch[name]) for table, name in zip(tables, ids, strict=True)]
        starts = [table(masked[name]) for table, name in zip(tables, ids, strict=True)]
    masks = {name: values for name, values in batch.items() if name not in ids}
    totals = [torch.zeros_like(end) for end in ends]
    for step in range(steps):
        share = (step + 0.5) / steps
        points = [
            (start + share * (end - start)).requires_grad_() for start, end in zip(starts, ends, strict=True)
        ]
        score = model(inputs_embeds=points[0], code_inputs_embeds=points[1], **masks).logits[0, label]
        for total, gradient in zip(totals, torch.autograd.grad(score, points), strict=True):
            total += gradient / steps
    return [
        ((end - start) * total).sum(-1)[0].tolist()
        for start, end, total in zip(starts, ends, totals, strict=True)
    ]


def test_without_captum_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(InputError, match=r"captum.*medm-plm\[explanations\]"):
        explained(methods=["integrated_gradients"])


@pytest.mark.parametrize(
    ("options", "method", "message"),
    [
        ({"use_cross_modal": False}, "attention", "no attention"),
        ({}, "label_attention", "--classifier label_attention"),
        ({}, "attentoin", "unknown method"),
    ],
)
def test_what_a_model_does_not_have_is_said(options, method, message):
    with pytest.raises(InputError, match=message):
        explained(methods=[method], **options)


@pytest.mark.parametrize("task", ["readmission", "mortality", "icd_coding", "medication_prediction"])
def test_the_task_is_told_by_the_model(task):
    model, processor = lively_model(task)
    assert task_of(model) == task
    inputs = task_inputs(task, ROW)
    model.config.temperature = 2.0
    found = predict(model, processor, inputs, task)
    model.train()
    rows = probabilities(model, processor, [inputs, task_inputs(task, VISITS.row(5, named=True))])
    assert model.training, "the mode is put back"
    logits = model.eval()(**batch_of(processor, [encode_visit(processor, inputs)])).logits
    expected = torch.sigmoid(logits / 2.0)[0].detach().numpy()
    assert found.probabilities == pytest.approx(expected, abs=1e-6)
    assert rows[0] == pytest.approx(expected, abs=1e-6)
    assert found.explained == int(expected.argmax())


def test_a_label_can_be_chosen_but_not_invented():
    model, processor = lively_model("icd_coding")
    inputs = task_inputs("icd_coding", ROW)
    assert predict(model, processor, inputs, "icd_coding", "ICD9CM:311").explained == 5
    with pytest.raises(InputError, match="no such label"):
        predict(model, processor, inputs, "icd_coding", "ICD9CM:999")
