"""Pipelines: what they say is what the model says, from a folder alone, with titles and decisions."""

import json
import shutil

import pytest
import torch
from transformers import pipeline
from transformers.utils import logging as library_logging

import medm_plm
from medm_plm.data.collators import PatientCollator, VisitCollator
from medm_plm.errors import InputError
from medm_plm.ontologies.titles import nearest_title
from modeling_medm_plm import MedMPLMForICDCoding, MedMPLMForPreTraining
from pipeline_medm_plm import PIPELINES
from prepared_cohort import invent_visits, tiny_model, tiny_processor
from strangers import run_stranger
from tiny_predictors import TASK_NAMES, labels_of, save_predictor, tiny_predictor
from tokenization_medm_plm import MedMPLMCodeTokenizer

SECRET = "zebrafish"
VISIT_TASKS = tuple(task for task in TASK_NAMES if task != "medication_recommendation")

STRANGER = """
import json
from transformers import pipeline
folder, visit = sys.argv[1], json.loads(sys.argv[2])
predict = pipeline("medm-plm-icd-coding", model=folder, trust_remote_code=True, device="cpu")
again = folder + "-again"
predict.save_pretrained(again)
untold = pipeline(model=again, trust_remote_code=True, device="cpu")
assert untold(visit) == predict(visit)
assert "medm_plm" not in sys.modules
print(json.dumps(predict(visit)))
"""


def name_of(task: str) -> str:
    return f"medm-plm-{task.replace('_', '-')}"


def pipeline_of(task: str, **config_fields):
    model, processor = tiny_predictor(task, **config_fields)
    return PIPELINES[name_of(task)](model=model, processor=processor, device="cpu")


def visits(count: int = 7) -> list[dict]:
    """Rows whose notes become shorter, so that sorting by length changes their order."""
    rows = invent_visits().head(count).to_dicts()
    for index, row in enumerate(rows):
        for name in ("note", "admission_note"):
            row[name] += " pain" * max(0, 7 - index)
    return rows


def read_visit(task: str, row: dict) -> dict:
    """What a task may read, spelt out."""
    empty = {"text": "", "diagnosis_codes": [], "medication_codes": []}
    allowed = {
        "readmission": {
            "text": "note",
            "diagnosis_codes": "diagnosis_codes",
            "medication_codes": "medication_codes",
        },
        "mortality": {"text": "admission_note", "medication_codes": "first_day_medication_codes"},
        "icd_coding": {"text": "note", "medication_codes": "medication_codes"},
        "medication_prediction": {"text": "note", "diagnosis_codes": "diagnosis_codes"},
    }[task]
    return {**empty, **{name: row[field] for name, field in allowed.items()}}


def reference(predict, inputs: dict) -> list[float]:
    """Probabilities of one visit by itself, by the collator of the training."""
    batch = VisitCollator.from_processor(predict.processor)([dict(predict.processor(**inputs))])
    with torch.no_grad():
        logits = predict.model(**batch).logits[0].double()
    return [1 / (1 + torch.exp(-logit / predict.model.config.temperature).item()) for logit in logits]


@pytest.mark.parametrize("task", VISIT_TASKS)
def test_probabilities_are_those_of_the_model_and_decisions_those_of_the_threshold(task):
    predict, rows = pipeline_of(task), visits()
    labels = labels_of(task)
    for row, result in zip(rows, predict(rows, batch_size=3), strict=True):
        expected = dict(zip(labels, reference(predict, read_visit(task, row)), strict=True))
        entries = [{"code": task, **result}] if isinstance(result, dict) else result
        found = {entry["code"]: entry["probability"] for entry in entries}
        assert found == pytest.approx(expected, abs=1e-6)
        assert [entry["decision"] for entry in entries] == [p >= 0.4 for p in found.values()]
        assert list(found.values()) == sorted(found.values(), reverse=True)
    assert len({str(result) for result in predict(rows)}) > 1


def test_recommendation_equals_the_model_on_the_whole_patient():
    predict = pipeline_of("medication_recommendation")
    rows = [row for row in visits(40) if row["subject_id"] == "p003"]
    assert len(rows) == 4
    encode = predict.processor
    examples = []
    for row in rows:
        whole = encode(
            text=row["note"], diagnosis_codes=row["diagnosis_codes"], medication_codes=row["medication_codes"]
        )
        known = encode(text="", diagnosis_codes=row["diagnosis_codes"], medication_codes=[])
        current = {f"current_{name}": known[name] for name in ("code_input_ids", "code_token_type_ids")}
        examples.append({**whole, **current, "labels": [0] * 8})
    batch = PatientCollator.from_processor(predict.processor)([{"visits": examples}])
    batch.pop("labels")
    with torch.no_grad():
        logits = predict.model(**batch).logits[0, -1].double() / 1.5
    expected = dict(zip(labels_of("medication_recommendation"), torch.sigmoid(logits).tolist(), strict=True))
    for inputs in (rows, {"visits": rows}):
        assert {e["code"]: e["probability"] for e in predict(inputs)} == pytest.approx(expected, abs=1e-6)
    # In a batch with a shorter patient, who is padded.
    both = predict([{"visits": rows}, {"visits": rows[:2]}, rows], batch_size=3)
    for index in (0, 2):
        assert {e["code"]: e["probability"] for e in both[index]} == pytest.approx(expected, abs=1e-6)
    assert both[1] != both[0]


def test_recommendation_does_not_read_the_answer():
    predict, rows = pipeline_of("medication_recommendation"), visits(40)[3:6]
    rows[-1] = {**rows[-1], "medication_codes": ["ATC:C03C"], "note": "the answer"}
    changed = [*rows[:-1], {"diagnosis_codes": rows[-1]["diagnosis_codes"]}]
    assert predict(rows) == predict(changed)
    assert predict(rows) != predict([*rows[:-1], {"diagnosis_codes": []}])


def test_recommendation_reads_what_was_known_at_admission_if_it_was_trained_to():
    predict, rows = pipeline_of("medication_recommendation", use_current_note=True), visits(40)[3:6]
    told = [*rows[:-1], {**rows[-1], "admission_note": "heart heart clot"}]
    assert predict(rows, top_k=3) != predict(told, top_k=3)


def test_the_text_is_that_of_the_field_the_model_was_trained_on(tmp_path):
    """A model of the first day that read the whole note would see the answer."""
    folder = save_predictor("medication_prediction", tmp_path, note_field="admission_note")
    (name,) = json.loads((folder / "config.json").read_text())["custom_pipelines"]
    for predict in (
        medm_plm.load_pipeline(folder, device="cpu"),
        pipeline(name, model=str(folder), trust_remote_code=True, device="cpu"),
    ):
        row = {**visits()[0], "admission_note": "heart heart clot"}
        assert predict(row) == predict({**row, "note": "another text altogether"})
        assert predict(row) != predict({**row, "admission_note": "mood"})
        usual = pipeline_of("medication_prediction")
        assert predict(row) == usual({**row, "note": "heart heart clot"})


def test_recommendation_reads_the_whole_current_note_if_it_was_trained_to():
    predict = pipeline_of("medication_recommendation", use_current_note=True, note_field="note")
    usual = pipeline_of("medication_recommendation", use_current_note=True)
    rows = visits(40)[3:6]
    rows[-1] = {**rows[-1], "note": "heart heart clot", "admission_note": "mood"}
    assert predict(rows) == predict([*rows[:-1], {**rows[-1], "admission_note": "sugar"}])
    assert predict(rows) != predict([*rows[:-1], {**rows[-1], "note": "sugar"}])
    assert predict(rows) == usual([*rows[:-1], {**rows[-1], "admission_note": "heart heart clot"}])


@pytest.mark.parametrize("task", ["icd_coding", "medication_prediction"])
def test_codes_of_the_predicted_kind_are_not_read_and_this_is_said(task, caplog):
    predict, row = pipeline_of(task), visits()[0]
    field = "diagnosis_codes" if task == "icd_coding" else "medication_codes"
    library_logging.enable_propagation()
    library_logging.get_logger("transformers").warning_once.__func__.cache_clear()
    with caplog.at_level("WARNING"):
        assert predict(row) == predict({**row, field: None})
    library_logging.disable_propagation()
    assert f"{field} are not read" in caplog.text


def test_unknown_codes_are_counted_and_never_named(caplog):
    predict = pipeline_of("readmission")
    library_logging.enable_propagation()
    with caplog.at_level("WARNING"):
        predict([{"note": SECRET, "diagnosis_codes": [SECRET, "428.9", "428.0"]}] * 2)
    library_logging.disable_propagation()
    assert (
        "4 of 6 codes are not in the vocabulary (2 placed on an ontology node, 2 as unknown)" in caplog.text
    )
    assert SECRET.lower() not in caplog.text.lower()


def test_streams_stay_lazy_and_in_order():
    predict, rows = pipeline_of("icd_coding"), visits()
    drawn = []

    def endless():
        while True:
            for row in rows:
                drawn.append(row)
                yield row

    results = predict(endless(), batch_size=2, top_k=2)
    found = [next(results) for _ in range(len(rows))]
    for result, expected in zip(found, predict(rows, batch_size=2, top_k=2), strict=True):
        assert [entry["code"] for entry in result] == [entry["code"] for entry in expected]
    assert len(drawn) <= 2 * 16


def test_every_label_can_have_its_threshold():
    thresholds = [0.0, 1.0] * 4
    predict = pipeline_of("icd_coding", decision_threshold=thresholds)
    labels = labels_of("icd_coding")
    for entry in predict(visits()[0]):
        assert entry["decision"] == (thresholds[labels.index(entry["code"])] == 0.0)


@pytest.mark.parametrize(
    ("task", "inputs", "message"),
    [
        ("readmission", {"note": 5, "diagnosis_codes": []}, "text: expected"),
        (
            "readmission",
            [{"note": SECRET}, {"note": SECRET, "diagnosis_codes": [1]}],
            "example 2: codes: expected text",
        ),
        ("readmission", {"notes": SECRET}, "did you mean 'note'"),
        ("readmission", {"age": 5}, "none of the fields"),
        ("readmission", [SECRET], "received str"),
        ("readmission", SECRET, "expected dictionaries"),
        (
            "icd_coding",
            {"diagnosis_codes": [SECRET]},
            "none of the fields that are read: note, medication_codes",
        ),
        ("medication_recommendation", {"note": SECRET}, "at least one earlier visit"),
        ("medication_recommendation", [{"note": SECRET}], "at least one earlier visit"),
    ],
)
def test_mistakes_get_one_line_without_content(task, inputs, message):
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        pipeline_of(task)(inputs)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="unknown options topk"):
        pipeline_of("readmission")(visits()[0], topk=3)
    with pytest.raises(ValueError, match="top_k is 0"):
        pipeline_of("icd_coding")(visits()[0], top_k=0)
    with pytest.raises(ValueError, match="top_k is '3', expected at least 1"):
        pipeline_of("icd_coding")(visits()[0], top_k="3")
    for size in (0, -1, "2"):
        with pytest.raises(ValueError, match=f"batch_size is {size!r}, expected at least 1"):
            pipeline_of("icd_coding")(visits()[0], batch_size=size)


def test_a_head_that_was_never_trained_is_refused(tmp_path):
    rows = invent_visits()
    tiny_model("pretraining", rows).save_pretrained(tmp_path)
    tiny_processor(rows).save_pretrained(tmp_path)
    assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(ValueError, match="received a MedMPLMForPreTraining"):
        pipeline("medm-plm-icd-coding", model=str(tmp_path), device="cpu")
    with pytest.raises(InputError, match="no pipeline for this model"):
        medm_plm.load_pipeline(tmp_path)


def test_a_model_of_another_task_is_refused():
    model, processor = tiny_predictor("medication_prediction")
    with pytest.raises(ValueError, match="use medm-plm-medication-prediction"):
        PIPELINES["medm-plm-icd-coding"](model=model, processor=processor, device="cpu")
    model, processor = tiny_predictor("mortality")
    with pytest.raises(ValueError, match="use medm-plm-mortality"):
        PIPELINES["medm-plm-readmission"](model=model, processor=processor, device="cpu")


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_saved_folder_names_its_pipeline_and_the_package_opens_it_by_its_own_code(task, tmp_path):
    folder = save_predictor(task, tmp_path)
    (name,) = json.loads((folder / "config.json").read_text())["custom_pipelines"]
    assert name == name_of(task)
    predict = medm_plm.load_pipeline(folder, device="cpu")
    assert type(predict) is PIPELINES[name]
    assert type(predict.model).__module__ == "modeling_medm_plm"
    inputs = [visits()[0]] * 2
    assert predict(inputs) == pipeline_of(task)(inputs)
    str(predict.model.config)  # the library leaves classes in it, which cannot be written


def test_load_pipeline_runs_no_code_of_the_folder(tmp_path):
    folder = save_predictor("icd_coding", tmp_path)
    for file in folder.glob("*.py"):
        file.write_text("raise SystemExit('the code of the folder ran')")
    assert medm_plm.load_pipeline(folder, device="cpu")(visits()[0])


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_load_pipeline_says_what_is_wrong_in_one_line(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot be opened") as caught:
        medm_plm.load_pipeline(tmp_path / folder)
    assert "\n" not in str(caught.value)


def test_a_folder_that_does_not_exist_is_called_that(tmp_path):
    """A path is no name on the Hub, and what may be one is both."""
    with pytest.raises(InputError, match="there is no such folder; expected the folder of") as caught:
        medm_plm.load_pipeline(tmp_path / "missing")
    assert "huggingface" not in str(caught.value)
    with pytest.raises(InputError, match="there is no such folder"):
        medm_plm.load_pipeline("a" * 5000)
    with pytest.raises(InputError, match="there is no such folder, and as a name on the Hub: "):
        medm_plm.load_pipeline("no-such/model")


def test_a_mistyped_folder_beside_others_is_not_told_to_the_hub(tmp_path, monkeypatch):
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there is no such folder; expected the folder of") as caught:
        medm_plm.load_pipeline("demo/icd_codng")
    assert "as a name on the Hub" not in str(caught.value)


def test_one_remedy_is_said_once_where_the_model_is_for_another_task(tmp_path):
    folder = save_predictor("icd_coding", tmp_path / "coding")
    with pytest.raises(InputError, match="received medm-plm-readmission, expected medm-plm-icd-coding"):
        medm_plm.load_pipeline(folder, task="medm-plm-readmission")
    rows = invent_visits()
    tiny_model("pretraining", rows).save_pretrained(tmp_path / "pretrained")
    tiny_processor(rows).save_pretrained(tmp_path / "pretrained")
    with pytest.raises(
        InputError, match="received MedMPLMForPreTraining, expected a model that was fine-tuned"
    ):
        medm_plm.load_pipeline(tmp_path / "pretrained", task="medm-plm-icd-coding")
    (folder / "processor_config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be opened") as caught:
        medm_plm.load_pipeline(folder)
    assert str(caught.value).count("give ") == 1


def test_a_tokenizer_without_its_words_is_refused(tmp_path):
    """The library would make an empty one, and every prediction would be made from unknown words."""
    folder = save_predictor("icd_coding", tmp_path)
    assert medm_plm.load_pipeline(folder, device="cpu")(visits()[0])
    (folder / "tokenizer.json").unlink()
    with pytest.raises(
        InputError, match=r"cannot be opened: the text tokenizer knows \d word pieces"
    ) as caught:
        medm_plm.load_pipeline(folder, device="cpu")
    assert "\n" not in str(caught.value)
    assert "tokenizer.json" in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("tokenizer_config.json", "no padding token"),
        ("code_tokenizer", "no code vocabulary"),
        ("code_tokenizer/tokenizer.json", "no code vocabulary"),
        ("code_tokenizer/tokenizer_config.json", "no code vocabulary"),
    ],
)
def test_a_processor_that_is_not_whole_is_refused(tmp_path, missing, said):
    """The library opens what is left without a word, and other codes would be meant."""
    folder = save_predictor("icd_coding", tmp_path)
    place = folder / missing
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    with pytest.raises(InputError, match=said) as caught:
        medm_plm.load_pipeline(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_the_codes_of_another_model_are_refused(tmp_path):
    folder = save_predictor("icd_coding", tmp_path)
    settings = folder / "code_tokenizer" / "tokenizer_config.json"
    content = json.loads(settings.read_text())
    settings.write_text(json.dumps({**content, "num_codes": content["num_codes"] - 1}))
    with pytest.raises(InputError, match=r"the code tokenizer knows \d+ codes, the model has \d+") as caught:
        medm_plm.load_pipeline(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_stranger_opens_the_pipeline_from_the_folder_alone(tmp_path):
    folder = save_predictor("icd_coding", tmp_path / "model")
    visit = {"note": "patient has heart and sugar", "medication_codes": ["C03C", "ATC:A10A"]}
    printed = run_stranger(tmp_path, STRANGER, folder, json.dumps(visit))
    found = json.loads(printed.strip().splitlines()[-1])
    assert found == pipeline_of("icd_coding")(visit)
    assert all(entry["title"] for entry in found)


def test_a_folder_never_names_a_pipeline_it_does_not_hold(tmp_path, monkeypatch):
    """As where an Auto class opened a model from a folder: its own file is at hand, and no other."""
    import modeling_medm_plm

    model = MedMPLMForICDCoding.from_pretrained(save_predictor("icd_coding", tmp_path / "first"))
    monkeypatch.setattr(modeling_medm_plm, "PIPELINES_MODULE", "no_such_module")
    model.save_pretrained(tmp_path / "second")
    assert "custom_pipelines" not in json.loads((tmp_path / "second" / "config.json").read_text())
    assert not list((tmp_path / "second").glob("pipeline*.py"))


def test_a_model_that_becomes_another_forgets_its_pipeline(tmp_path):
    folder = save_predictor("icd_coding", tmp_path / "first")
    MedMPLMForPreTraining.from_pretrained(folder).save_pretrained(tmp_path / "second")
    assert "custom_pipelines" not in json.loads((tmp_path / "second" / "config.json").read_text())


def test_titles_travel_with_the_code_tokenizer(tmp_path):
    processor = tiny_processor(invent_visits())
    tokenizer = processor.code_tokenizer
    codes = [token for token in tokenizer.get_vocab() if tokenizer.get_vocab()[token] < tokenizer.num_codes]
    codes = [code for code in codes if ":" in code] + ["ICD9CM:4289", "ATC:C03CA01"]
    for code in codes:
        assert tokenizer.title(code) == nearest_title(code)
    assert tokenizer.title("readmission") == (None, None)
    tokenizer.add_titles({"ICD9CM:4280": "Heart failure"})
    processor.save_pretrained(tmp_path)
    loaded = type(processor).from_pretrained(tmp_path).code_tokenizer
    assert loaded.title("ICD9CM:4280") == ("Heart failure", "ICD9CM:4280")
    assert loaded.code_titles == tokenizer.code_titles
    assert loaded.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("titles", [["a"], {"ICD9CM:4280": 5}, {5: "a"}])
def test_titles_that_are_no_text_are_refused(titles):
    with pytest.raises(ValueError, match="code_titles: expected"):
        MedMPLMCodeTokenizer(code_titles=titles)
