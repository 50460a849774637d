"""Notes of several chunks: each is read by itself, and all of them together by the cross-modal module."""

import pytest
import torch

from configuration_medm_plm import TEXT_MODEL_TYPES, MedMPLMConfig
from modeling_medm_plm import (
    TEXT_PREFIX_MODEL_TYPES,
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForPreTraining,
    MedMPLMModel,
)
from tiny_models import (
    LABELS,
    TEXT_VOCABULARY,
    build,
    masked_code_labels,
    medication_labels,
    patient_inputs,
    tiny_config,
    visit_inputs,
)

LENGTH, CHUNKS, CLS, SEP, PADDING = 8, 3, 2, 3, 0
LONG = {"max_note_chunks": CHUNKS, "chunk_length": LENGTH}
NOTE_LENGTHS = (20, 5, 16)  # three chunks, one, and two full ones
LAYERS = {"num_hidden_layers": 3, "n_layers": 3, "hidden_size": 32, "dim": 32, "intermediate_size": 37}
LAYERS |= {"num_attention_heads": 4, "n_heads": 4, "hidden_dim": 37, "vocab_size": TEXT_VOCABULARY}
LAYERS |= {"embedding_size": 24, "max_position_embeddings": 64, "pad_token_id": PADDING}


def note_of(lengths=NOTE_LENGTHS, length: int = LENGTH, seed: int = 5) -> dict[str, torch.Tensor]:
    """Notes as the processor lays them out: `[CLS]` ... `[SEP]` in each chunk, all but the last full."""
    width = max(lengths)
    ids = torch.randint(
        4, TEXT_VOCABULARY, (len(lengths), width), generator=torch.Generator().manual_seed(seed)
    )
    mask = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    ids[:, ::length] = CLS
    ids[:, length - 1 :: length] = SEP
    for row, size in enumerate(lengths):
        ids[row, size - 1] = SEP
    return {"input_ids": ids.masked_fill(~mask, PADDING), "attention_mask": mask.long()}


def codes_of() -> dict[str, torch.Tensor]:
    return {name: value for name, value in visit_inputs().items() if name.startswith("code_")}


def chunks_alone(model, note: dict[str, torch.Tensor], row: int):
    """Each chunk of a note, run as a note of its own."""
    size = int(note["attention_mask"][row].sum())
    return [
        model(input_ids=note["input_ids"][row : row + 1, start : min(start + LENGTH, size)])
        for start in range(0, size, LENGTH)
    ]


def text_fields(model_type: str) -> dict:
    fields = {"model_type": model_type, **LAYERS}
    if model_type == "modernbert":
        fields |= {"layer_types": None, "global_attn_every_n_layers": 2, "local_attention": 4}
        fields |= {"bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 2, "eos_token_id": 2}
    return fields


def assert_reads_chunks_alone(model, note):
    """Token states are those of the chunks put one behind the other, the visit's state is their mean."""
    with torch.no_grad():
        together = model(**note)
        for row, size in enumerate(NOTE_LENGTHS):
            alone = chunks_alone(model, note, row)
            states = torch.cat([chunk.text_last_hidden_state[0] for chunk in alone])
            scale = states.abs().max().item()
            torch.testing.assert_close(
                together.text_last_hidden_state[row, :size], states, atol=2e-6 * scale, rtol=1e-5
            )
            total = sum(chunk.text_pooler_output[0] for chunk in alone)
            expected = total / len(alone)
            if model.config.normalize_text_states:
                expected = (expected - expected.mean()) / (expected.var(unbiased=False) + 1e-5).sqrt()
            torch.testing.assert_close(together.text_pooler_output[row], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("model_type", TEXT_MODEL_TYPES)
def test_every_encoder_reads_each_chunk_by_itself(model_type, pooling):
    model = build(MedMPLMModel, text_config=text_fields(model_type), text_pooling=pooling, **LONG)
    assert_reads_chunks_alone(model, note_of())


def test_without_normalisation_the_state_of_a_visit_is_the_plain_mean():
    assert_reads_chunks_alone(build(MedMPLMModel, normalize_text_states=False, **LONG), note_of())


def test_in_a_traced_graph_every_chunk_has_something_to_look_at(monkeypatch):
    """Some attention kernels make NaN of a row that may look at nothing."""
    monkeypatch.setattr("modeling_medm_plm._is_traced", lambda: True)
    model, note = build(MedMPLMModel, **LONG), note_of()
    rows = model._chunks_of(note["input_ids"], note["attention_mask"]).cut(note)
    assert rows["input_ids"].shape == rows["attention_mask"].shape == (3 * CHUNKS, LENGTH)
    assert rows["attention_mask"].any(dim=1).all()


@pytest.mark.parametrize("model_type", TEXT_PREFIX_MODEL_TYPES)
def test_states_of_the_frozen_layers_serve_long_notes(model_type):
    fields = {"text_config": text_fields(model_type), "num_frozen_text_layers": 2}
    model, note = build(MedMPLMModel, **fields, **LONG), note_of()
    states = model.encode_text_prefix(**note)
    assert states.shape == (*note["input_ids"].shape, 32)
    given = torch.tensor([True, False, False])
    missing = states.masked_fill(~given[:, None, None], torch.nan)
    with torch.no_grad():
        whole = model(**note, **codes_of())
        kept = model(text_prefix_states=states, attention_mask=note["attention_mask"], **codes_of())
        mixed = model(text_prefix_states=missing, text_prefix_mask=given, **note, **codes_of())
    for output in (kept, mixed):
        for name in ("text_pooler_output", "code_augmented_output"):
            torch.testing.assert_close(output[name], whole[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_note_of_one_chunk_is_the_same_alone_and_beside_long_ones(pooling):
    one, many = (build(MedMPLMModel, text_pooling=pooling, **fields) for fields in ({}, LONG))
    note, codes = note_of(), codes_of()
    short = {name: values[1:2, :5] for name, values in note.items()}
    codes_of_short = {name: values[1:2] for name, values in codes.items()}
    with torch.no_grad():
        plain = one(**short, **codes_of_short)
        alone, beside = many(**short, **codes_of_short), many(**note, **codes)
    for name, value in plain.items():
        assert torch.equal(alone[name], value), name
    for name in ("text_augmented_output", "code_augmented_output", "text_pooler_output"):
        torch.testing.assert_close(beside[name][1:2], plain[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model_class", [MedMPLMForPreTraining, MedMPLMForICDCoding])
def test_one_chunk_is_to_the_bit_what_it_was(model_class):
    """The default never cuts, also not a note longer than `chunk_length`."""
    plain, limited = build(model_class), build(model_class, max_note_chunks=1, chunk_length=3)
    with torch.no_grad():
        expected, found = plain(**visit_inputs()), limited(**visit_inputs())
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_the_codes_look_at_the_tokens_of_all_chunks():
    model, note = build(MedMPLMModel, **LONG), note_of()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        outputs = model(**note, **codes_of(), output_attentions=True, output_hidden_states=True)
        weights = outputs.note_token_attentions
        assert weights.shape == (3, 1, 20)
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 1))
        assert (weights[note["attention_mask"].unsqueeze(1) == 0] == 0).all()
        assert all((weights[0, 0, start : start + 4] > 0).all() for start in (0, LENGTH, 2 * LENGTH))
        assert [states.shape for states in outputs.hidden_states] == [(3, 20, 32)] * 3
        assert outputs.attentions[0].shape == (3 + 1 + 2, 4, LENGTH, LENGTH)
        changed = note["input_ids"].clone()
        changed[0, 18] = 4 + (changed[0, 18] - 3) % (TEXT_VOCABULARY - 4)
        other = model(**note | {"input_ids": changed}, **codes_of())
    assert not torch.equal(other.code_augmented_output[0], outputs.code_augmented_output[0])
    assert torch.equal(other.text_last_hidden_state[0, :16], outputs.text_last_hidden_state[0, :16])
    torch.testing.assert_close(other.code_augmented_output[1:], outputs.code_augmented_output[1:])


@pytest.mark.parametrize("padding", [1, 4, 2 * LENGTH])
def test_padding_changes_nothing(padding):
    model, note = build(MedMPLMModel, max_note_chunks=CHUNKS + 2, chunk_length=LENGTH), note_of()
    padded = {name: torch.nn.functional.pad(values, (0, padding)) for name, values in note.items()}
    with torch.no_grad():
        before, after = model(**note, **codes_of()), model(**padded, **codes_of())
    for name in ("text_pooler_output", "text_augmented_output", "code_augmented_output"):
        torch.testing.assert_close(after[name], before[name], atol=1e-5, rtol=1e-5)


def test_only_chunks_with_tokens_are_computed():
    model, rows = build(MedMPLMModel, **LONG), []
    model.text_model.embeddings.register_forward_hook(lambda module, args, output: rows.append(output.shape))
    note = note_of()
    with torch.no_grad():
        model(**note)
        model(input_ids=note["input_ids"][:1])  # without a mask all are tokens
        model(input_ids=note["input_ids"], attention_mask=torch.zeros_like(note["attention_mask"]))
    assert [shape[:2] for shape in rows] == [(3 + 1 + 2, LENGTH), (3, LENGTH), (3, LENGTH)]


@pytest.mark.parametrize("given", ["inputs_embeds", "token_type_ids", "position_ids"])
def test_other_inputs_are_cut_with_the_ids(given):
    model, note = build(MedMPLMModel, **LONG), note_of()
    with torch.no_grad():
        if given == "inputs_embeds":
            expected = model(**note).text_pooler_output
            embeds = model.get_input_embeddings()(note["input_ids"])
            found = model(inputs_embeds=embeds, attention_mask=note["attention_mask"]).text_pooler_output
        elif given == "position_ids":
            expected = model(**note).text_pooler_output
            positions = (torch.arange(20) % LENGTH).expand(3, -1)
            found = model(**note, position_ids=positions).text_pooler_output
        else:
            types = torch.zeros_like(note["input_ids"])
            types[0, 2 * LENGTH :] = 1
            alone = {k: v[:1, 2 * LENGTH :] for k, v in (note | {given: types}).items()}
            expected = model(**alone).text_last_hidden_state
            found = model(**note, token_type_ids=types).text_last_hidden_state[:1, 2 * LENGTH :]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_notes_that_are_laid_out_otherwise_are_refused():
    model = build(MedMPLMModel, **LONG)
    with pytest.raises(ValueError, match="not laid out in chunks of 8 tokens"):
        model(**note_of(length=10))
    with pytest.raises(ValueError, match="A note has 25 tokens, but the configuration allows 3 chunks of 8"):
        model(**note_of((25, 3)))


def history_of(visits: int = 3) -> dict[str, torch.Tensor]:
    inputs = patient_inputs(visits=visits)
    notes = note_of(tuple(NOTE_LENGTHS[i % 3] for i in range(3 * visits)))
    inputs |= {name: values.unflatten(0, (3, visits)) for name, values in notes.items()}
    return inputs | {"labels": medication_labels(inputs)}


@pytest.mark.parametrize("model_class", [MedMPLMForPreTraining, MedMPLMForICDCoding])
def test_gradients_are_those_of_the_chunks_and_survive_checkpointing(model_class):
    inputs = note_of() | codes_of()
    if model_class is MedMPLMForPreTraining:
        inputs["labels"] = masked_code_labels(inputs)
    else:
        inputs["labels"] = (torch.arange(3 * LABELS).view(3, LABELS) % 3 == 0).float()
    results = []
    for checkpointing in (False, True):
        model = build(model_class, **LONG)
        if checkpointing:
            model.gradient_checkpointing_enable()
        for module in model.train().modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        loss = model(**inputs).loss
        loss.backward()
        results.append((loss.detach(), {n: p.grad for n, p in model.named_parameters()}))
    assert all(gradient is not None for gradient in results[0][1].values())  # or distributed training stops
    torch.testing.assert_close(results[1], results[0])


def test_patients_with_long_notes_are_those_of_their_visits_alone():
    model, inputs = build(MedMPLMForMedicationRecommendation, **LONG), history_of()
    with torch.no_grad():
        logits = model(**inputs).logits
        last = {name: values[-1:, : 2 if name != "labels" else None] for name, values in inputs.items()}
        alone = model(**{name: values for name, values in last.items() if name != "labels"}).logits
    torch.testing.assert_close(logits[-1:, 1], alone[:, 1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "model_class", [MedMPLMForPreTraining, MedMPLMForICDCoding, MedMPLMForMedicationRecommendation]
)
def test_the_compiled_graph_equals_eager(model_class):
    """All chunks are computed there, and one without tokens must not become NaN."""
    model = build(model_class, **LONG)
    example = note_of() | codes_of()
    if model_class is MedMPLMForMedicationRecommendation:
        example = history_of()
    elif model_class is MedMPLMForPreTraining:
        example["labels"] = masked_code_labels(example)
    else:
        example["labels"] = torch.ones(3, LABELS)
    with torch.no_grad():
        expected = model(**example).loss
        program = torch.export.export(model, (), example, strict=False)
        torch.testing.assert_close(program.module()(**example).loss, expected, atol=1e-5, rtol=1e-4)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    loss = compiled(**example).loss
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected, atol=1e-5, rtol=1e-4)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_long_notes_in_lower_precision():
    model = build(MedMPLMForICDCoding, **LONG).to(torch.bfloat16)
    assert model(**note_of(), **codes_of()).logits.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ({"model_type": "bert", "max_position_embeddings": 40}, 40),
        ({"model_type": "bert", "max_position_embeddings": 8192}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 100, "pad_token_id": 1}, 98),
        ({"model_type": "mpnet", "max_position_embeddings": 100}, 98),
        ({"model_type": "modernbert"}, 512),
    ],
)
def test_the_length_of_a_chunk_is_what_the_encoder_reads(text, length):
    config = MedMPLMConfig(text_config=text)
    assert (config.max_note_chunks, config.chunk_length) == (1, length)
    with pytest.raises(Exception, match="`chunk_length` is 9000, but the text encoder"):
        MedMPLMConfig(text_config=text, chunk_length=9000)


def test_a_configuration_without_the_fields_loads(tmp_path):
    config = tiny_config(**LONG).to_dict()
    assert MedMPLMConfig(**config).to_dict() == config
    for name in (*LONG, "classifier", "label_prior"):
        del config[name]
    old = MedMPLMConfig(**config)
    assert (old.max_note_chunks, old.chunk_length, old.classifier) == (1, 40, "mlp")


def test_an_encoder_of_long_texts_reads_a_long_note_in_one_chunk():
    """ModernBERT: more than 512 tokens at once, from ids to gradients, in parts and as a whole."""
    fields = text_fields("modernbert") | {"max_position_embeddings": 1024, "pad_token_id": PADDING}
    model = build(MedMPLMForICDCoding, text_config=fields, chunk_length=1024, num_frozen_text_layers=1)
    note = note_of((700, 30, 513), length=1024)
    example = note | codes_of() | {"labels": torch.ones(3, LABELS)}
    model(**example).loss.backward()
    states = model.model.encode_text_prefix(**note)
    with torch.no_grad():
        kept = model(**{**example, "input_ids": None}, text_prefix_states=states)
        whole = model(**example)
        torch.testing.assert_close(kept.logits, whole.logits, atol=1e-4, rtol=1e-4)
        changed = note["input_ids"].clone()
        changed[0, 650] = 4 + (changed[0, 650] - 3) % (TEXT_VOCABULARY - 4)
        other = model(**example | {"input_ids": changed}).logits
    assert not torch.equal(other[0], whole.logits[0])
    torch.testing.assert_close(other[1:], whole.logits[1:])
