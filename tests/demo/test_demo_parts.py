"""What stands behind the page, without a browser: codes, limits, models, answers, examples, options."""

import asyncio
import logging
import os

import pytest

import demo.app
from medm_plm.command_line import run_main
from medm_plm.demo import results, serving
from medm_plm.demo.codes import CodeList, code_label, code_list, dotted_code
from medm_plm.demo.entries import MAX_CODES, MAX_NOTE_CHARACTERS, Entry, checked_entry
from medm_plm.demo.examples import invented_examples
from medm_plm.demo.isolation import SETTINGS, isolate, server_name
from medm_plm.demo.predicting import TASKS, Predictors
from medm_plm.demo.requests import LimitedRequests
from medm_plm.errors import InputError
from medm_plm.prediction.loading import load_pipeline
from tiny_predictors import save_predictor
from tiny_processors import tiny_code_tokenizer
from tokenization_medm_plm import DIAGNOSIS_TYPE, MEDICATION_TYPE

SENTINEL = "zyxwvsentinel"
DIAGNOSES = CodeList({"ICD9CM:4280": "428.0", "ICD9CM:25000": "250.00"})
MEDICATIONS = CodeList({"ATC:C03C": "C03C"})
ENTRY = Entry("heart and lung", ("ICD9CM:4280",), ("ATC:C03C",), ("ICD9CM:25000",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for task in TASKS:
        save_predictor(task, folder / task)
    return folder


@pytest.fixture(scope="module")
def predictors(folder):
    return Predictors.load([folder])


def check(note="heart", diagnoses=(), medications=(), following=()):
    return checked_entry(note, list(diagnoses), list(medications), list(following), DIAGNOSES, MEDICATIONS)


@pytest.mark.parametrize(
    ("code", "written"),
    [
        ("ICD9CM:4280", "428.0"),
        ("ICD9CM:496", "496"),
        ("ICD9CM:E8500", "E850.0"),
        ("ICD9CM:V4581", "V45.81"),
        ("ICD10CM:I509", "I50.9"),
        ("ICD10CM:E119", "E11.9"),
        ("ATC:C03C", "C03C"),
    ],
)
def test_codes_are_written_as_in_books(code, written):
    assert dotted_code(code) == written


def test_a_label_holds_both_forms_of_a_code_its_title_and_its_system():
    label = code_label("ICD9CM:4280")
    assert "428.0" in label
    assert "ICD-9 4280" in label
    assert "heart disease" in label.lower()
    assert "(group)" in label


def test_a_title_of_the_model_goes_before_that_of_the_group():
    tokenizer = tiny_code_tokenizer(code_titles={"ICD9CM:4280": "Weak heart"})
    assert code_label("ICD9CM:4280", tokenizer) == "428.0 · Weak heart · ICD-9 4280"


def test_the_list_has_every_code_of_the_kind_and_none_of_the_other():
    tokenizer = tiny_code_tokenizer()
    diagnoses, medications = (code_list([tokenizer] * 2, kind) for kind in (DIAGNOSIS_TYPE, MEDICATION_TYPE))
    assert (len(diagnoses), len(medications)) == (6, 3)
    assert "ICD10CM:I509" in diagnoses
    assert "ATC:N02A" in medications
    assert [code for _, code in medications.choices] == ["ATC:A02B", "ATC:B01A", "ATC:N02A"]
    assert diagnoses.known(["ATC:N02A", "ICD9CM:4280"]) == ["ICD9CM:4280"]


def test_an_entry_is_taken_as_it_is():
    entry = check("a note", ["ICD9CM:4280", "ICD9CM:4280"], ["ATC:C03C"], ["ICD9CM:25000"])
    assert entry == Entry("a note", ("ICD9CM:4280",), ("ATC:C03C",), ("ICD9CM:25000",))


def test_empty_fields_may_be_missing():
    assert checked_entry("heart", None, None, None, DIAGNOSES, MEDICATIONS) == Entry("heart")
    assert check(None, ["ICD9CM:4280"]).note == ""


def test_what_no_tokenizer_takes_is_replaced():
    assert check("a\0b\ud800c").note == "a b?c"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"note": SENTINEL * (1 + MAX_NOTE_CHARACTERS // len(SENTINEL))}, "too long"),
        ({"note": [SENTINEL]}, "expected text"),
        ({"note": "   "}, "nothing to read"),
        ({"diagnoses": [SENTINEL]}, "cannot be picked"),
        ({"medications": ["ICD9CM:4280"]}, "cannot be picked"),
        ({"following": [[SENTINEL]]}, "cannot be picked"),
        ({"diagnoses": ["ICD9CM:4280"] * (MAX_CODES + 1)}, "too many diagnoses"),
    ],
)
def test_a_wrong_entry_is_refused_without_being_quoted(fields, word):
    with pytest.raises(InputError, match=word) as refusal:
        check(**fields)
    assert SENTINEL not in str(refusal.value)


def test_a_note_of_the_greatest_length_is_taken():
    assert len(check("a" * MAX_NOTE_CHARACTERS).note) == MAX_NOTE_CHARACTERS


def test_codes_as_one_text_are_refused():
    with pytest.raises(InputError, match="a list of codes"):
        checked_entry("heart", "ICD9CM:4280", None, None, DIAGNOSES, MEDICATIONS)


def test_answers_are_those_of_the_pipelines(folder, predictors):
    coding, readmission, recommendation = predictors.answers(ENTRY)
    visit = ENTRY.visit
    expected = load_pipeline(folder / "readmission")(visit)
    assert readmission.lines[0].probability == pytest.approx(expected["probability"], abs=1e-6)
    assert readmission.lines[0].decision == expected["decision"]
    blind = {**visit, "diagnosis_codes": []}
    for answer, rows in (
        (coding, load_pipeline(folder / "icd_coding")(blind)),
        (
            recommendation,
            load_pipeline(folder / "medication_recommendation")(
                [visit, {"diagnosis_codes": ["ICD9CM:25000"]}]
            ),
        ),
    ):
        assert [line.label for line in answer.lines] == [row["code"] for row in rows][: len(answer.lines)]
        assert answer.lines[0].probability == pytest.approx(rows[0]["probability"], abs=1e-6)
        assert answer.num_predicted == sum(row["decision"] for row in rows)
        assert all(line.threshold == 0.4 for line in answer.lines)


def test_icd_coding_reads_no_diagnoses(predictors):
    with_codes, without = (
        predictors.answers(entry)[0]
        for entry in (ENTRY, Entry(ENTRY.note, (), ENTRY.medication_codes, ENTRY.next_diagnosis_codes))
    )
    assert with_codes.lines == without.lines
    assert not [code for code in with_codes.visit.codes if not code.is_medication]


def test_attention_of_every_answer_sums_to_one(predictors):
    for answer in predictors.answers(ENTRY):
        (importance,) = answer.importances
        for part in ("words", "codes"):
            assert importance.weights[part].sum() + importance.elsewhere[part] == pytest.approx(1, abs=1e-5)
            assert len(importance.weights[part]) == answer.visit.size(part) > 0


def test_recommendation_attends_to_the_pasted_visit_and_follows_the_next_diagnoses(predictors):
    first, other = (
        predictors.answers(Entry(ENTRY.note, ENTRY.diagnosis_codes, ENTRY.medication_codes, following))[2]
        for following in (("ICD9CM:25000",), ("ICD9CM:496",))
    )
    assert first.visit.texts() == ["heart", "and", "lung"]
    assert (first.importances[0].weights["words"] == other.importances[0].weights["words"]).all()
    assert [line.probability for line in first.lines] != [line.probability for line in other.lines]


def test_without_next_diagnoses_nothing_is_recommended(predictors):
    answer = predictors.answers(Entry("heart"))[2]
    assert answer.lines == []
    assert "Pick the diagnoses of the next visit" in results.results([answer])


def test_answers_are_html_without_markup_of_the_visitor(predictors):
    entry = Entry("heart <script>alert(1)</script> ${7*7} {{value}} `x`", ("ICD9CM:4280",), ("ATC:C03C",))
    html = results.results(predictors.answers(entry))
    assert "<script" not in html
    assert "&lt;" in html
    assert not set("${}`") & set(html.replace("&#36;", "").replace("&#123;", "").replace("&#125;", ""))
    assert "http" not in html


def test_models_are_given_one_by_one_too(folder):
    assert tuple(Predictors.load([folder / "readmission"]).pipelines) == ("readmission",)


def test_wrong_folders_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="no fine-tuned model"):
        Predictors.load([tmp_path])
    with pytest.raises(InputError, match="a second model for readmission"):
        Predictors.load([folder, folder / "readmission"])
    with pytest.raises(InputError, match="no such task"):
        Predictors.load([save_predictor("mortality", tmp_path / "mortality")])


def test_examples_are_invented_alike_each_time(predictors):
    lists = [code_list(predictors.code_tokenizers, kind) for kind in (DIAGNOSIS_TYPE, MEDICATION_TYPE)]
    first, again = (invented_examples(*lists, count=2) for _ in range(2))
    assert first == again
    assert len(first) == 2
    for example in first:
        assert checked_entry(example.entry.note, *_codes_of(example.entry), *lists) == example.entry
        assert "Invented" in example.name


def _codes_of(entry):
    return entry.diagnosis_codes, entry.medication_codes, entry.next_diagnosis_codes


def test_the_environment_is_set_whatever_it_was(monkeypatch):
    for name in SETTINGS:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    isolate()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_only_a_space_is_served_to_others(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert server_name() == "127.0.0.1"
    monkeypatch.setenv("SPACE_ID", "lab/medm-plm")
    assert server_name() == "0.0.0.0"


@pytest.mark.parametrize("words", [["--port", "70000"], ["--examples", "-1"], ["--share", "true"]])
def test_wrong_options_are_refused(words, capsys):
    with pytest.raises(SystemExit) as end:
        serving.main(words)
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_without_gradio_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as end:
        run_main(lambda: demo.app.main([]))
    assert end.value.code == 1
    assert "medm-plm[demo]" in capsys.readouterr().err


@pytest.mark.parametrize(("announced", "sizes"), [(b"11", []), (b"", [6, 6])])
def test_large_requests_are_ended_before_they_are_read(announced, sizes):
    taken, sent, bodies = [], [], iter(sizes)

    async def app(scope, receive, send):
        while (message := await receive())["type"] == "http.request":
            taken.append(len(message["body"]))

    async def receive():
        return {"type": "http.request", "body": b"x" * next(bodies), "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": [(b"content-length", announced)]}
    asyncio.run(LimitedRequests(app, limit=10)(scope, receive, send))
    assert taken == sizes[:1]
    assert [message.get("status") for message in sent][:1] == ([] if sizes else [413])


class TestPage:
    """What needs gradio, but no browser."""

    @pytest.fixture
    def page(self):
        pytest.importorskip("gradio", reason="the extra [demo] is not installed")
        from medm_plm.demo import page

        return page

    def test_whatever_fails_is_told_without_the_note(self, page, predictors, monkeypatch, caplog, capsys):
        demonstration = page.Demonstration(predictors)

        def fail(entry):
            raise RuntimeError(f"cannot read {entry.note}")

        monkeypatch.setattr(predictors, "answers", fail)
        with caplog.at_level(logging.DEBUG):
            html = demonstration.predict(SENTINEL, [], [], [])
        assert "failed" in html
        assert "RuntimeError" in caplog.text
        assert SENTINEL not in html + caplog.text + "".join(capsys.readouterr())

    def test_predict_refuses_in_one_sentence(self, page, predictors):
        html = page.Demonstration(predictors).predict("x" * (MAX_NOTE_CHARACTERS + 1), [], [], [])
        assert "too long" in html

    def test_the_page_asks_nothing_of_other_machines(self, page, predictors):
        built = page.build_page(page.Demonstration(predictors))
        options = page.launch_options()
        assert not built.analytics_enabled
        assert options["share"] is False
        assert not any(url for url in options["theme"]._stylesheets)
        assert "http" not in str(options["css"])
        assert all(dependency["api_visibility"] == "private" for dependency in built.config["dependencies"])
