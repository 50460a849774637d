"""Frozen text layers run apart from the live ones, or at least without gradient, in every listed encoder."""

import pytest
import torch
from transformers import AutoConfig

from configuration_medm_plm import TEXT_MODEL_TYPES
from modeling_medm_plm import (
    TEXT_PREFIX_MODEL_TYPES,
    MedMPLMForMedicationRecommendation,
    MedMPLMForPreTraining,
    MedMPLMModel,
    _text_layers,
)
from tiny_models import TEXT_VOCABULARY, build, masked_code_labels, patient_inputs, visit_inputs

NUM_LAYERS, NUM_WORDS, PADDING = 4, 19, 0
LENGTHS = (19, 11, 3)
WHOLE_ONLY = ("megatron-bert", "mpnet")
# Layers 1 and 3 of ModernBERT look at two words to either side, so notes are longer than their windows.
SIZES = {"num_hidden_layers": NUM_LAYERS, "n_layers": NUM_LAYERS, "hidden_size": 32, "dim": 32}
SIZES |= {"num_attention_heads": 4, "n_heads": 4, "intermediate_size": 37, "hidden_dim": 37}
SIZES |= {"vocab_size": TEXT_VOCABULARY, "embedding_size": 24, "max_position_embeddings": 64}
SIZES |= {"type_vocab_size": 2, "pad_token_id": PADDING, "layer_types": None}
SIZES |= {"global_attn_every_n_layers": 2, "local_attention": 4}
SIZES |= {"bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 2, "eos_token_id": 2}


def text_fields(model_type: str) -> dict:
    config = AutoConfig.for_model(model_type)
    known = set(config.to_dict()) | set(config.attribute_map) | {"global_attn_every_n_layers"}
    fields = {name: value for name, value in SIZES.items() if name in known}
    if model_type != "modernbert":
        fields.pop("global_attn_every_n_layers", None)
    return {"model_type": model_type, **fields}


def model_of(model_type: str, num_frozen: int, model_class=MedMPLMForPreTraining):
    return build(model_class, text_config=text_fields(model_type), num_frozen_text_layers=num_frozen)


def note_inputs() -> dict[str, torch.Tensor]:
    ids = torch.randint(4, TEXT_VOCABULARY, (3, NUM_WORDS), generator=torch.Generator().manual_seed(5))
    mask = torch.arange(NUM_WORDS) < torch.tensor(LENGTHS).unsqueeze(1)
    return {"input_ids": ids.masked_fill(~mask, PADDING), "attention_mask": mask.long()}


def loss_and_gradients(model, **inputs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_which_encoders_have_a_prefix_is_written_down():
    assert set(TEXT_PREFIX_MODEL_TYPES) | set(WHOLE_ONLY) == set(TEXT_MODEL_TYPES)


@pytest.mark.parametrize("num_frozen", [1, 2, NUM_LAYERS])
@pytest.mark.parametrize("model_type", TEXT_PREFIX_MODEL_TYPES)
def test_states_and_live_layers_equal_the_whole_encoder(model_type, num_frozen):
    model = model_of(model_type, num_frozen)
    note = note_inputs()
    inputs = {k: v for k, v in visit_inputs().items() if k.startswith("code_")}
    inputs["labels"] = masked_code_labels(inputs)
    states = model.model.encode_text_prefix(**note)
    assert not states.requires_grad
    kept = {"text_prefix_states": states, "attention_mask": note["attention_mask"]}
    with torch.no_grad():
        whole = model.model(**note).text_last_hidden_state
        rest = model.model(**kept).text_last_hidden_state
    mask = note["attention_mask"].bool()
    torch.testing.assert_close(rest[mask], whole[mask], atol=1e-6 * whole[mask].abs().max().item(), rtol=1e-6)
    (plain_loss, plain), (kept_loss, gradients) = (
        loss_and_gradients(model, **note, **inputs),
        loss_and_gradients(model, **kept, **inputs),
    )
    torch.testing.assert_close(kept_loss, plain_loss, atol=1e-6, rtol=1e-6)
    assert gradients.keys() == plain.keys()
    for name, gradient in plain.items():
        scale = max(1.0, gradient.abs().max().item())
        torch.testing.assert_close(gradients[name], gradient, atol=2e-6 * scale, rtol=1e-5)


@pytest.mark.parametrize("model_type", TEXT_PREFIX_MODEL_TYPES)
def test_states_of_a_note_do_not_depend_on_its_padding(model_type):
    model, note = model_of(model_type, 2).model, note_inputs()
    padded = model.encode_text_prefix(**note)
    for row, length in enumerate(LENGTHS):
        alone = model.encode_text_prefix(input_ids=note["input_ids"][row : row + 1, :length])
        scale = alone.abs().max().item()
        torch.testing.assert_close(padded[row, :length], alone[0], atol=1e-6 * scale, rtol=1e-6)


def test_states_carry_no_gradient_even_where_inputs_do():
    model = model_of("bert", 2).model
    model.enable_input_require_grads()
    assert not model.encode_text_prefix(**note_inputs()).requires_grad


def test_the_layers_behind_the_prefix_are_not_run(monkeypatch):
    model = model_of("bert", 2).model
    for layer in _text_layers(model.text_model)[2:]:
        monkeypatch.setattr(layer, "forward", None)
    assert model.encode_text_prefix(**note_inputs()).shape == (3, NUM_WORDS, 32)


@pytest.mark.parametrize("model_type", TEXT_MODEL_TYPES)
def test_frozen_layers_record_no_gradient_and_have_no_dropout(model_type):
    model = model_of(model_type, 2).train()
    outputs = []
    layer = _text_layers(model.model.text_model)[1]
    handle = layer.register_forward_hook(lambda module, args, output: outputs.append(output))
    inputs = {k: v for k, v in visit_inputs().items() if k.startswith("code_")}
    loss = model(**note_inputs(), **inputs, labels=masked_code_labels(inputs)).loss
    loss.backward()
    model.eval()(**note_inputs(), **inputs)
    handle.remove()
    trained, evaluated = (output[0] if isinstance(output, tuple) else output for output in outputs)
    assert not trained.requires_grad
    assert torch.equal(trained, evaluated)
    live = _text_layers(model.model.text_model)[2:]
    assert all(p.grad is not None for p in live.parameters())


@pytest.mark.parametrize("model_type", WHOLE_ONLY)
def test_other_encoders_are_run_as_a_whole(model_type):
    model = model_of(model_type, 2).model
    assert not model.has_text_prefix
    with pytest.raises(ValueError, match="needs at least one frozen layer and one of bert"):
        model.encode_text_prefix(**note_inputs())


def test_an_encoder_that_decodes_has_no_prefix():
    """Its own forward masks the future, which running the layers from outside would not."""
    fields = text_fields("bert") | {"is_decoder": True}
    assert not build(MedMPLMModel, text_config=fields, num_frozen_text_layers=2).has_text_prefix


@pytest.mark.parametrize("given", [[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]])
@pytest.mark.parametrize("model_type", ["bert", "modernbert"])
def test_missing_states_are_computed(model_type, given):
    model, note = model_of(model_type, 2).model, note_inputs()
    given = torch.tensor(given, dtype=torch.bool)
    states = model.encode_text_prefix(**note)
    states[~given] = torch.nan
    mixed = {"text_prefix_states": states, "text_prefix_mask": given}
    with torch.no_grad():
        whole = model(**note).text_pooler_output
        part = model(**note, **mixed).text_pooler_output
    torch.testing.assert_close(part, whole, atol=1e-6, rtol=1e-5)
    if not given.all():
        with pytest.raises(ValueError, match="Give `input_ids` too"):
            model(attention_mask=note["attention_mask"], **mixed)


def test_given_states_are_used_in_place_of_the_ids():
    model, note = model_of("bert", 2).model, note_inputs()
    other = {**note, "input_ids": note["input_ids"].flip(0)}
    states = model.encode_text_prefix(**other)
    with torch.no_grad():
        expected = model(**other).text_pooler_output
        for mask in (None, torch.ones(3, dtype=torch.bool)):
            output = model(**note, text_prefix_states=states, text_prefix_mask=mask).text_pooler_output
            torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


def test_missing_states_of_patients_are_computed():
    model = build(MedMPLMForMedicationRecommendation, num_frozen_text_layers=1)
    inputs = patient_inputs()
    words = {name: inputs[name].flatten(0, 1) for name in ("input_ids", "attention_mask")}
    states = model.model.encode_text_prefix(**words).unflatten(0, inputs["visit_mask"].shape)
    given = torch.tensor([[1, 1], [0, 1], [0, 0]])
    states = states.masked_fill(given[..., None, None] == 0, torch.nan)
    with torch.no_grad():
        plain = model(**inputs).logits[:, 1]
        mixed = model(**inputs, text_prefix_states=states, text_prefix_mask=given).logits[:, 1]
    torch.testing.assert_close(mixed[:2], plain[:2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_states_may_come_in_another_precision(dtype, tolerance):
    model, note = model_of("bert", 2).model, note_inputs()
    states = model.encode_text_prefix(**note).to(dtype)
    with torch.no_grad():
        whole = model(**note).text_pooler_output
        rest = model(attention_mask=note["attention_mask"], text_prefix_states=states).text_pooler_output
    assert rest.dtype == torch.float32
    assert (rest - whole).abs().max() <= tolerance * whole.abs().max()
    model.to(dtype)
    with torch.no_grad():
        lower = model(attention_mask=note["attention_mask"], text_prefix_states=states.float())
    assert lower.text_last_hidden_state.dtype == dtype


def test_gradients_from_states_survive_activation_checkpointing():
    note, inputs = note_inputs(), {k: v for k, v in visit_inputs().items() if k.startswith("code_")}
    inputs["labels"] = masked_code_labels(inputs)
    results = []
    for checkpointing in (False, True):
        model = model_of("modernbert", 2)
        inputs["text_prefix_states"] = model.model.encode_text_prefix(**note)
        if checkpointing:
            model.gradient_checkpointing_enable()
        for module in model.train().modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        results.append(loss_and_gradients(model, attention_mask=note["attention_mask"], **inputs))
    (plain_loss, plain), (loss, gradients) = results
    torch.testing.assert_close(loss, plain_loss)
    assert gradients.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(gradients[name], gradient)
