"""The base model and the cross-modal module: equations 6 and 7 in NumPy, padding, modalities, freezing."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from configuration_medm_plm import TEXT_MODEL_TYPES
from modeling_medm_plm import MedMPLMCrossModalLayer, MedMPLMForPreTraining, MedMPLMModel
from tiny_models import build, masked_code_labels, tiny_config, visit_inputs

TEXT_FIELDS = ("text_last_hidden_state", "text_pooler_output", "text_augmented_output")
CODE_FIELDS = ("code_last_hidden_state", "code_pooler_output", "code_augmented_output")


def numpy_cross_modal(layer: MedMPLMCrossModalLayer, query, tokens, mask):
    """Equation 6 (or 7), one visit and one head at a time, every token projected."""
    weights = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    augmented, all_weights = np.zeros_like(query), np.zeros((len(query), layer.num_heads, tokens.shape[1]))
    for visit in range(len(query)):
        q = weights["query.weight"] @ query[visit] + weights["query.bias"]
        real = [token for token in range(tokens.shape[1]) if mask[visit, token]]
        for head in range(layer.num_heads):
            rows = slice(head * layer.head_size, (head + 1) * layer.head_size)
            scores = np.array([q[rows] @ (weights["key.weight"][rows] @ tokens[visit, t]) for t in real])
            scores = np.exp(scores / np.sqrt(layer.head_size))
            scores /= scores.sum()
            values = [
                weights["value.weight"][rows] @ tokens[visit, t] + weights["value.bias"][rows] for t in real
            ]
            augmented[visit, rows] = sum(s * v for s, v in zip(scores, values, strict=True))
            all_weights[visit, head, real] = scores
    return augmented + query, all_weights


@pytest.mark.parametrize("num_heads", [1, 4])
def test_cross_modal_layer_equals_numpy(num_heads):
    torch.manual_seed(0)
    layer = MedMPLMCrossModalLayer(tiny_config(cross_modal_num_attention_heads=num_heads), 24, 32).double()
    query, tokens = torch.randn(3, 24).double(), torch.randn(3, 7, 32).double()
    mask = torch.tensor([[1] * 7, [1] * 5 + [0] * 2, [1] + [0] * 6])
    augmented, weights = layer(query, tokens, mask)
    expected, expected_weights = numpy_cross_modal(layer, query.numpy(), tokens.numpy(), mask.numpy())
    np.testing.assert_allclose(augmented.detach(), expected, rtol=1e-10)
    np.testing.assert_allclose(weights.detach(), expected_weights, rtol=1e-10)


def numpy_normalized(states: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance over the hidden axis."""
    centred = states - states.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_base_model_wires_equations_6_and_7(pooling, normalize):
    model = build(MedMPLMModel, text_pooling=pooling, normalize_text_states=normalize).double()
    inputs = visit_inputs()
    outputs = model(**inputs)
    states, mask = outputs.text_last_hidden_state.detach().numpy(), inputs["attention_mask"].numpy()
    states = numpy_normalized(states) if normalize else states
    pooled = np.stack(
        [s[0] if pooling == "cls" else s[m == 1].mean(0) for s, m in zip(states, mask, strict=True)]
    )
    pooled = numpy_normalized(pooled) if normalize and pooling == "mean" else pooled
    np.testing.assert_allclose(outputs.text_pooler_output.detach(), pooled, rtol=1e-9)
    codes = outputs.code_last_hidden_state.detach().numpy()
    np.testing.assert_array_equal(outputs.code_pooler_output.detach(), codes[:, 0])
    code_mask = inputs["code_attention_mask"].numpy()
    expected, _ = numpy_cross_modal(model.text_cross_modal, pooled, codes, code_mask)
    np.testing.assert_allclose(outputs.text_augmented_output.detach(), expected, rtol=1e-9)
    expected, _ = numpy_cross_modal(model.code_cross_modal, codes[:, 0], states, mask)
    np.testing.assert_allclose(outputs.code_augmented_output.detach(), expected, rtol=1e-9)


def change_padding(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Other ids where the masks are zero, the same where they are one."""
    changed = dict(inputs)
    words, codes = inputs["attention_mask"] == 0, inputs["code_attention_mask"] == 0
    changed["input_ids"] = torch.where(words, 9, inputs["input_ids"])
    changed["code_input_ids"] = torch.where(codes, 7, inputs["code_input_ids"])
    changed["code_token_type_ids"] = torch.where(codes, 1, inputs["code_token_type_ids"])
    return changed


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_changes_no_bit(pooling, attention):
    """Defect 4 of the authors' code: masks ignored in cross attention."""
    model = build(MedMPLMModel, text_pooling=pooling)
    model.set_attn_implementation(attention)
    inputs = visit_inputs()
    changed = change_padding(inputs)
    assert not torch.equal(inputs["input_ids"], changed["input_ids"])
    with torch.no_grad():
        one, other = model(**inputs), model(**changed)
    for name in (
        "text_pooler_output",
        "text_augmented_output",
        "code_pooler_output",
        "code_augmented_output",
    ):
        assert torch.equal(one[name], other[name]), name


def test_result_depends_neither_on_padding_length_nor_on_the_batch():
    model = build(MedMPLMModel)
    inputs = visit_inputs()
    with torch.no_grad():
        together = model(**inputs).text_augmented_output
        for row in range(len(together)):
            words, codes = inputs["attention_mask"][row].sum(), inputs["code_attention_mask"][row].sum()
            alone = {
                n: v[row : row + 1, : codes if n.startswith("code") else words] for n, v in inputs.items()
            }
            torch.testing.assert_close(
                model(**alone).text_augmented_output[0], together[row], atol=1e-5, rtol=1e-4
            )


def test_codes_are_a_set():
    model = build(MedMPLMModel)
    inputs = visit_inputs()
    order = [0, 2, 1, 3, 4]
    shuffled = {n: v[:, order] if n.startswith("code") else v for n, v in inputs.items()}
    with torch.no_grad():
        one, other = model(**inputs), model(**shuffled)
    torch.testing.assert_close(one.text_augmented_output, other.text_augmented_output, atol=1e-5, rtol=1e-4)


def test_one_modality_alone():
    model = build(MedMPLMModel)
    inputs = visit_inputs()
    text = model(input_ids=inputs["input_ids"])
    codes = model(code_input_ids=inputs["code_input_ids"])
    assert all(text.get(name) is not None and codes.get(name) is None for name in TEXT_FIELDS)
    assert all(text.get(name) is None and codes.get(name) is not None for name in CODE_FIELDS)
    assert torch.equal(text.text_augmented_output, text.text_pooler_output)
    assert torch.equal(codes.code_augmented_output, codes.code_pooler_output)
    with pytest.raises(ValueError, match="code_input_ids"):
        model()


def test_without_the_cross_modal_module_the_vectors_are_the_pooled_ones():
    model = build(MedMPLMModel, use_cross_modal=False)
    outputs = model(**visit_inputs())
    assert torch.equal(outputs.text_augmented_output, outputs.text_pooler_output)
    assert torch.equal(outputs.code_augmented_output, outputs.code_pooler_output)
    assert not [name for name, _ in model.named_parameters() if "cross_modal" in name]


def test_requested_weights_and_states_are_returned():
    model = build(MedMPLMModel)
    model.set_attn_implementation("eager")
    inputs = visit_inputs()
    outputs = model(**inputs, output_attentions=True, output_hidden_states=True)
    assert outputs.note_token_attentions.shape == (3, 1, 7)
    assert outputs.code_token_attentions.shape == (3, 1, 5)
    for name, mask in (("note_token", "attention_mask"), ("code_token", "code_attention_mask")):
        weights = outputs[f"{name}_attentions"]
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 1))
        assert (weights * (1 - inputs[mask][:, None])).abs().max() == 0
    assert len(outputs.hidden_states) == 3
    assert len(outputs.code_hidden_states) == 2
    assert outputs.attentions[0].shape == (3, 4, 7, 7)
    assert outputs.code_attentions[0].shape == (3, 2, 5, 5)
    assert model(**inputs).note_token_attentions is None


def test_eager_equals_sdpa_in_both_encoders():
    model = build(MedMPLMModel)
    outputs = {}
    for attention in ("eager", "sdpa"):
        model.set_attn_implementation(attention)
        assert model.text_model.config._attn_implementation == attention
        assert model.code_model.config._attn_implementation == attention
        outputs[attention] = model(**visit_inputs())
    for name in ("text_augmented_output", "code_augmented_output"):
        torch.testing.assert_close(outputs["eager"][name], outputs["sdpa"][name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tower", ["text_model", "code_model"])
def test_attention_is_never_causal(tower):
    """Trap: without `is_causal=False` the fused attention silently looks backwards only."""
    model = build(MedMPLMModel)
    inputs = {n: v for n, v in visit_inputs().items() if "mask" not in n}
    name = "input_ids" if tower == "text_model" else "code_input_ids"
    state = name.replace("input_ids", "last_hidden_state").replace("code_", "")
    changed = inputs[name].clone()
    changed[:, -1] = 11
    with torch.no_grad():
        field = f"{'text' if tower == 'text_model' else 'code'}_{state}"
        first, second = model(**inputs), model(**inputs | {name: changed})
        assert not torch.equal(first[field][:, 1], second[field][:, 1])


def frozen_and_live(model: MedMPLMModel) -> tuple[set[str], set[str]]:
    named = dict(model.text_model.named_parameters())
    return {n for n, p in named.items() if not p.requires_grad}, {
        n for n, p in named.items() if p.requires_grad
    }


def test_frozen_layers_do_not_train_and_have_no_dropout():
    model = build(MedMPLMForPreTraining, num_frozen_text_layers=1)
    model.train()
    frozen, live = frozen_and_live(model.model)
    assert {name.split(".")[0] for name in frozen} == {"embeddings", "encoder"}
    assert all("embeddings" in name or "layer.0." in name for name in frozen)
    assert all("layer.1." in name for name in live)
    assert not model.model.text_model.encoder.layer[0].training
    assert model.model.text_model.encoder.layer[1].training
    inputs = visit_inputs()
    prefix = [model.model(**inputs, output_hidden_states=True).hidden_states[1] for _ in range(2)]
    assert torch.equal(*prefix)
    assert not prefix[0].requires_grad
    model(**inputs, labels=masked_code_labels(inputs)).loss.backward()
    gradients = {n for n, p in model.model.text_model.named_parameters() if p.grad is not None}
    assert gradients == live


@pytest.mark.parametrize("model_type", TEXT_MODEL_TYPES)
def test_every_listed_text_encoder_freezes_and_trains(model_type):
    """Each encoder of the allow-list: no pooler, frozen in part, every live weight trained."""
    small = {"num_hidden_layers": 2, "n_layers": 2, "hidden_size": 32, "dim": 32, "num_attention_heads": 4}
    small |= {"n_heads": 4, "intermediate_size": 37, "hidden_dim": 37, "vocab_size": 50, "embedding_size": 32}
    small |= {"max_position_embeddings": 40, "type_vocab_size": 2, "pad_token_id": 0, "layer_types": None}
    small |= {"bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 2, "eos_token_id": 2}
    known = set(AutoConfig.for_model(model_type).to_dict()) | set(
        AutoConfig.for_model(model_type).attribute_map
    )
    text = {name: value for name, value in small.items() if name in known}
    config = tiny_config(num_frozen_text_layers=1)
    config = type(config)(
        text_config={"model_type": model_type, **text},
        code_config=config.code_config.to_dict(),
        num_frozen_text_layers=1,
    )
    torch.manual_seed(0)
    model = MedMPLMForPreTraining(config).train()
    inputs = visit_inputs() | {"token_type_ids": torch.zeros(3, 7, dtype=torch.long)}
    model(**inputs, labels=masked_code_labels(inputs)).loss.backward()
    frozen, live = frozen_and_live(model.model)
    assert frozen
    assert live
    without_gradient = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert without_gradient == set()


def test_activation_checkpointing_changes_nothing():
    inputs = visit_inputs()
    losses = []
    for checkpointing in (False, True):
        model = build(MedMPLMForPreTraining, num_frozen_text_layers=1).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            model.gradient_checkpointing_enable()
        loss = model(**inputs, labels=masked_code_labels(inputs)).loss
        loss.backward()
        gradient = model.model.code_model.embeddings.word_embeddings.weight.grad
        losses.append((loss.item(), gradient.clone()))
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-6)
    torch.testing.assert_close(losses[0][1], losses[1][1])


@pytest.mark.parametrize("num_frozen", [1, 2])
def test_prefix_states_stand_for_the_frozen_layers(num_frozen):
    """What the frozen layers say is a function of the note: kept states give equal losses and gradients."""
    inputs = visit_inputs()
    text = {name: inputs.pop(name) for name in ("input_ids", "attention_mask")}
    results = []
    for use_prefix in (False, True):
        model = build(MedMPLMForPreTraining, num_frozen_text_layers=num_frozen)
        note = {"text_prefix_states": model.model.encode_text_prefix(**text)} if use_prefix else {}
        note |= {"attention_mask": text["attention_mask"]} if use_prefix else text
        loss = model(**note, **inputs, labels=masked_code_labels(inputs)).loss
        loss.backward()
        results.append(
            (loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        )
    (plain_loss, plain), (prefix_loss, prefix) = results
    torch.testing.assert_close(plain_loss, prefix_loss, atol=1e-6, rtol=0)
    assert plain.keys() == prefix.keys()
    for name in plain:
        torch.testing.assert_close(plain[name], prefix[name], atol=1e-6, rtol=1e-5)


def test_prefix_of_an_unfrozen_encoder_is_refused():
    with pytest.raises(ValueError, match="num_frozen_text_layers"):
        build(MedMPLMModel).encode_text_prefix(input_ids=visit_inputs()["input_ids"])


def test_cross_modal_projections_start_from_glorot_weights():
    model = MedMPLMForPreTraining(tiny_config())
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in ("query", "key", "value") and "cross_modal" in name:
            bound = (6 / sum(module.weight.shape)) ** 0.5
            assert 0.9 * bound < module.weight.abs().max() <= bound
            assert module.bias is None or not module.bias.any()
