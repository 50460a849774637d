"""The invented discharge summaries say what they must, in varied words, and do not say the rest."""

import re
from datetime import datetime

import numpy as np
import pytest

from medm_plm.data.synthetic import knowledge as k
from medm_plm.data.synthetic.drugs import DRUGS
from medm_plm.data.synthetic.note_writer import Chance, NoteWriter
from medm_plm.data.synthetic.patient_facts import CIRCUMSTANCES, TRAITS
from medm_plm.data.synthetic.simulation import simulate
from medm_plm.data.synthetic.visit_block import NAMED, UNCHANGED

ADMITTED, DISCHARGED, BORN = datetime(2151, 7, 16), datetime(2151, 7, 20), datetime(2080, 3, 4)


@pytest.fixture(scope="module")
def visits():
    sex, block = simulate(300, np.random.default_rng(1))
    return sex, block


@pytest.fixture(scope="module")
def notes(visits):
    sex, block = visits
    writer = NoteWriter(block, sex, Chance(0))
    return [writer.write(row, ADMITTED, DISCHARGED, BORN) for row in range(len(block))]


def says(note, phrases):
    text = (note.summary + note.addendum).lower()
    return any(phrase.lower() in text for phrase in phrases)


def test_length_and_shape_are_those_of_a_short_summary(notes):
    words = np.array([len(note.summary.split()) for note in notes])
    assert np.percentile(words, 1) > 60
    assert np.percentile(words, 99) < 260
    assert 110 < np.median(words) < 190
    for note in notes:
        assert note.summary.startswith("Admission Date:  [**2151-7-16**]")
        for heading in ("history of present illness:|hpi:", "past medical history:|pmh:", "allergies"):
            assert re.search(heading, note.summary.lower())


def test_sections_come_in_several_orders(notes):
    first = {re.findall(r"^([A-Z][\w /]+):$", note.summary, re.MULTILINE)[0].lower() for note in notes}
    assert len(first) >= 4


def test_decimals_and_markers_occur(notes):
    text = " ".join(note.summary for note in notes)
    assert re.search(r"\b\d+\.\d+ mg", text)
    assert "[**Last Name (STitle)" in text


def test_every_circumstance_that_holds_is_written_and_none_that_does_not(visits, notes):
    _, block = visits
    for row, note in enumerate(notes):
        for fact, present in zip(CIRCUMSTANCES, block.circumstances[row], strict=True):
            if block.died[row] and fact.section == "discharge":
                continue
            assert says(note, fact.present) == present, fact.key


def test_traits_are_mostly_stated_and_their_first_appearance_always(visits, notes):
    _, block = visits
    stated = [
        says(notes[row], TRAITS[index].history) for row, index in zip(*np.nonzero(block.traits), strict=True)
    ]
    assert 0.88 < np.mean(stated) < 0.99
    for row, index in zip(*np.nonzero(block.events), strict=True):
        assert says(notes[row], TRAITS[index].event)


def test_what_changes_at_discharge_is_written(visits, notes):
    _, block = visits
    checked = 0
    for row, decision in zip(*np.nonzero(block.changes != UNCHANGED), strict=True):
        if block.died[row]:
            continue
        option = block.changes[row, decision]
        frames = ("start {}", "begin {}", "{} to be added", "replaced by {}", "to {}")
        if option >= 0:
            name = DRUGS[k.OPTION_DRUG[option]].spoken
            assert says(notes[row], [frame.format(name) for frame in frames])
        else:
            assert says(notes[row], ["stop ", "discontinued", "do not resume"])
        checked += 1
    assert checked > 50


def test_named_conditions_are_named_and_many_present_ones_are_not(visits, notes):
    _, block = visits
    named = unnamed = 0
    for row, index in zip(*np.nonzero(block.active), strict=True):
        if block.mention[row, index] == NAMED:
            assert says(notes[row], k.CONDITIONS[index].wordings)
            named += 1
        else:
            unnamed += not says(notes[row], k.CONDITIONS[index].wordings)
    assert unnamed > 0.3 * named


def test_negations_and_relatives_use_the_same_words(notes):
    text = " ".join(note.summary for note in notes)
    assert len(re.findall(r"No evidence of|Ruled out for|Denies any history of", text)) > 30
    assert len(re.findall(r"(?:Father|Mother|Brother|Sister) (?:with|has|had)", text)) > 30


def test_addenda_move_a_fact_out_of_the_summary(notes):
    with_addendum = [row for row, note in enumerate(notes) if note.addendum]
    assert 0.02 < len(with_addendum) / len(notes) < 0.12
    for row in with_addendum:
        assert notes[row].addendum.split("\n")[1].rstrip(".").lower() not in notes[row].summary.lower()


def test_chance_is_uniform_and_repeats():
    chance = Chance(4)
    drawn = [chance.integer(1, 3) for _ in range(3000)]
    assert np.bincount(drawn)[1:] == pytest.approx([1000, 1000, 1000], rel=0.1)
    assert drawn[:20] == [Chance(4).integer(1, 3) for _ in range(1)] + drawn[1:20]
    assert sorted(chance.mix("abc")) == ["a", "b", "c"]
    assert Chance(9).pick(range(1000)) == Chance(9).pick(range(1000))
