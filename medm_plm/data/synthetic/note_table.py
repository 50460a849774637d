"""Rows of MIMIC-III's NOTEEVENTS for a block of invented visits."""

import numpy as np
import polars as pl

from medm_plm.data.synthetic import note_phrases as words
from medm_plm.data.synthetic.dates import VisitDates, timestamps
from medm_plm.data.synthetic.note_writer import Chance, NoteWriter
from medm_plm.data.synthetic.visit_block import VisitBlock

_NO_SUMMARY_SHARE = 0.005
_ERROR_SHARE = 0.01  # a summary of another patient, filed by mistake and marked so
_REPORT_SHARE = 0.15

_SUMMARY = ("Discharge summary", "Report")
_ADDENDUM = ("Discharge summary", "Addendum")
_RADIOLOGY = ("Radiology", "CHEST (PORTABLE AP)")


def notes_table(block: VisitBlock, sex: np.ndarray, dates: VisitDates, chance: Chance) -> pl.DataFrame:
    """Build the rows of NOTEEVENTS, without ROW_ID: discharge summaries, addenda, errors, some radiology.

    Args:
        block (`VisitBlock`): visits.
        sex (`np.ndarray` of shape `(patients,)`): "F" or "M".
        dates (`VisitDates`): identifiers and times.
        chance (`Chance`): source of chance.

    Returns:
        One row for each note.
    """
    writer = NoteWriter(block, sex, chance)
    admitted, discharged = dates.admitted.tolist(), dates.discharged.tolist()
    born = dates.born.tolist()
    rows: list[tuple[int, tuple[str, str], str, str]] = []
    previous = ""
    for visit in range(len(block)):
        note = writer.write(visit, admitted[visit], discharged[visit], born[block.patient[visit]])
        if chance.happens(_REPORT_SHARE):
            rows.append((visit, _RADIOLOGY, "", chance.pick(words.REPORTS)))
        if previous and chance.happens(_ERROR_SHARE):
            rows.append((visit, _SUMMARY, "1", previous))
        if not chance.happens(_NO_SUMMARY_SHARE):
            rows.append((visit, _SUMMARY, "", note.summary))
            if note.addendum:
                rows.append((visit, _ADDENDUM, "", note.addendum))
        previous = note.summary
    return _frame(rows, dates)


def _frame(rows: list[tuple[int, tuple[str, str], str, str]], dates: VisitDates) -> pl.DataFrame:
    visit = np.array([row[0] for row in rows], dtype=np.int64)
    day = timestamps(dates.discharged[visit].astype("datetime64[D]"))
    return pl.DataFrame(
        {
            "SUBJECT_ID": dates.subject_id[visit],
            "HADM_ID": dates.hadm_id[visit],
            "CHARTDATE": [text[:10] for text in day.tolist()],
            "CHARTTIME": pl.repeat(None, len(rows), dtype=pl.String, eager=True),
            "STORETIME": pl.repeat(None, len(rows), dtype=pl.String, eager=True),
            "CATEGORY": [row[1][0] for row in rows],
            "DESCRIPTION": [row[1][1] for row in rows],
            "CGID": pl.repeat(None, len(rows), dtype=pl.String, eager=True),
            "ISERROR": [row[2] or None for row in rows],
            "TEXT": [row[3] for row in rows],
        },
        schema_overrides={"ISERROR": pl.String},
    )
