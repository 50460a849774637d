"""Patients, admissions and diagnoses by chance, in the numbers of MIMIC-III, for `full_size_tables.py`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from medm_plm.data.synthetic.dates import timestamps
from medm_plm.data.synthetic.knowledge import CONDITIONS
from medm_plm.ontologies.icd9 import CHAPTERS

NUM_CODES = 6_984
MOST_DIAGNOSES = 61  # of one visit
_MOST_ADMISSIONS = 42
_SEVERAL_ADMISSIONS = 7_537 / 46_520  # of the patients
_NEWBORNS = 7_863 / 46_520
_WITHOUT_PRESCRIPTIONS = 0.13  # of the adults' admissions, and more of the newborns'
_NOT_A_TIME = np.datetime64("NaT")


@dataclass(frozen=True)
class Cohort:
    """The admissions, one row each, ordered by patient and time.

    Args:
        patient (`np.ndarray` of shape `(visits,)`): row of the patient.
        admitted, discharged (`np.ndarray` of shape `(visits,)`): `datetime64[m]`.
        hadm_id (`np.ndarray` of shape `(visits,)`): numbers without repeats, in no order.
        died (`np.ndarray` of shape `(visits,)`): whether the patient died during the admission.
        kind (`np.ndarray` of shape `(visits,)`): EMERGENCY, ELECTIVE, URGENT or NEWBORN.
        born (`np.ndarray` of shape `(patients,)`): `datetime64[D]`.
        sex (`np.ndarray` of shape `(patients,)`): F or M.
        text (`pl.DataFrame`): the other columns of ADMISSIONS.
    """

    patient: np.ndarray
    admitted: np.ndarray
    discharged: np.ndarray
    hadm_id: np.ndarray
    died: np.ndarray
    kind: np.ndarray
    born: np.ndarray
    sex: np.ndarray
    text: pl.DataFrame

    @property
    def num_visits(self) -> int:
        return self.patient.size

    @cached_property
    def subject_id(self) -> np.ndarray:
        """Number of each visit's patient."""
        return self.patient * 2 + 3

    @cached_property
    def stay_days(self) -> np.ndarray:
        """Whole days of each visit, 0 or more."""
        days = (self.discharged - self.admitted) / np.timedelta64(1, "D")
        return np.maximum(0, days.astype(np.int64))

    def patients_table(self) -> pl.DataFrame:
        """Build the rows of PATIENTS, without ROW_ID."""
        last = np.append(np.flatnonzero(np.diff(self.patient)), self.num_visits - 1)
        dead = self.died[last]
        death = timestamps(np.where(dead, self.discharged[last], _NOT_A_TIME).astype("datetime64[D]"))
        table = {
            "SUBJECT_ID": np.arange(self.born.size) * 2 + 3,
            "GENDER": self.sex,
            "DOB": timestamps(self.born),
            "DOD": death,
            "DOD_HOSP": death,
            "DOD_SSN": death,
            "EXPIRE_FLAG": dead.astype(np.int64),
        }
        return pl.DataFrame(table).with_columns(pl.col(pl.String).replace("", None))

    def admissions_table(self) -> pl.DataFrame:
        """Build the rows of ADMISSIONS, without ROW_ID."""
        emergency = self.kind == "EMERGENCY"
        arrived = self.admitted - np.timedelta64(217, "m")
        times = {
            "SUBJECT_ID": self.subject_id,
            "HADM_ID": self.hadm_id,
            "ADMITTIME": timestamps(self.admitted),
            "DISCHTIME": timestamps(self.discharged),
            "DEATHTIME": timestamps(np.where(self.died, self.discharged, _NOT_A_TIME)),
            "ADMISSION_TYPE": self.kind,
        }
        emergency_room = {
            "EDREGTIME": timestamps(np.where(emergency, arrived, _NOT_A_TIME)),
            "EDOUTTIME": timestamps(np.where(emergency, self.admitted, _NOT_A_TIME)),
        }
        flags = {
            "HOSPITAL_EXPIRE_FLAG": self.died.astype(np.int64),
            "HAS_CHARTEVENTS_DATA": np.ones(self.num_visits, dtype=np.int64),
        }
        before_reason, reason = self.text.drop("DIAGNOSIS"), self.text.select("DIAGNOSIS")
        parts = [
            pl.DataFrame(times),
            before_reason,
            pl.DataFrame(emergency_room),
            reason,
            pl.DataFrame(flags),
        ]
        return pl.concat(parts, how="horizontal").with_columns(pl.col(pl.String).replace("", None))

    def draw_diagnoses(
        self, num_rows: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give the visits codes with a long tail, each once in a visit.

        Args:
            num_rows (`int`): codes of all visits together.
            rng (`np.random.Generator`): source of chance.

        Returns:
            Visit, code and position of each row.
        """
        weights = rng.gamma(3.0, 1.0, self.num_visits) + 0.15
        visit = np.repeat(
            np.arange(self.num_visits), share_out(num_rows, weights, low=1, high=MOST_DIAGNOSES, rng=rng)
        )
        shares = (np.arange(NUM_CODES) + 11.0) ** -1.3  # the most frequent stands on 3 of 100 rows
        code = rng.choice(NUM_CODES, num_rows, p=shares / shares.sum())
        for _ in range(50):
            _, first = np.unique(visit * NUM_CODES + code, return_index=True)
            again = np.ones(num_rows, dtype=bool)
            again[first] = False
            if not again.any():
                break
            code[again] = rng.integers(0, NUM_CODES, int(again.sum()))
        position = np.arange(num_rows) - np.searchsorted(visit, visit) + 1
        return visit, diagnosis_codes(rng)[code], position

    def draw_prescription_counts(self, num_rows: int, rng: np.random.Generator) -> np.ndarray:
        """Give the visits numbers of prescriptions, of which some have none."""
        missing = np.where(self.kind == "NEWBORN", 0.6, _WITHOUT_PRESCRIPTIONS)
        has_some = rng.random(self.num_visits) >= missing
        weights = (self.stay_days + 2.0) ** 0.7 * rng.lognormal(0.0, 0.6, self.num_visits)
        counts = np.zeros(self.num_visits, dtype=np.int64)
        counts[has_some] = share_out(num_rows, weights[has_some], low=1, high=1_700, rng=rng)
        return counts

    def draw_visits(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Choose visits for notes, long stays more often, and order them by patient."""
        weights = (self.stay_days + 1.0) / (self.stay_days + 1.0).sum()
        return np.sort(rng.choice(self.num_visits, count, p=weights))

    def draw_visits_with_summary(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Choose different visits for discharge summaries; most of those without one are newborns'."""
        weights = np.where(self.kind == "NEWBORN", 0.6, 1.0)
        weights = weights / weights.sum()
        return rng.permutation(rng.choice(self.num_visits, count, replace=False, p=weights))


def share_out(total: int, weights: np.ndarray, low: int, high: int, rng: np.random.Generator) -> np.ndarray:
    """Split a number into whole parts about in proportion to weights, each within bounds.

    Args:
        total (`int`): what the parts add up to.
        weights (`np.ndarray`): positive numbers.
        low (`int`): smallest part.
        high (`int`): largest part.
        rng (`np.random.Generator`): source of chance.

    Returns:
        The parts.
    """
    if not low * weights.size <= total <= high * weights.size:
        raise ValueError(f"{total} cannot be shared out to {weights.size} parts of {low} to {high}")
    parts = np.full(weights.size, low, dtype=np.int64)
    while rest := total - int(parts.sum()):
        room = np.where(parts < high, weights, 0.0)
        parts = np.minimum(high, parts + rng.multinomial(rest, room / room.sum()))
    return parts


def draw_cohort(num_patients: int, num_visits: int, rng: np.random.Generator) -> Cohort:
    """Draw patients and admissions.

    Args:
        num_patients (`int`): rows of PATIENTS.
        num_visits (`int`): rows of ADMISSIONS.
        rng (`np.random.Generator`): source of chance.

    Returns:
        The cohort.
    """
    several = np.sort(rng.choice(num_patients, round(_SEVERAL_ADMISSIONS * num_patients), replace=False))
    visits_of = np.ones(num_patients, dtype=np.int64)
    extra = num_visits - num_patients
    weights = rng.lognormal(0.0, 1.5, several.size)
    visits_of[several] += share_out(extra, weights, low=1, high=_MOST_ADMISSIONS - 1, rng=rng)
    newborn = (rng.random(num_patients) < _NEWBORNS * 1.15) & (visits_of == 1)
    patient = np.repeat(np.arange(num_patients), visits_of)
    last = np.append(patient[1:] != patient[:-1], True)
    stay = rng.lognormal(np.log(6.5 * 1440), 0.85, num_visits).astype(np.int64)
    gap = rng.lognormal(np.log(150 * 1440), 1.8, num_visits).astype(np.int64).clip(600, 9 * 365 * 1440)
    elapsed = np.cumsum(stay + gap) - (stay + gap)
    first_row = np.searchsorted(patient, np.arange(num_patients))
    elapsed -= elapsed[first_row][patient]
    start = rng.integers(0, 80 * 365 * 1440, num_patients)
    admitted = np.datetime64("2100-06-07T00:00", "m") + (start[patient] + elapsed).astype("timedelta64[m]")
    died = last & (rng.random(num_visits) < 0.125) & ~newborn[patient]
    # As in the release, a few of the dead are discharged, by the clock, before they were admitted.
    wrong = died & (rng.random(num_visits) < 0.016)
    discharged = admitted + np.where(wrong, -300, stay).astype("timedelta64[m]")
    kinds = rng.choice(["EMERGENCY", "ELECTIVE", "URGENT"], num_visits, p=[0.823, 0.151, 0.026])
    age = np.where(newborn, 0.0, rng.normal(63, 17, num_patients).clip(15, 97))
    lived = np.where(age > 89, 300.0, age) * 365.25
    born = admitted[first_row].astype("datetime64[D]") - lived.astype(np.int64).astype("timedelta64[D]")
    numbers = 100_001 + rng.permutation(max(num_visits, 99_999))[:num_visits]
    return Cohort(
        patient=patient,
        admitted=admitted,
        discharged=discharged,
        hadm_id=numbers,
        died=died,
        kind=np.where(newborn[patient], "NEWBORN", kinds),
        born=born,
        sex=rng.choice(["F", "M"], num_patients, p=[0.44, 0.56]),
        text=_admission_texts(num_visits, died, rng),
    )


def _admission_texts(count: int, died: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """Draw the columns of ADMISSIONS that nothing depends on."""
    options = {
        "ADMISSION_LOCATION": (
            "EMERGENCY ROOM ADMIT",
            "PHYS REFERRAL/NORMAL DELI",
            "CLINIC REFERRAL/PREMATURE",
        ),
        "DISCHARGE_LOCATION": (
            "HOME",
            "HOME HEALTH CARE",
            "SNF",
            "REHAB/DISTINCT PART HOSP",
            "LONG TERM CARE",
        ),
        "INSURANCE": ("Medicare", "Private", "Medicaid", "Government", "Self Pay"),
        "LANGUAGE": ("ENGL", "SPAN", "RUSS", "PTUN", ""),
        "RELIGION": ("CATHOLIC", "NOT SPECIFIED", "UNOBTAINABLE", "PROTESTANT QUAKER", "JEWISH", ""),
        "MARITAL_STATUS": ("MARRIED", "SINGLE", "WIDOWED", "DIVORCED", ""),
        "ETHNICITY": (
            "WHITE",
            "BLACK/AFRICAN AMERICAN",
            "HISPANIC OR LATINO",
            "ASIAN",
            "UNKNOWN/NOT SPECIFIED",
        ),
        "DIAGNOSIS": tuple(wording.upper() for condition in CONDITIONS for wording in condition.wordings),
    }
    columns = {name: np.array(words)[rng.integers(0, len(words), count)] for name, words in options.items()}
    columns["DISCHARGE_LOCATION"] = np.where(died, "DEAD/EXPIRED", columns["DISCHARGE_LOCATION"])
    return pl.DataFrame(columns)


def diagnosis_codes(rng: np.random.Generator) -> np.ndarray:
    """List codes in the form of ICD-9-CM, those of the invented conditions first, the others made up.

    Args:
        rng (`np.random.Generator`): source of chance.

    Returns:
        `NUM_CODES` different codes without dots, the most frequent first.
    """
    known = [code for condition in CONDITIONS for code in (*condition.codes, *condition.severe_codes)]
    codes = dict.fromkeys(known)
    categories = [category for chapter in CHAPTERS for category in _categories(chapter)]
    while len(codes) < NUM_CODES:
        category = categories[int(rng.integers(len(categories)))]
        digits = 1 if category.startswith("E") else int(rng.choice(3, p=[0.05, 0.4, 0.55]))
        codes[category + "".join(str(rng.integers(10)) for _ in range(digits))] = None
    return np.array(list(codes))


def _categories(chapter: str) -> list[str]:
    first, last = chapter.split("-")
    letter = first[0] if first[0].isalpha() else ""
    width = len(first) - len(letter)
    low = max(int(first[len(letter) :]), 800 if letter == "E" else 0)  # older editions begin with E800
    return [f"{letter}{number:0{width}d}" for number in range(low, int(last[len(letter) :]) + 1)]
