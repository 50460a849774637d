"""The columns in which a block of invented visits is held while it is made and written."""

from dataclasses import dataclass, fields

import numpy as np

MAX_VISITS = 12
# How a note treats a condition that is there.
SILENT, HINTED, NAMED = 0, 1, 2
# In place of an option's number: never taken; given up; (for changes) nothing is changed.
NEVER, STOPPED, UNCHANGED = -1, -2, -3
READMISSION_WINDOW_HOURS = 30 * 24


@dataclass
class VisitBlock:
    """Visits of a block of patients, one row each, ordered by patient and time.

    Args:
        patient (`np.ndarray` of shape `(visits,)`): position of the patient in the block.
        number (`np.ndarray` of shape `(visits,)`): number of the visit, from 0.
        age (`np.ndarray` of shape `(visits,)`): years at admission.
        active, severe, recorded (`np.ndarray` of shape `(visits, conditions)`): present, severe, coded.
        code_draw (`np.ndarray` of shape `(visits, conditions)`): chance in [0, 1) that picks among codes.
        mention (`np.ndarray` of shape `(visits, conditions)`): `SILENT`, `HINTED` or `NAMED` in the note.
        traits, events (`np.ndarray` of shape `(visits, traits)`): known at admission; new in this stay.
        circumstances (`np.ndarray` of shape `(visits, circumstances)`): facts about life and stay.
        home (`np.ndarray` of shape `(visits, decisions)`): option taken before, or `NEVER`, `STOPPED`.
        given (`np.ndarray` of shape `(visits, options)`): drugs given.
        changes (`np.ndarray` of shape `(visits, decisions)`): option to be taken after discharge, or
            `STOPPED`, `UNCHANGED`.
        class_probability (`np.ndarray` of shape `(visits, classes)`): true chance of each class.
        readmission_probability (`np.ndarray` of shape `(visits,)`): true chance of return within 30 days.
        died (`np.ndarray` of shape `(visits,)`): death in hospital.
        elective (`np.ndarray` of shape `(visits,)`): planned admission.
        stay_hours, gap_hours (`np.ndarray` of shape `(visits,)`): length of stay; time until the next
            admission, NaN if there is none.
    """

    patient: np.ndarray
    number: np.ndarray
    age: np.ndarray
    active: np.ndarray
    severe: np.ndarray
    recorded: np.ndarray
    code_draw: np.ndarray
    mention: np.ndarray
    traits: np.ndarray
    events: np.ndarray
    circumstances: np.ndarray
    home: np.ndarray
    given: np.ndarray
    changes: np.ndarray
    class_probability: np.ndarray
    readmission_probability: np.ndarray
    died: np.ndarray
    elective: np.ndarray
    stay_hours: np.ndarray
    gap_hours: np.ndarray

    def __len__(self) -> int:
        return len(self.patient)

    def rows(self, order: np.ndarray) -> "VisitBlock":
        """Return the chosen rows in the order given.

        Args:
            order (`np.ndarray`): row numbers or a mask.

        Returns:
            A new block.
        """
        return VisitBlock(*(getattr(self, field.name)[order] for field in fields(self)))

    @staticmethod
    def joined(blocks: list["VisitBlock"]) -> "VisitBlock":
        """Return the rows of several blocks, ordered by patient and time.

        Args:
            blocks (`list[VisitBlock]`): at least one.

        Returns:
            A new block.
        """
        columns = (np.concatenate([getattr(b, field.name) for b in blocks]) for field in fields(VisitBlock))
        visits = VisitBlock(*columns)
        return visits.rows(np.lexsort((visits.number, visits.patient)))
