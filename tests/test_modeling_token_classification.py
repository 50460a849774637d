"""The tagger: its random field against all label sequences, its BiLSTM against torch, padding, pieces."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_medm_plm import (
    MedMPLMConditionalRandomField,
    MedMPLMForPreTraining,
    MedMPLMForTokenClassification,
    MedMPLMTagger,
)
from tiny_models import BATCH, WORDS, build, tiny_config, visit_inputs

IOB2 = ("O", "B-drug", "I-drug", "B-test", "I-test")
NAMES = {"id2label": dict(enumerate(IOB2)), "label2id": {name: i for i, name in enumerate(IOB2)}}


def lively(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Weights of ordinary size, drawn by a seed, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module.double().eval()


def tagger(seed: int = 0, **fields) -> MedMPLMForTokenClassification:
    torch.manual_seed(seed)
    fields = {**NAMES, "tagger_hidden_size": 6, **fields}
    fields["num_labels"] = len(fields["id2label"])
    model = MedMPLMForTokenClassification(tiny_config(**fields))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def sentences(seed: int = 1) -> dict[str, torch.Tensor]:
    """Tokens with padding, and labels with -100 at special tokens, inner pieces and padding."""
    inputs = {name: value for name, value in visit_inputs(seed).items() if not name.startswith("code_")}
    labels = torch.randint(0, len(IOB2), (BATCH, WORDS), generator=torch.Generator().manual_seed(seed))
    labels[:, 0] = labels[:, 3] = -100
    labels[0, -1] = -100
    return inputs | {"labels": labels.masked_fill(inputs["attention_mask"] == 0, -100)}


def score_of(field, emissions, labels) -> float:
    """Score of one sequence, term by term."""
    if not labels:
        return 0.0
    total = field.start_scores[labels[0]].item() + field.end_scores[labels[-1]].item()
    total += sum(emissions[word, label].item() for word, label in enumerate(labels))
    return total + sum(field.transition_scores[a, b].item() for a, b in itertools.pairwise(labels))


def all_sequences(num_labels: int, words: int):
    return itertools.product(range(num_labels), repeat=words)


def is_iob2(names) -> bool:
    before = "O"
    for name in names:
        if name.startswith("I-") and before not in (f"B-{name[2:]}", name):
            return False
        before = name
    return True


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 4), st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_random_field_equals_the_sum_and_the_best_over_all_sequences(seed, num_labels, lengths):
    generator = torch.Generator().manual_seed(seed)
    field = lively(MedMPLMConditionalRandomField(num_labels), seed)
    width = max(1, *lengths)
    emissions = torch.randn(len(lengths), width, num_labels, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, num_labels, (len(lengths), width), generator=generator)
    mask = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    losses = field(emissions, labels.masked_fill(~mask, -100), mask)
    forbidden = torch.zeros(num_labels, dtype=torch.bool), torch.zeros(num_labels, num_labels).bool()
    best = field.best_labels(emissions, mask, *forbidden)
    for row, length in enumerate(lengths):
        scores = {
            sequence: score_of(field, emissions[row], sequence)
            for sequence in all_sequences(num_labels, length)
        }
        partition = math.log(sum(math.exp(score) for score in scores.values()))
        expected = partition - scores[tuple(labels[row, :length].tolist())]
        assert losses[row].item() == pytest.approx(expected, abs=1e-9)
        assert tuple(best[row, :length].tolist()) == max(scores, key=scores.get)


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_decoding_is_the_best_of_all_iob2_sequences(seed):
    model = tagger().double()
    lively(model.classifier.random_field, seed)
    logits = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mask = torch.tensor([[0, 1, 0, 1, 1, 0]])
    found = model.decode(logits, mask)
    assert (found == -100).tolist() == [[True, False, True, False, False, True]]
    emissions = logits[0, mask[0].bool()]
    allowed = [s for s in all_sequences(5, 3) if is_iob2(IOB2[label] for label in s)]
    best = max(allowed, key=lambda s: score_of(model.classifier.random_field, emissions, s))
    assert tuple(found[0, mask[0].bool()].tolist()) == best


def test_labels_of_another_scheme_are_decoded_freely():
    model = tagger(id2label={0: "O", 1: "I-x", 2: "E-x"}, label2id={"O": 0, "I-x": 1, "E-x": 2})
    torch.nn.init.zeros_(model.classifier.random_field.transition_scores)
    logits = torch.tensor([[[0.0, 90.0, 0.0], [0.0, 0.0, 90.0]]])
    assert model.decode(logits, torch.ones(1, 2)).tolist() == [[1, 2]]


def test_gradients_of_the_random_field_are_those_of_its_loss():
    field = lively(MedMPLMConditionalRandomField(3), 0)
    emissions = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    labels = torch.tensor([[0, 1, 2, 1], [2, 0, 0, 0]])

    def loss(emissions, *weights):
        names = ("start_scores", "end_scores", "transition_scores")
        inputs = (emissions, labels, mask)
        return torch.func.functional_call(field, dict(zip(names, weights, strict=True)), inputs)

    weights = tuple(weight.detach().requires_grad_() for weight in field.parameters())
    assert torch.autograd.gradcheck(loss, (emissions, *weights))


def test_bilstm_equals_that_of_torch_row_by_row():
    config = tiny_config(**NAMES, tagger_hidden_size=6)
    module = lively(MedMPLMTagger(config), 0)
    both = torch.nn.LSTM(config.text_config.hidden_size, 6, batch_first=True, bidirectional=True).double()
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        getattr(both, name).data = getattr(module.forward_lstm, name).data
        getattr(both, f"{name}_reverse").data = getattr(module.backward_lstm, name).data
    states = torch.randn(3, 7, config.text_config.hidden_size, dtype=torch.float64)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [0, 1, 1, 0, 1, 0, 0]]).bool()
    found = module(states, mask)
    for row in range(3):
        expected = module.emission(both(states[row, mask[row]].unsqueeze(0))[0])[0]
        torch.testing.assert_close(found[row, mask[row]], expected)


@pytest.mark.parametrize("reads_encoder", [True, False])
def test_padding_and_neighbours_change_nothing(reads_encoder):
    model = tagger(tagger_use_text_encoder=reads_encoder).double()
    inputs = sentences()
    together = model(**inputs)
    decoded = model.decode(together.logits, inputs["labels"] >= 0)
    losses = []
    for row in range(BATCH):
        length = int(inputs["attention_mask"][row].sum())
        alone = {name: value[row : row + 1, :length] for name, value in inputs.items()}
        outputs = model(**alone)
        torch.testing.assert_close(outputs.logits[0], together.logits[row, :length])
        assert model.decode(outputs.logits, alone["labels"] >= 0)[0].equal(decoded[row, :length])
        losses.append(outputs.loss)
    torch.testing.assert_close(together.loss, torch.stack(losses).mean())


def test_only_first_pieces_count():
    """The scores at inner pieces, special tokens and padding have no part in loss and labels."""
    model = tagger()
    inputs = sentences()
    is_word = inputs["labels"] >= 0
    logits = model(**inputs).logits
    other = torch.where(is_word.unsqueeze(2), logits, 1e3 * torch.rand_like(logits))
    assert model.decode(other, is_word).equal(model.decode(logits, is_word))
    field = model.classifier.random_field
    expected = [
        field(row[words][None], labels[words][None], words[words][None])
        for row, labels, words in zip(logits, inputs["labels"], is_word, strict=True)
    ]
    torch.testing.assert_close(model(**inputs).loss, torch.cat(expected).mean())


def test_a_sentence_without_words_has_no_loss():
    model = tagger()
    inputs = sentences()
    alone = model(**{name: value[:1] for name, value in inputs.items()}).loss
    inputs["labels"][1:] = -100
    torch.testing.assert_close(model(**inputs).loss, alone)
    inputs["labels"][:] = -100
    loss = model(**inputs).loss
    loss.backward()
    assert loss.item() == 0.0
    assert (model.decode(model(**inputs).logits, inputs["labels"] >= 0) == -100).all()


@pytest.mark.parametrize("reads_encoder", [True, False])
def test_every_weight_gets_a_gradient(reads_encoder):
    """Weights without one would stop distributed training."""
    model = tagger(tagger_use_text_encoder=reads_encoder).train()
    model(**sentences()).loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_loss_stays_in_single_precision_under_autocast():
    model = tagger()
    inputs = sentences()
    exact = model(**inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(**inputs)
    assert rough.loss.dtype == rough.logits.dtype == torch.float32
    assert rough.loss.item() == pytest.approx(exact.loss.item(), rel=0.02)
    half = tagger().bfloat16()(**inputs)
    assert (half.logits.dtype, half.loss.dtype) == (torch.bfloat16, torch.float32)


def test_frozen_layers_can_be_given(tmp_path):
    model = tagger(num_frozen_text_layers=1)
    inputs = sentences()
    words = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    states = model.model.encode_text_prefix(**words)
    given_states = model(attention_mask=words["attention_mask"], text_prefix_states=states)
    torch.testing.assert_close(given_states.logits, model(**words).logits)


def test_the_text_encoder_of_a_pretrained_model_fits(tmp_path):
    pretrained = build(MedMPLMForPreTraining)
    pretrained.save_pretrained(tmp_path)
    model, report = MedMPLMForTokenClassification.from_pretrained(
        tmp_path, tagger_hidden_size=6, **NAMES, output_loading_info=True
    )
    weights = pretrained.model.text_model.state_dict()
    loaded = model.model.text_model.state_dict()
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)
    assert all(name.startswith("classifier.") for name in report["missing_keys"])
    assert not [name for name in model.state_dict() if "code_model" in name or "cross_modal" in name]
    assert set(report["unexpected_keys"]) <= {name for name in pretrained.state_dict() if "head" in name}


def test_codes_are_refused_and_a_note_is_asked_for():
    with pytest.raises(ValueError, match="reads no codes"):
        tagger()(**sentences(), code_input_ids=torch.ones(BATCH, 1, dtype=torch.long))
    with pytest.raises(ValueError, match="input_ids"):
        tagger()()
