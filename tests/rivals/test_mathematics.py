"""The special mathematics of each rival against loops that are slow and plain."""

import math

import pytest
import torch

from medm_plm.rivals import code_types_of, hidden_code_losses, places_of_hidden_codes
from medm_plm.rivals.code_encoders import serialization_of
from medm_plm.rivals.configuration import RECOMMENDATION
from medm_plm.rivals.votes import vote
from tiny_models import (
    BATCH,
    CODES,
    LABELS,
    NUM_CODES,
    WORDS,
    masked_code_labels,
    patient_inputs,
    visit_inputs,
)
from tiny_processors import tiny_code_tokenizer
from tiny_rivals import CODE_TYPES, build_rival


def real_length(mask: torch.Tensor, row: int) -> int:
    return int(mask[row].sum())


@pytest.mark.parametrize("width", [1, 2, 4, 5])
def test_the_convolution_is_a_sum_over_windows(width):
    model, inputs = build_rival("cnn", filter_width=width).model, visit_inputs()
    embeddings, weight, bias = model.word_embeddings.weight, model.convolution.weight, model.convolution.bias
    with torch.no_grad():
        output = model(inputs["input_ids"], inputs["attention_mask"])
    before = (width - 1) // 2
    for row in range(BATCH):
        length = real_length(inputs["attention_mask"], row)
        words = [embeddings[word] for word in inputs["input_ids"][row, :length]]
        states = []
        for place in range(length):
            state = bias.clone()
            for offset in range(width):
                position = place - before + offset
                if 0 <= position < length:
                    state = state + weight[:, :, offset] @ words[position]
            states.append(torch.tanh(state))
        highest = torch.stack([max(state[i] for state in states) for i in range(len(bias))])
        torch.testing.assert_close(output.text_last_hidden_state[row, :length], torch.stack(states))
        torch.testing.assert_close(output.text_pooler_output[row], highest)


def test_each_label_looks_at_the_note_by_itself():
    model, inputs = build_rival("caml"), visit_inputs()
    mask = inputs["attention_mask"]
    with torch.no_grad():
        states = model.model(inputs["input_ids"], mask).text_last_hidden_state
        logits, weights = model.classifier(states, mask)
        torch.testing.assert_close(model(**inputs).logits, logits)
    query, output = model.classifier.query.weight.detach(), model.classifier.output
    for row in range(BATCH):
        length = real_length(mask, row)
        for label in range(LABELS):
            scores = [math.exp(float(query[label] @ states[row, word])) for word in range(length)]
            collected = sum(score / sum(scores) * states[row, word] for word, score in enumerate(scores))
            expected = output.weight[label] @ collected + output.bias[label]
            torch.testing.assert_close(logits[row, label], expected)
    assert torch.equal(weights[mask.unsqueeze(1).expand(-1, LABELS, WORDS) == 0].unique(), torch.zeros(1))


def gru_states(network: torch.nn.GRU, steps: list[torch.Tensor]) -> list[torch.Tensor]:
    """Cho et al. (2014), step by step."""
    state, states = torch.zeros(network.hidden_size), []
    for step in steps:
        of_input = (network.weight_ih_l0 @ step + network.bias_ih_l0).chunk(3)
        of_state = (network.weight_hh_l0 @ state + network.bias_hh_l0).chunk(3)
        reset, update = torch.sigmoid(of_input[0] + of_state[0]), torch.sigmoid(of_input[1] + of_state[1])
        state = (1 - update) * torch.tanh(of_input[2] + reset * of_state[2]) + update * state
        states.append(state)
    return states


def test_retain_weighs_visits_and_features_backwards_in_time():
    model, inputs = build_rival("rnn", RECOMMENDATION), patient_inputs(visits=4)
    retain = model.model
    table = retain.code_embeddings.weight

    def visit(prefix: str, patient: int, number: int) -> torch.Tensor:
        codes = inputs[f"{prefix}code_input_ids"][patient, number]
        mask = inputs[f"{prefix}code_attention_mask"][patient, number]
        return sum(table[code] for code, is_real in zip(codes, mask, strict=True) if is_real)

    with torch.no_grad():
        logits = model(**inputs).logits
        for patient in range(BATCH):
            for target in range(1, int(inputs["visit_mask"][patient].sum())):
                steps = [visit("current_", patient, target)]
                steps += [visit("", patient, number) for number in reversed(range(target))]
                scores = [retain.visit_score(h) for h in gru_states(retain.visit_network, steps)]
                weights = torch.softmax(torch.cat(scores), dim=0)
                features = [
                    torch.tanh(retain.feature_weight(h)) for h in gru_states(retain.feature_network, steps)
                ]
                context = sum(a * b * v for a, b, v in zip(weights, features, steps, strict=True))
                torch.testing.assert_close(logits[patient, target], model.classifier(context))


def test_retain_of_one_visit_is_the_weighted_visit():
    model, inputs = build_rival("rnn"), visit_inputs()
    retain = model.model
    with torch.no_grad():
        logits = model(**inputs).logits
        for row in range(BATCH):
            codes = inputs["code_input_ids"][row, : real_length(inputs["code_attention_mask"], row)]
            visit = sum(retain.code_embeddings.weight[code] for code in codes)
            (state,) = gru_states(retain.feature_network, [visit])
            context = torch.tanh(retain.feature_weight(state)) * visit
            torch.testing.assert_close(logits[row], model.classifier(context))


def test_the_serialization_counts_each_kind_from_one():
    types = torch.tensor([[0, 1, 1, 2, 2, 2], [0, 2, 0, 0, 0, 0], [0, 1, 2, 1, 0, 1]])
    expected = torch.tensor([[0, 1, 2, 1, 2, 3], [0, 1, 0, 0, 0, 0], [0, 1, 1, 2, 0, 3]])
    assert torch.equal(serialization_of(types), expected)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6, [1] * 6])
    expected[0, 4:] = 0
    assert torch.equal(serialization_of(types, mask), expected)


def test_med_bert_tells_the_order_of_codes_and_g_bert_does_not():
    inputs = visit_inputs()
    inputs["code_token_type_ids"][:, 1:] = 1
    swapped = {name: values.clone() for name, values in inputs.items()}
    swapped["code_input_ids"][:, [1, 2]] = inputs["code_input_ids"][:, [2, 1]]
    for architecture, is_a_set in (("gbert", True), ("med_bert", False)):
        model = build_rival(architecture)
        with torch.no_grad():
            same = torch.allclose(model(**inputs).logits, model(**swapped).logits, atol=1e-5)
        assert same is is_a_set


def test_g_bert_reads_diagnoses_and_medications_apart():
    model, inputs = build_rival("gbert").model, visit_inputs()
    codes, types = inputs["code_input_ids"], inputs["code_token_type_ids"]
    with torch.no_grad():
        pooled = model(**{k: v for k, v in inputs.items() if k.startswith("code_")}).code_pooler_output
        for row in range(BATCH):
            real = inputs["code_attention_mask"][row].bool()
            for half, kind in enumerate((1, 2)):
                kept = real & ((types[row] == kind) | (types[row] == 0))
                # The rows of the other kind are really left out, where the model masks them.
                states = super(type(model.code_model), model.code_model).forward(
                    input_ids=codes[row][kept].unsqueeze(0), token_type_ids=types[row][kept].unsqueeze(0)
                )
                found = pooled[row].chunk(2)[half]
                torch.testing.assert_close(found, states.pooler_output[0], atol=1e-5, rtol=1e-4)


def test_self_and_dual_prediction_are_four_cross_entropies():
    model, inputs = build_rival("gbert", "pretraining"), visit_inputs()
    labels = torch.where(inputs["code_token_type_ids"] > 0, inputs["code_input_ids"], -100)
    labels[inputs["code_attention_mask"] == 0] = -100
    codes = {name: values for name, values in inputs.items() if name.startswith("code_")}
    with torch.no_grad():
        output = model(**codes, labels=labels)
        states = model.model(**codes).code_pooler_output.chunk(2, dim=-1)
    total = 0.0
    for source in (1, 2):
        for target in (1, 2):
            losses = []
            with torch.no_grad():
                scores = model.heads[f"{source}_to_{target}"](states[source - 1])
            for row in range(BATCH):
                for code in range(NUM_CODES):
                    if CODE_TYPES[code] == target:
                        probability = 1 / (1 + math.exp(-float(scores[row, code])))
                        is_there = code in labels[row].tolist()
                        losses.append(-math.log(probability if is_there else 1 - probability))
            total += sum(losses) / len(losses)
    assert float(output.loss) == pytest.approx(total, rel=1e-4)


def test_g_bert_predicts_all_codes_whether_it_is_asked_for_some_or_for_all():
    model, inputs = build_rival("gbert", "pretraining"), visit_inputs()
    inputs["code_input_ids"][0, 4] = NUM_CODES + 2  # a code known by its category only
    everything = torch.where(inputs["code_token_type_ids"] > 0, inputs["code_input_ids"], -100)
    everything[inputs["code_attention_mask"] == 0] = -100
    everything[0, 4] = -100
    hidden = masked_code_labels(inputs)
    hidden[0, 3] = -100
    inputs["code_input_ids"][:, 2] = 3  # [MASK]
    with torch.no_grad():
        some, whole = model(**inputs, labels=hidden), model(**inputs, labels=everything)
    torch.testing.assert_close(some.loss, whole.loss)
    lowest = torch.finfo(torch.float32).min
    for row in range(BATCH):
        seen = {int(code) for code in everything[row] if code >= 0} - {int(hidden[row, 2])}
        no_candidates = {code for code in range(NUM_CODES) if some.c2c_logits[row, code] == lowest}
        assert no_candidates == seen | set(range(4))


def test_masked_code_prediction_is_a_cross_entropy_at_the_hidden_places():
    model, inputs = build_rival("med_bert", "pretraining"), visit_inputs()
    labels = masked_code_labels(inputs)
    with torch.no_grad():
        output = model(**inputs, labels=labels)
    assert output.c2c_logits.shape == (BATCH, CODES, NUM_CODES)
    losses = []
    for row in range(BATCH):
        for place in range(CODES):
            if labels[row, place] >= 0:
                scores = output.c2c_logits[row, place]
                losses.append(float(scores.logsumexp(0) - scores[labels[row, place]]))
    assert len(losses) == BATCH + 1
    assert float(output.loss) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


@pytest.mark.parametrize("at_each_place", [False, True])
def test_places_and_losses_of_hidden_codes(at_each_place):
    labels = masked_code_labels(visit_inputs())
    shape = (BATCH, CODES, NUM_CODES) if at_each_place else (BATCH, NUM_CODES)
    logits = torch.randint(0, 6, shape, generator=torch.Generator().manual_seed(4)).float()
    places, losses = places_of_hidden_codes(logits, labels), hidden_code_losses(logits, labels)
    for row in range(BATCH):
        total, count = 0.0, 0
        for place in range(CODES):
            code = int(labels[row, place])
            if code < 0:
                assert places[row, place] == -100
                continue
            scores = logits[row, place] if at_each_place else logits[row]
            others = [float(scores[i]) for i in range(NUM_CODES) if i != code]
            assert places[row, place] == sum(score >= float(scores[code]) for score in others)
            total += math.log(sum(math.exp(float(s)) for s in scores)) - float(scores[code])
            count += 1
        assert losses[row].tolist() == pytest.approx([total, count])


def test_the_kinds_of_codes_come_from_the_tokenizer():
    tokenizer = tiny_code_tokenizer()
    types = code_types_of(tokenizer)
    names = tokenizer.convert_ids_to_tokens(range(tokenizer.num_codes))
    expected = [0 if name.startswith("[") else 2 if name.startswith("ATC:") else 1 for name in names]
    assert types.tolist() == expected


def test_the_vote_weighs_the_highest_chunk_against_the_mean():
    chunks = [[0.9, 0.1, 0.2], [0.4], [0.3, 0.5]]
    probabilities, is_chunk = torch.full((3, 3, 1), 0.99), torch.zeros(3, 3, dtype=torch.bool)
    for row, note in enumerate(chunks):
        for place, probability in enumerate(note):
            probabilities[row, place], is_chunk[row, place] = probability, True
    found = vote(probabilities, is_chunk)
    for row, note in enumerate(chunks):
        n = len(note)
        expected = (max(note) + sum(note) / n * n / 2) / (1 + n / 2)
        assert float(found[row, 0]) == pytest.approx(expected, rel=1e-6)
    assert float(found[1, 0]) == pytest.approx(0.4)
    assert float(found[0, 0]) == pytest.approx(0.6)  # (0.9 + 1.2 / 2) / 2.5


def test_the_chunks_of_a_note_learn_by_themselves_and_vote_together():
    model = build_rival(
        "clinical_bert", "readmission", num_labels=1, max_note_chunks=3, chunk_length=4, text_pooling="mean"
    )
    words = torch.randint(5, 50, (BATCH, 10), generator=torch.Generator().manual_seed(1))
    words[:, ::4] = 2  # each chunk begins with the same token
    lengths = [10, 4, 6]
    mask = torch.tensor([[1] * length + [0] * (10 - length) for length in lengths])
    labels = torch.tensor([1.0, 0.0, 1.0])
    with torch.no_grad():
        output = model(input_ids=words, attention_mask=mask, labels=labels)
        losses = []
        for row, length in enumerate(lengths):
            scores = []
            for start in range(0, length, 4):
                chunk = words[row : row + 1, start : min(start + 4, length)]
                logit = model(input_ids=chunk).logits[0, 0]
                scores.append(float(logit.sigmoid()))
                losses.append(torch.nn.functional.binary_cross_entropy_with_logits(logit, labels[row]))
            n = len(scores)
            expected = (max(scores) + sum(scores) / 2) / (1 + n / 2)
            assert float(output.logits[row, 0].sigmoid()) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())
