"""What holds for every rival: padding, leakage, unread modalities, learning, saving; one suite over all."""

import json

import pytest
import torch
from transformers.modeling_utils import PreTrainedModel

from medm_plm.errors import InputError
from medm_plm.rivals import ARCHITECTURES, RivalConfig, load_rival, reads_codes, reads_text, visible_visits
from medm_plm.rivals.building import model_class_of
from medm_plm.rivals.configuration import RECOMMENDATION, VISIT_TASKS
from medm_plm.rivals.heads import RivalForVisitClassification
from medm_plm.rivals.retain import RetainForVisitClassification
from medm_plm.rivals.votes import ClinicalBertForVisitClassification
from modeling_medm_plm import MedMPLMClassifierOutput
from prepared_cohort import invent_visits
from tiny_models import BATCH, LABELS, medication_labels, patient_inputs, visit_inputs
from tiny_rivals import build_rival, rival_config

RECOMMENDERS = [name for name, parts in ARCHITECTURES.items() if RECOMMENDATION in parts.tasks]
READERS_OF_CODES = [name for name in RECOMMENDERS if reads_codes(name)]
BOTH = [name for name in ARCHITECTURES if reads_codes(name) and reads_text(name)]


def changed(inputs: dict, names: tuple[str, ...], where: tuple, seed: int = 5) -> dict:
    """The same inputs with other words or codes at some places."""
    generator = torch.Generator().manual_seed(seed)
    copy = {name: values.clone() for name, values in inputs.items()}
    for name in names:
        part = copy[name][where]
        high = 3 if name.endswith("token_type_ids") else 20
        copy[name][where] = torch.randint(1, high, part.shape, generator=generator)
    return copy


def padded(inputs: dict, width: int = 3) -> dict:
    """The same inputs with more padding at the end of words and codes, full of other ids."""
    longer = {}
    for name, values in inputs.items():
        if values.dim() < 2 or name in ("visit_mask", "labels"):
            longer[name] = values
            continue
        filler = 0 if name.endswith("attention_mask") else 2
        longer[name] = torch.nn.functional.pad(values, (0, width), value=filler)
    return longer


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_output_and_the_loss_are_those_of_the_visit_tasks(architecture):
    model, inputs = build_rival(architecture), visit_inputs()
    labels = torch.randint(0, 2, (BATCH, LABELS), generator=torch.Generator().manual_seed(0)).float()
    output = model(**inputs, labels=labels)
    assert isinstance(output, MedMPLMClassifierOutput)
    assert output.logits.shape == (BATCH, LABELS)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(output.logits, labels)
    torch.testing.assert_close(output.loss, expected)


@pytest.mark.parametrize("architecture", ["gbert", "cnn", "rnn"])
def test_one_label_is_given_as_one_number_for_each_visit(architecture):
    model = build_rival(architecture, "readmission", num_labels=1)
    labels = torch.tensor([1.0, 0.0, 1.0])
    output = model(**visit_inputs(), labels=labels)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(output.logits[:, 0], labels)
    torch.testing.assert_close(output.loss, expected)


@pytest.mark.parametrize("architecture", RECOMMENDERS)
def test_the_loss_of_medication_recommendation_is_a_mean_over_patients(architecture):
    model, inputs = build_rival(architecture, RECOMMENDATION), patient_inputs(visits=4)
    labels = medication_labels(inputs)
    output = model(**inputs, labels=labels)
    assert output.logits.shape == (BATCH, 4, LABELS)
    patients = []
    for logits, truth in zip(output.logits, labels, strict=True):
        visits = [
            torch.nn.functional.binary_cross_entropy_with_logits(row, targets)
            for row, targets in zip(logits, truth, strict=True)
            if targets[0] >= 0
        ]
        patients.append(torch.stack(visits).mean())
    torch.testing.assert_close(output.loss, torch.stack(patients).mean())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_of_words_and_codes_changes_nothing(architecture):
    model, inputs = build_rival(architecture, text_pooling="mean"), visit_inputs()
    with torch.no_grad():
        torch.testing.assert_close(
            model(**inputs).logits, model(**padded(inputs)).logits, atol=1e-5, rtol=1e-4
        )
        alone = model(**{name: values[1:2] for name, values in inputs.items()}).logits
        torch.testing.assert_close(model(**inputs).logits[1:2], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", RECOMMENDERS)
def test_padding_visits_and_other_patients_change_nothing(architecture):
    model, inputs = build_rival(architecture, RECOMMENDATION), patient_inputs(visits=3)
    inputs["visit_mask"][1, 2] = 0
    with torch.no_grad():
        logits = model(**inputs).logits
        alone = model(**{name: values[1:2, :2] for name, values in inputs.items()}).logits
        words = model(**padded(inputs)).logits
    torch.testing.assert_close(logits[1:2, :2], alone, atol=1e-5, rtol=1e-4)
    real = inputs["visit_mask"].bool()
    torch.testing.assert_close(logits[real], words[real], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", RECOMMENDERS)
def test_a_target_sees_neither_its_own_note_and_medications_nor_the_future(architecture):
    model, inputs = build_rival(architecture, RECOMMENDATION), patient_inputs(visits=4)
    names = ("input_ids", "code_input_ids", "code_token_type_ids")
    later = changed(inputs, names, (slice(None), slice(2, None)))
    later = changed(later, ("current_code_input_ids",), (slice(None), slice(3, None)))
    with torch.no_grad():
        before, after = model(**inputs).logits, model(**later).logits
    assert torch.equal(before[:, 1:3], after[:, 1:3])  # visit 2 is the target, its own record was changed
    assert not torch.allclose(before[0, 3], after[0, 3])  # for visit 3 it is history


@pytest.mark.parametrize("architecture", READERS_OF_CODES)
def test_a_target_sees_its_own_diagnoses(architecture):
    model, inputs = build_rival(architecture, RECOMMENDATION), patient_inputs(visits=3)
    other = changed(inputs, ("current_code_input_ids",), (slice(None), 1, slice(1, None)))
    with torch.no_grad():
        before, after = model(**inputs).logits, model(**other).logits
    assert not torch.allclose(before[:, 1], after[:, 1])
    assert torch.equal(before[:, 2], after[:, 2])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_modality_that_is_not_read_has_no_say(architecture):
    model, inputs = build_rival(architecture), visit_inputs()
    with torch.no_grad():
        before = model(**inputs).logits
        for names, reads in ((("input_ids",), reads_text), (("code_input_ids",), reads_codes)):
            after = model(**changed(inputs, names, (slice(None), slice(2, None)))).logits
            assert torch.equal(before, after) is not reads(architecture)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_modality_that_is_not_read_is_emptied_before_it_is_tokenised(architecture):
    visits = visible_visits(invent_visits(4), architecture)
    assert (visits["note"].str.len_chars() > 0).any() is reads_text(architecture)
    for name in ("diagnosis_codes", "medication_codes"):
        assert (visits[name].list.len() > 0).any() is reads_codes(architecture)
    assert visits.schema == invent_visits(4).schema


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_learns_what_its_inputs_tell(architecture):
    """The label is whether a word, or a code, stands in the visit."""
    generator = torch.Generator().manual_seed(2)
    torch.manual_seed(2)
    inputs = visit_inputs(leading=(64,))
    inputs["attention_mask"][:], inputs["code_attention_mask"][:] = 1, 1
    inputs["input_ids"][:], inputs["code_input_ids"][:, 1:] = 10, 8
    inputs["code_token_type_ids"][:, 1:] = 1
    labels = torch.randint(0, 2, (64,), generator=generator).float()
    inputs["input_ids"][labels == 1, 3] = 9
    inputs["code_input_ids"][labels == 1, 2] = 5
    model = build_rival(architecture, num_labels=1, task="readmission", num_frozen_text_layers=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    train, held_out = slice(0, 48), slice(48, 64)
    for _ in range(40):
        optimizer.zero_grad()
        model(**{k: v[train] for k, v in inputs.items()}, labels=labels[train]).loss.backward()
        optimizer.step()
    with torch.no_grad():
        logits = model(**{k: v[held_out] for k, v in inputs.items()}).logits[:, 0]
    assert ((logits > 0) == (labels[held_out] == 1)).float().mean() > 0.8


@pytest.mark.parametrize("task", [RECOMMENDATION, "icd_coding"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_weight_takes_part(architecture, task):
    """Distributed training refuses weights without a gradient; also where no patient has a target."""
    if task not in ARCHITECTURES[architecture].tasks:
        pytest.skip("not a task of this rival")
    model = build_rival(architecture, task).train()
    inputs = visit_inputs() if task == "icd_coding" else patient_inputs(visits=1)
    model(**inputs).logits.sum().backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert not without


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_and_loaded_it_says_the_same(architecture, tmp_path):
    labels = {index: f"ICD9CM:{index}" for index in range(LABELS)}
    model = build_rival(architecture, id2label=labels, label2id={name: i for i, name in labels.items()})
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    assert "auto_map" not in json.loads((tmp_path / "config.json").read_text())
    loaded = load_rival(architecture, "icd_coding", tmp_path, id2label=labels)
    with torch.no_grad():
        assert torch.equal(model(**visit_inputs()).logits, loaded.eval()(**visit_inputs()).logits)
    with pytest.raises(InputError, match="other labels"):
        load_rival(architecture, "icd_coding", tmp_path, id2label={**labels, 0: "ICD9CM:other"})


@pytest.mark.parametrize("architecture", ["clinical_bert", *BOTH])
def test_frozen_text_layers_stay_frozen(architecture, tmp_path):
    model = build_rival(architecture, num_frozen_text_layers=1)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    for rival in (model, loaded):
        rival.train()
        frozen = rival.model.frozen_text_modules()
        assert frozen
        assert all(not p.requires_grad for module in frozen for p in module.parameters())
        assert not any(module.training for module in frozen)


def test_a_task_that_a_rival_cannot_learn_is_refused_in_one_line():
    refused = {"caml": RECOMMENDATION, "rnn": "pretraining", "clinical_bert": "pretraining"}
    for architecture, task in refused.items():
        with pytest.raises(InputError, match=architecture) as error:
            model_class_of(architecture, task)
        assert "\n" not in str(error.value)


def test_new_weights_are_as_large_as_the_authors():
    cnn = RivalForVisitClassification(rival_config("cnn", initializer_range=0.001))
    assert cnn.model.word_embeddings.weight.detach().norm(dim=1).mean() == pytest.approx(1.0, abs=0.05)
    rnn = RetainForVisitClassification(rival_config("rnn", initializer_range=0.001)).model
    for weight in (rnn.code_embeddings.weight, rnn.feature_weight.weight):
        assert float(weight.detach().abs().max()) == pytest.approx(0.1, abs=0.01)


def test_every_rival_has_a_class_for_each_of_its_tasks():
    for architecture, parts in ARCHITECTURES.items():
        for task in parts.tasks:
            assert issubclass(model_class_of(architecture, task), PreTrainedModel)
    for task in VISIT_TASKS:
        voting = model_class_of("clinical_bert", task) is ClinicalBertForVisitClassification
        assert voting is (task in ("readmission", "mortality"))


@pytest.mark.parametrize(
    "fields",
    [{"architecture": "lstm"}, {"use_cross_modal": True}, {"filter_width": -1}, {"word_dropout": 1.5}],
)
def test_an_impossible_setting_is_refused(fields):
    with pytest.raises(Exception, match=next(iter(fields))):
        RivalConfig(**{"architecture": "cnn", **fields})


def test_the_published_sizes_are_the_defaults():
    cnn, caml = RivalConfig(architecture="cnn"), RivalConfig(architecture="caml")
    assert (cnn.num_filters, cnn.filter_width) == (500, 4)
    assert (cnn.word_embedding_size, cnn.word_dropout) == (100, 0.2)
    assert (caml.num_filters, caml.filter_width) == (50, 10)
    assert RivalConfig(architecture="rnn").recurrent_dropout == 0.5
