"""Headings are found, sections cover the note, and nothing of discharge counts as known at admission."""

import importlib.util
import random
import sys

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medm_plm.data.sections import ADMISSION_SECTIONS, admission_sections, admission_text, split_sections
from medm_plm.data.sections import lines as section_lines
from medm_plm.data.sections import within_lines as headings_within_lines
from medm_plm.data.sections.headings import SectionName, begins_like_known, may_be_known, recognise


@pytest.fixture(scope="module")
def benchmark(project_root):
    """The benchmark, which holds the reader of the marked notes and the scores."""
    spec = importlib.util.spec_from_file_location(
        "sections_benchmark", project_root / "benchmarks/sections.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def headings(note):
    """Names and headings as written, without the text before the first one."""
    return [(str(section.name), section.heading) for section in split_sections(note) if section.heading]


# What notes are made of, in a few pieces, so that hypothesis meets every rule often.
PIECES = (
    "\n", "\n\n", "\r\n", " ", ":", ". ", "- ", "# ", "1. ", "*", "HPI", "Past Medical", "History", "PMH",
    "illness",
    "Medications", "on", "Admission", "ADMISSION", "Discharge", "DISCHARGE", "Hospital Course", "Addendum",
    "Physical Exam", "Allergies", "NKDA", "aspirin 81 mg", "Na: 135", "followup", "ISSUES", "the",
    "\u2013", "\u00e9\u4e2d", "x" * 80,
)  # fmt: skip
NOTES = st.one_of(st.lists(st.sampled_from(PIECES), max_size=60).map("".join), st.text(max_size=200))


@settings(max_examples=300, deadline=None)
@given(NOTES)
def test_headings_and_bodies_are_the_note(note):
    sections = split_sections(note)
    assert "".join(section.heading + note[section.start : section.end] for section in sections) == note
    assert all(section.start <= section.end for section in sections)
    assert sections[0].name == "header"
    assert sections[0].heading == ""
    assert all(section.heading for section in sections[1:])
    internal = {SectionName.EXAMINATION_PART, SectionName.ADMISSION_MARK, SectionName.DISCHARGE_MARK}
    assert internal.isdisjoint(section.name for section in sections)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | NOTES, max_size=5))
def test_the_column_function_equals_the_sections(notes):
    column = pl.DataFrame({"note": pl.Series(notes, dtype=pl.String)}).select(admission_text(pl.col("note")))
    expected = []
    for note in notes:
        kept = [
            (section.heading + note[section.start : section.end]).strip()
            for section in split_sections(note or "")
            if section.name in ADMISSION_SECTIONS and note[section.start : section.end].strip()
        ]
        expected.append("\n".join(kept))
    assert column["note"].to_list() == expected


def test_the_column_function_works_lazily_and_on_nothing():
    lazy = pl.LazyFrame({"note": ["HPI: fell", None]}).select(admission_text(pl.col("note")))
    assert lazy.collect()["note"].to_list() == ["HPI: fell", ""]
    empty = pl.DataFrame(schema={"note": pl.String}).select(admission_text(pl.col("note")))
    assert empty.schema == {"note": pl.String}


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("History of Present Illness:", "history_of_present_illness"),
        ("HPI", "history_of_present_illness"),
        ("PAST MEDICAL HISTORY", "past_medical_history"),
        ("Past Medcial Hx:", "past_medical_history"),
        ("PASTMEDICAL HISTORY", "past_medical_history"),
        ("PMHx", "past_medical_history"),
        ("Medications on Admission:", "medications_on_admission"),
        ("ADMISSION MEDICATIONS:", "medications_on_admission"),
        ("MEDICATIONS AT HOME:", "medications_on_admission"),
        ("Preadmission meds", "medications_on_admission"),
        ("Medications:", "medications"),
        ("Medications on admission and discharge:", None),
        ("Discharge Medications:", "discharge_medications"),
        ("Meds at time of d/c", "discharge_medications"),
        ("Allergies:", "allergies"),
        ("BRIEF HOSPITAL COURSE:", "hospital_course"),
        ("Hospital Course by systems", "hospital_course"),
        ("CONCISE SUMMARY OF HOSPITAL COURSE:", "hospital_course"),
        ("History of present illness and hospital course:", "hospital_course"),
        ("DISCHARGE DIAGNOSIS", "discharge_diagnosis"),
        ("Discharge Condition:", "discharge_condition"),
        ("Discharge Instructions:", "discharge_instructions"),
        ("Followup Instructions:", "follow_up"),
        ("Social History:", "social_history"),
        ("Family History:", "family_history"),
        ("Physical Exam:", "physical_examination"),
        ("Physical Exam on discharge", "discharge_physical_examination"),
        ("Physical examination on admission", "admission_physical_examination"),
        ("Pertinent Results:", "results"),
        ("Major Surgical or Invasive Procedure:", "procedures"),
        ("Chief Complaint:", "chief_complaint"),
        ("Cheif Complaint", "chief_complaint"),
        ("Alergies:", "allergies"),
        ("Lalergies:", "allergies"),
        ("Hosptial Course:", "hospital_course"),
        ("Dsicharge Diagnosis:", "discharge_diagnosis"),
        ("Review of systems", "review_of_systems"),
        ("Service:", "service"),
        ("Xyz addendum", "addendum"),
        ("Xyz hospital course", "hospital_course"),
        ("Xyz discharge medications", "discharge_medications"),
        ("Hypertension", None),
        ("", None),
    ],
)
def test_headings_are_recognised(heading, name):
    assert recognise(heading) == name
    assert may_be_known(heading) or name is None
    assert begins_like_known(heading) or name is None


HEADING_WORDS = (
    "history", "HISTORY", "past medical", "of", "present", "illness", "course", "hosptial", "Hospital", "by",
    "discharge", "MEDICATIONS", "d/c", "a/p", "addendum", "Adendum", "chief", "complaint", "PASTMEDICAL",
    "chiefcomplaint", "on", "the", "admission", "plan", "ROS", "family", "xyz", "He", "was", "- ", ",", "3",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(HEADING_WORDS), min_size=1, max_size=7).map(" ".join), st.sampled_from(":\0"))
def test_the_cheap_look_never_hides_a_heading(phrase, colon):
    colon = colon.strip("\0")
    read = section_lines.read_line.__wrapped__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(section_lines, "begins_like_known", lambda line: True)
        expected = read(phrase, colon)
    assert read(phrase, colon) == expected


def test_headings_within_lines_are_those_of_one_search_through_all_lines():
    pieces = (
        "\n", "\n", "\r\n", " ", " ", ": ", ". ", "Discharge", "DISCHARGE", "discharge", "Medications", "D/C",
        "d/c", "On", "the day of", "Hospital course", "Brief ", "COURSE", "ED ", "Follow-up", "followup",
        "addendum", "Addendum", "condition", "Exam", "DI\u017fCHARGE", "on D\u0131\u0130SCHARGE",
        "cour\u017fe", "following", "he ate", "x" * 45,
    )  # fmt: skip
    hints = ("discharge", "d/c", "course", "addendum", "follow")
    chance = random.Random(3)
    num_found = 0
    for _ in range(4000):
        text = "".join(piece + chance.choice(("", " ")) for piece in chance.choices(pieces, k=25))
        start = chance.randint(0, len(text) // 2)
        end = chance.randint(start, len(text))
        hinted = any(hint in text[start:end].lower() for hint in hints)
        expected = headings_within_lines._IN_LINE.search(text, start, end) if hinted else None
        match = headings_within_lines.heading_within_lines(text, start, end)
        assert (match and match.regs) == (expected and expected.regs)
        num_found += match is not None
    assert num_found > 500


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("Allergies: none. Past history of MI:\nin 1990", [("allergies", "Allergies:")]),
        ("PMH: gout\nNa: 135\nSex: M", [("past_medical_history", "PMH:"), ("header", "Sex:")]),
        ("Past Medical\nHistory:\ngout", [("past_medical_history", "Past Medical\nHistory:")]),
        ("PMH\r\ngout", [("past_medical_history", "PMH")]),
        ("PMH - none", [("past_medical_history", "PMH -")]),
        ("SOCIAL HISTORY He smokes.", [("social_history", "SOCIAL HISTORY")]),
        ("He takes no\nmedications.", []),
        (f"{'w' * 60} his family\nhistory: unknown", []),
        ("family history: unknown", [("family_history", "family history:")]),
        ("PMH:\nCOPD\nATRIAL FIBRILLATION\nHTN: on lisinopril", [("past_medical_history", "PMH:")]),
        ("SOCIAL HISTORY:\nCook.\nTOBACCO: never", [("social_history", "SOCIAL HISTORY:")]),
        ("PMH:\ngout\nNeuro: weaned", [("past_medical_history", "PMH:"), ("other", "Neuro:")]),
    ],
)  # fmt: skip
def test_headings_stand_at_the_beginning_of_a_line(note, expected):
    assert headings(note) == expected


def test_sub_headings_take_their_meaning_from_the_section():
    note = (
        "Physical Exam:\nOn admission:\nNEURO: weak\nAt discharge:\nNEURO: well\nLabs:\nOn admission:\nNa 130"
    )
    assert [name for name, _ in headings(note)] == [
        "physical_examination",
        "admission_physical_examination",
        "discharge_physical_examination",
        "results",
    ]
    assert admission_sections(note) == "On admission:\nNEURO: weak"


SECRET = "SECRETDRUG"


@pytest.mark.parametrize(
    "before",
    [
        "HPI: fell",
        "Past Medical History:\ngout",
        "Medications on Admission:\naspirin",
        "ALLERGIES: none",
        "Admission Physical Exam:\nHEENT: dry",
    ],
)
@pytest.mark.parametrize(
    "behind",
    [
        "Discharge Medications:\n{}",
        "DISCHARGE MEDICATIONS {} daily",
        "discharge medications\n{}",
        "Dishcarge Medications: {}",
        "Discharge medications were changed to the following: {}",
        "- Discharge meds: {}",
        "Meds on d/c: {}",
        "MEDICATIONS:\n{}",
        "Brief Hospital Course:\ngiven {}",
        "Hospital course was marked by {}",
        "HOSPITAL COURSE {} was given",
        "MICU COURSE: {}",
        "[**Hospital 1**] Course: {}",
        "TRANSITIONAL ISSUES\n{}",
        "Active issues\n{}",
        "# Sepsis: {}",
        "NEVER SEEN BEFORE: {}",
        "Never Seen Before:\n{}",
        "\nNEVER SEEN BEFORE\n{}",
        "Consults: cardiology advised {}",
        "Exam on discharge: {}",
        "Physical Exam on discharge\n{}",
        "Physical Exam:\n{}",
        "On discharge, {}",
        "Upon discharge {}",
        "He ate well. On the day of discharge {} was given",
        "and stable. Discharge Medications: {}",
        "and stable. HOSPITAL COURSE: {}",
        "Pertinent Results:\n{}",
        "Follow-up: {}",
        "Disposition: {}",
        "A/P: {}",
        "Addendum: {}\nPast Medical History:\n{}\nMedications on Admission:\n{}",
        "ADDENDUM [**2101-1-1**]\n{}\nAllergies: {}",
        "Addendum [**2101-1-1**]\nHPI: {}",
        "Discharge Medications:\nx\nAddendum [**2101-1-1**]\nHPI: {}",
        "Discharge Medications:\nx\nHome Medications:\n{}",
        "Hospital Course:\nx\nHome meds: resumed {}",
        "History of present illness and hospital course:\n{}",
        "Medications on admission and on discharge: {}",
    ],
)
def test_nothing_of_discharge_comes_in(before, behind):
    note = f"{before}\n{behind.replace('{}', SECRET)}\n"
    kept = admission_sections(note)
    assert kept.startswith(before.split("\n")[0])
    assert SECRET not in kept


def test_what_was_known_at_admission_is_kept():
    note = (
        "Admission Date: x\nHPI:\nIn the ED, initial vitals: 98. ED course: fluids\n\n"
        "PMH:\nCAD\nHTN: treated\nSocial History:\nTobacco: none\nAllergies:\n\nAttending: y\n"
        "Hospital Course:\nz\nMedications on Admission:\naspirin\nDischarge Medications:\nz\n"
    )  # fmt: skip
    assert admission_sections(note) == (
        "HPI:\nIn the ED, initial vitals: 98. ED course: fluids\nPMH:\nCAD\nHTN: treated\n"
        "Social History:\nTobacco: none\nMedications on Admission:\naspirin"
    )


@pytest.mark.parametrize(
    ("name", "num_notes", "precision", "recall"), [("tuned", 20, 0.99, 0.99), ("held_out", 10, 0.96, 0.98)]
)
def test_headings_of_invented_notes_are_found(benchmark, name, num_notes, precision, recall):
    notes = benchmark.fixtures(name)
    assert len(notes) == num_notes
    *_, overall = benchmark.score_rows(notes)
    assert overall[2] >= precision
    assert overall[3] >= recall


@pytest.mark.parametrize(("name", "share"), [("tuned", 0.99), ("held_out", 0.95)])
def test_admission_of_invented_notes_is_kept_and_nothing_else(benchmark, name, share):
    kept, missed, leaked = benchmark.admission_characters(benchmark.fixtures(name))
    assert leaked == 0
    assert kept / (kept + missed) >= share


def test_headings_of_visit_notes_are_found(benchmark, test_data_folder):
    notes = benchmark.aci_bench()
    if not notes:
        pytest.skip(f"no ACI-BENCH in {test_data_folder}")
    *_, overall = benchmark.score_rows(notes)
    assert overall[2] >= 0.98
    assert overall[3] >= 0.99
