"""Words and codes are found at the right positions, whatever the tokenizer does, and can be deleted."""

import pytest
from explained_models import LABELS_OF_TASK, VISITS, lively_model
from hypothesis import given
from hypothesis import strategies as st

import tiny_processors
from medm_plm.data.tasks import MEDICATION_WINDOWS
from medm_plm.errors import InputError
from medm_plm.explanations.visits import (
    CODES,
    EXPLAINED_TASKS,
    WORDS,
    VisitInputs,
    encode_visit,
    task_inputs,
    visit_inputs,
    words_of,
)
from medm_plm.training.task_examples import task_examples

NOTE = "The newly lower fever, 1.5 mg."


def test_pieces_of_a_word_are_merged():
    processor = tiny_processors.tiny_processor()
    visit = encode_visit(processor, VisitInputs("the lower fever newly"))
    tokens = processor.tokenizer.convert_ids_to_tokens(visit.ids["input_ids"])
    assert tokens == ["[CLS]", "the", "low", "##er", "fever", "new", "##ly", "[SEP]"]
    assert visit.texts() == ["the", "lower", "fever", "newly"]
    assert [word.positions for word in visit.words] == [(1,), (2, 3), (4,), (5, 6)]


def test_a_number_is_one_word_and_a_mark_is_one():
    visit = encode_visit(tiny_processors.tiny_processor(), VisitInputs(NOTE))
    assert visit.texts() == ["The", "newly", "lower", "fever", ",", "1.5", "mg", "."]
    assert len(visit.words[5].positions) == 3


def test_a_piece_over_two_words_makes_one_of_them():
    words = words_of("ab,c d", [(0, 0), (0, 1), (1, 4), (4, 6)])
    assert [(word.start, word.end, word.positions) for word in words] == [(0, 4, (1, 2)), (5, 6, (3,))]


@given(st.text(alphabet="ab1 .,-'\n\u0301é", max_size=30))
def test_every_piece_has_one_word_that_holds_it(note):
    processor = tiny_processors.tiny_processor()
    visit = encode_visit(processor, VisitInputs(note))
    offsets = processor.tokenizer(note, return_offsets_mapping=True)["offset_mapping"]
    owned = [position for word in visit.words for position in word.positions]
    assert owned == list(range(1, len(visit.ids["input_ids"]) - 1))
    for word in visit.words:
        for position in word.positions:
            start, end = offsets[position]
            assert word.start <= start < end <= word.end


def test_long_notes_keep_their_places_across_chunks():
    _, processor = lively_model(max_note_chunks=3, chunk_length=8)
    note = " ".join(VISITS["note"][:4])
    visit = encode_visit(processor, VisitInputs(note))
    pieces = processor.tokenizer.convert_ids_to_tokens(visit.ids["input_ids"])
    assert pieces.count("[CLS]") == 3
    for text, word in zip(visit.texts(), visit.words, strict=True):
        assert "".join(pieces[p].removeprefix("##") for p in word.positions) == text
    assert 0 < visit.num_read < len(note)


def test_codes_stand_at_their_positions():
    processor = tiny_processors.tiny_processor()
    inputs = VisitInputs(
        "", ("428.0", "ICD9CM:4280", "ICD9CM:0381", "ICD9CM:0389", ""), ("N02A", "Q99X", "q99.x", "Z99")
    )
    visit = encode_visit(processor, inputs)
    tokens = processor.code_tokenizer.convert_ids_to_tokens(visit.ids["code_input_ids"])
    assert [code.code for code in visit.codes] == [
        "428.0",
        "ICD9CM:0381",
        "ICD9CM:0389",
        "N02A",
        "Q99X",
        "Z99",
    ]
    assert [tokens[code.position] for code in visit.codes] == [code.token for code in visit.codes]
    assert [code.token for code in visit.codes] == [
        *("ICD9CM:4280", "ICD9CM:038", "ICD9CM:0389", "ATC:N02A", "[UNK]", "[UNK]")
    ]  # fmt: skip
    assert [code.position for code in visit.codes] == [1, 2, 3, 4, 5, 6]
    assert [code.is_medication for code in visit.codes] == [False] * 3 + [True] * 3


def test_codes_that_were_cut_off_are_none():
    processor = tiny_processors.tiny_processor()
    many = tuple(f"ICD9CM:{number:03}" for number in range(1, 90))
    visit = encode_visit(processor, VisitInputs("", many, ("N02A",)))
    assert len(visit.codes) == len(visit.ids["code_input_ids"]) - 1 < 90
    assert (visit.codes[0].code, visit.codes[-1].code) == (many[0], "N02A")


def test_deleted_words_go_and_nothing_else():
    visit = encode_visit(tiny_processors.tiny_processor(), VisitInputs(NOTE, ("ICD9CM:4280",)))
    left = visit.without(WORDS, [2, 5])
    assert left.note.split() == ["The", "newly", "fever,", "mg."]
    assert left.diagnosis_codes == ("ICD9CM:4280",)
    joined = encode_visit(tiny_processors.tiny_processor(), VisitInputs("pain,fever"))
    assert joined.without(WORDS, [1]).note == "pain fever", "words around a deleted mark stay two"


def test_a_deletion_lets_the_model_read_no_further():
    _, processor = lively_model(max_note_chunks=1, chunk_length=8)
    visit = encode_visit(processor, VisitInputs(" ".join(VISITS["note"][:4])))
    left = encode_visit(processor, visit.without(WORDS, [0]))
    assert left.texts() == visit.texts()[1:]


def test_deleted_codes_go_and_nothing_else():
    inputs = VisitInputs("the", ("ICD9CM:4280", "ICD9CM:0389"), ("ATC:N02A", "ATC:B01A"))
    visit = encode_visit(tiny_processors.tiny_processor(), inputs)
    assert visit.without(CODES, [0, 3]) == VisitInputs("the", ("ICD9CM:0389",), ("ATC:N02A",))


@pytest.mark.parametrize("task", EXPLAINED_TASKS)
@pytest.mark.parametrize("window", MEDICATION_WINDOWS)
def test_a_visit_gives_what_the_task_reads_in_training(task, window):
    examples = task_examples(
        task, VISITS, "train", LABELS_OF_TASK[task], balanced=False, medication_window=window
    ).visits
    raw = {row["hadm_id"]: row for row in VISITS.iter_rows(named=True)}
    for row in examples.iter_rows(named=True):
        assert task_inputs(task, raw[row["hadm_id"]], window) == visit_inputs(row)


def test_a_task_that_cannot_be_explained_is_named():
    with pytest.raises(InputError, match="received medication_recommendation"):
        task_inputs("medication_recommendation", {})
