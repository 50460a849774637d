"""Invented notes in bulk, for the tables of `full_size_tables.py`.

A note is a number of sentences drawn from large pools, so that writing one costs no more than joining
strings. Every note differs from every other; markers of removed names, list numbers, quotes, commas, line
breaks and section headings are there, and gzip makes of them about what it makes of clinical text. The notes
say nothing that the codes of the visit would support: they are for measuring time and memory only.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from full_size_cohort import Cohort
from full_size_phrases import Phrasebook, listed

from medm_plm.data.synthetic import note_phrases as phrases
from medm_plm.data.synthetic.dates import timestamps

POOL_SIZE = 60_000  # sentences of each kind; far more than fit into the 32 kB that gzip looks back
SUMMARY = "Discharge summary"
# Rows and mean length in characters of each category, in the order of the file.
NOTES = {
    SUMMARY: (59_652, 10_800),
    "Echo": (45_794, 2_400),
    "ECG": (209_051, 220),
    "Nursing": (223_556, 2_000),
    "Physician ": (141_624, 5_400),
    "Rehab Services": (5_431, 3_000),
    "Case Management ": (967, 2_000),
    "Respiratory ": (31_739, 1_100),
    "Nutrition": (9_418, 2_300),
    "General": (8_301, 1_700),
    "Social Work": (2_670, 2_300),
    "Pharmacy": (103, 2_500),
    "Consult": (98, 5_000),
    "Radiology": (522_279, 1_550),
    "Nursing/other": (822_497, 1_020),
}
_RULE = "_" * 78
_SERVICES = listed("MEDICINE,SURGERY,CCU,NEUROLOGY,MICU,CARDIOTHORACIC,ORTHOPAEDICS,OMED,VSU,TSURG,GYN,ENT")
_NOTES_PER_BLOCK = 4_000
_FIRST_REPORTS = 52_726 / 59_652  # of the summaries; of the others, this share are addenda
_ADDENDA = 4_475 / 6_926
_ERROR_SHARE = 0.0004
_WITHOUT_TIME = ("Echo", "ECG")
_WITHOUT_ADMISSION = 0.115  # of the other notes; they were written outside the hospital's stays
_HEADER = "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT"


@dataclass(frozen=True)
class Recipe:
    """How a note of a category is composed.

    Args:
        heading (`str`): how it begins; `{}` stands for markers and times.
        pools (`tuple[tuple[str, float], ...]`): names of pools and their shares of the characters.
    """

    heading: str
    pools: tuple[tuple[str, float], ...]


_NURSING = Recipe("", (("nursing", 1.0),))
_PROGRESS = Recipe(
    "Chief Complaint:\n   24 Hour Events:\n   ",
    (("nursing", 0.4), ("laboratory", 0.35), ("order", 0.1), ("prose", 0.15)),
)
_RADIOLOGY = Recipe(
    f" Clip # [**Clip Number (Radiology) {{}}**]\n Reason: \n{_RULE}\n FINAL REPORT\n", (("prose", 1.0),)
)
_REPORT = Recipe("Test Type: \nConclusions:\n", (("prose", 1.0),))
RECIPES = {
    "Radiology": _RADIOLOGY,
    "Echo": _REPORT,
    "ECG": Recipe("", (("prose", 1.0),)),
    "Physician ": _PROGRESS,
}

# Share of a discharge summary that each section takes, and the pool that it is drawn from.
_SUMMARY_SECTIONS = {
    "allergies": ("prose", 0.01),
    "complaint": ("prose", 0.01),
    "present": ("prose", 0.17),
    "past": ("prose", 0.06),
    "social": ("prose", 0.02),
    "family": ("prose", 0.02),
    "home": ("order", 0.09),
    "results": ("laboratory", 0.19),
    "course": ("prose", 0.24),
    "condition": ("prose", 0.01),
    "followup": ("prose", 0.06),
}
_DISCHARGE_MEDICATIONS = 0.12


class NoteFactory:
    """Writes notes of about a given length, their quotes doubled as in a CSV field.

    Args:
        seed (`int`): seed of chance.
        drugs (`Sequence[str]`): names of drugs for the lists of medications.
        pool_size (`int`, *optional*): sentences of each kind.
    """

    def __init__(self, seed: int, drugs: Sequence[str], pool_size: int = POOL_SIZE) -> None:
        book = Phrasebook(seed, drugs)
        kinds = {
            "prose": Phrasebook.prose,
            "nursing": Phrasebook.nursing,
            "laboratory": Phrasebook.laboratory,
            "order": Phrasebook.order,
        }
        self._pools = {name: book.pool(write, pool_size) for name, write in kinds.items()}
        self._length = {name: sum(map(len, pool)) / len(pool) for name, pool in self._pools.items()}
        self._random = random.Random(seed + 1)
        self._draws = {
            name: _draws(np.random.default_rng([seed, number]), pool_size)
            for number, name in enumerate(kinds)
        }

    def summary(self, length: int) -> str:
        """Write a discharge summary of about `length` characters."""
        draw = self._random.random
        year, month, day = 2101 + int(draw() * 99), 1 + int(draw() * 12), 1 + int(draw() * 28)
        parts = [
            f"Admission Date:  [**{year}-{month}-{day}**]              "
            f"Discharge Date:   [**{year}-{month}-{min(day + 5, 28)}**]\n\n"
            f"Date of Birth:  [**{year - 60}-{day % 12 + 1}-{day}**]             Sex:   {'FM'[day % 2]}\n\n"
            f"Service: {_SERVICES[month - 1]}\n\n"
        ]
        for section in phrases.SECTION_ORDERS[int(draw() * len(phrases.SECTION_ORDERS))]:
            headings = phrases.HEADINGS[section]
            parts.append(f"\n{headings[int(draw() * len(headings))]}\n")
            pool, share = _SUMMARY_SECTIONS[section]
            parts += self._sentences(pool, length * share)
        parts.append("\nDischarge Medications:\n")
        parts += self._sentences("order", length * _DISCHARGE_MEDICATIONS)
        author = int(draw() * 9999)
        parts.append(f"\n\n          [**First Name8 (NamePattern2) **] [**Name8 (MD) {author}**], M.D.")
        return "".join(parts)

    def note(self, category: str, length: int) -> str:
        """Write a note of another category, of about `length` characters."""
        recipe = RECIPES.get(category, _NURSING)
        parts = [recipe.heading.format(int(self._random.random() * 99999))]
        for pool, share in recipe.pools:
            parts += self._sentences(pool, length * share)
        return "".join(parts)

    def _sentences(self, name: str, length: float) -> Iterator[str]:
        pool, draws = self._pools[name], self._draws[name]
        count = max(1, round(length / self._length[name]))
        return (pool[next(draws)] for _ in range(count))


def _draws(rng: np.random.Generator, size: int) -> Iterator[int]:
    """Endless numbers below `size`, drawn many at a time."""
    while True:
        yield from rng.integers(0, size, 1 << 16).tolist()


def note_counts(total: int) -> dict[str, int]:
    """Share out the rows of NOTEEVENTS to its categories, so that the sum is exact."""
    full_size = sum(count for count, _ in NOTES.values())
    counts = {category: round(count * total / full_size) for category, (count, _) in NOTES.items()}
    counts["Nursing/other"] += total - sum(counts.values())
    return counts


def note_blocks(
    cohort: Cohort, total: int, factory: NoteFactory, rng: np.random.Generator
) -> Iterator[tuple[bytes, int]]:
    """Write the lines of NOTEEVENTS, the header first.

    Args:
        cohort (`Cohort`): the admissions.
        total (`int`): rows of the table.
        factory (`NoteFactory`): writes the texts.
        rng (`np.random.Generator`): source of chance.

    Yields:
        Lines, and the number of rows that they are.
    """
    yield (",".join(f'"{name}"' for name in _HEADER.split()) + "\n").encode(), 0
    num_before = 0
    for category, count in note_counts(total).items():
        visits = (
            _summary_visits(cohort, count, rng) if category == SUMMARY else cohort.draw_visits(count, rng)
        )
        for first in range(0, count, _NOTES_PER_BLOCK):
            block = visits[first : first + _NOTES_PER_BLOCK]
            if category == SUMMARY:
                is_later = first + np.arange(block.size) >= _num_first(count)
                rows = _summary_rows(cohort, block, is_later, rng)
                texts = [factory.summary(length) for length in rows["length"].to_list()]
            else:
                rows = _note_rows(cohort, block, category, rng)
                texts = [factory.note(category, length) for length in rows["length"].to_list()]
            yield _lines(rows, texts, num_before), block.size
            num_before += block.size


def _num_first(count: int) -> int:
    return round(count * _FIRST_REPORTS)


def _summary_visits(cohort: Cohort, count: int, rng: np.random.Generator) -> np.ndarray:
    """Choose the visits of the discharge summaries; the last ones come to a visit that has one already."""
    with_summary = cohort.draw_visits_with_summary(_num_first(count), rng)
    return np.concatenate([with_summary, rng.choice(with_summary, count - with_summary.size)])


def _summary_rows(
    cohort: Cohort, visit: np.ndarray, is_later: np.ndarray, rng: np.random.Generator
) -> pl.DataFrame:
    """Draw everything but the text of discharge summaries: reports, and addenda to some of them."""
    is_addendum = is_later & (rng.random(visit.size) < _ADDENDA)
    length = _lengths(SUMMARY, visit.size, rng) // np.where(is_addendum, 12, 1)
    day = cohort.admitted[visit].astype("datetime64[D]") + cohort.stay_days[visit].astype("timedelta64[D]")
    return pl.DataFrame(
        {
            "subject_id": cohort.subject_id[visit],
            "hadm_id": cohort.hadm_id[visit].astype(str),
            "day": np.datetime_as_string(day),
            "times": ",",
            "category": SUMMARY,
            "description": np.where(is_addendum, "Addendum", "Report"),
            "caregiver": "",
            "is_error": "",
            "length": length,
        }
    )


def _note_rows(cohort: Cohort, visit: np.ndarray, category: str, rng: np.random.Generator) -> pl.DataFrame:
    """Draw everything but the text of notes of another category."""
    size = visit.size
    admission = np.where(rng.random(size) < _WITHOUT_ADMISSION, "", cohort.hadm_id[visit].astype(str))
    offset = rng.random(size) * cohort.stay_days[visit] * 1440
    time = timestamps(cohort.admitted[visit] + offset.astype("timedelta64[m]"))
    has_time = category not in _WITHOUT_TIME
    return pl.DataFrame(
        {
            "subject_id": cohort.subject_id[visit],
            "hadm_id": admission,
            "day": time.astype("<U10"),
            "times": [f"{moment},{moment}" for moment in time.tolist()] if has_time else ",",
            "category": category,
            "description": "Report",
            "caregiver": rng.integers(14_000, 21_000, size).astype(str) if has_time else "",
            "is_error": np.where(rng.random(size) < _ERROR_SHARE, "1", ""),
            "length": _lengths(category, size, rng),
        }
    )


def _lengths(category: str, size: int, rng: np.random.Generator) -> np.ndarray:
    return (NOTES[category][1] * rng.lognormal(-0.125, 0.5, size)).astype(np.int64)


def _lines(rows: pl.DataFrame, texts: list[str], num_before: int) -> bytes:
    """Write the lines of notes; the quotes of the texts are doubled already."""
    lines = [
        f'{number},{subject},{hadm},{day},{times},"{category}","{description}",{caregiver},{error},"{text}"\n'
        for number, (subject, hadm, day, times, category, description, caregiver, error, _), text in zip(
            range(num_before + 1, num_before + rows.height + 1), rows.iter_rows(), texts, strict=True
        )
    ]
    return "".join(lines).encode()
