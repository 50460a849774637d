"""Rows of the MIMIC-III 1.4 tables for a block of invented visits."""

import numpy as np
import polars as pl

from medm_plm.data.synthetic import knowledge as k
from medm_plm.data.synthetic.dates import VisitDates, timestamps
from medm_plm.data.synthetic.drugs import DRUGS, pseudo_ndc
from medm_plm.data.synthetic.visit_block import VisitBlock

_RELIGIONS = ("CATHOLIC", "PROTESTANT QUAKER", "JEWISH", "NOT SPECIFIED", "UNOBTAINABLE")
_ETHNICITIES = ("WHITE", "BLACK/AFRICAN AMERICAN", "HISPANIC OR LATINO", "ASIAN", "UNKNOWN/NOT SPECIFIED")
_LANGUAGES = ("ENGL", "SPAN", "RUSS", "")
_MARITAL = ("MARRIED", "SINGLE", "WIDOWED", "DIVORCED", "")
_BLANK_CODE_SHARE = 0.0005  # MIMIC-III holds a few diagnosis rows without a code
_MISSING_NDC_SHARE = 0.08  # and many prescriptions whose NDC is 0
_UNKNOWN_DRUG_SHARE = 0.004  # and some products no map knows
_UNKNOWN_DRUG = "Investigational Agent"


def _pick(options: tuple[str, ...], count: int, rng: np.random.Generator) -> np.ndarray:
    return np.array(options)[rng.integers(0, len(options), count)]


def _table(columns: dict[str, np.ndarray | str], num_rows: int) -> pl.DataFrame:
    """Build a table in the order of the columns; text that is empty becomes a missing value."""
    series = []
    for name, values in columns.items():
        if isinstance(values, str):
            series.append(pl.repeat(values, num_rows, eager=True).alias(name))
        else:
            series.append(pl.Series(name, values.tolist() if values.dtype.kind in "UO" else values))
    return pl.DataFrame(series).with_columns(pl.col(pl.String).replace("", None))


def patients_table(block: VisitBlock, sex: np.ndarray, dates: VisitDates) -> pl.DataFrame:
    """Build the rows of PATIENTS, without ROW_ID.

    Args:
        block (`VisitBlock`): visits.
        sex (`np.ndarray` of shape `(patients,)`): "F" or "M".
        dates (`VisitDates`): identifiers and times.

    Returns:
        One row for each patient.
    """
    last_row = np.append(dates.first_row[1:], len(block)) - 1
    died = block.died[last_row]
    day = dates.discharged[last_row].astype("datetime64[D]")
    death = timestamps(np.where(died, day, np.datetime64("NaT")))
    columns = {
        "SUBJECT_ID": dates.subject_id[dates.first_row],
        "GENDER": sex,
        "DOB": timestamps(dates.born),
        "DOD": death,
        "DOD_HOSP": death,
        "DOD_SSN": "",
        "EXPIRE_FLAG": died.astype(np.int64),
    }
    return _table(columns, len(sex))


def admissions_table(block: VisitBlock, dates: VisitDates, rng: np.random.Generator) -> pl.DataFrame:
    """Build the rows of ADMISSIONS, without ROW_ID.

    Args:
        block (`VisitBlock`): visits.
        dates (`VisitDates`): identifiers and times.
        rng (`np.random.Generator`): source of chance.

    Returns:
        One row for each visit.
    """
    count = len(block)
    urgent = rng.random(count) < 0.04
    kind = np.where(block.elective, "ELECTIVE", np.where(urgent, "URGENT", "EMERGENCY"))
    arrival = dates.admitted - rng.integers(60, 600, count).astype("timedelta64[m]")
    emergency = kind == "EMERGENCY"
    not_a_time = np.datetime64("NaT")
    origin = np.where(block.elective, "PHYS REFERRAL/NORMAL DELI", "EMERGENCY ROOM ADMIT")
    main = np.where(block.active, k.PRIORITY, -1.0).argmax(axis=1)
    reasons = np.array([condition.wordings[0].upper() for condition in k.CONDITIONS])
    columns = {
        "SUBJECT_ID": dates.subject_id,
        "HADM_ID": dates.hadm_id,
        "ADMITTIME": timestamps(dates.admitted),
        "DISCHTIME": timestamps(dates.discharged),
        "DEATHTIME": timestamps(np.where(block.died, dates.discharged, not_a_time)),
        "ADMISSION_TYPE": kind,
        "ADMISSION_LOCATION": origin,
        "DISCHARGE_LOCATION": _discharge_locations(block),
        "INSURANCE": np.where(block.age >= 65, "Medicare", _pick(("Private", "Medicaid"), count, rng)),
        "LANGUAGE": _pick(_LANGUAGES, count, rng),
        "RELIGION": _pick(_RELIGIONS, count, rng),
        "MARITAL_STATUS": _pick(_MARITAL, count, rng),
        "ETHNICITY": _pick(_ETHNICITIES, count, rng),
        "EDREGTIME": timestamps(np.where(emergency, arrival, not_a_time)),
        "EDOUTTIME": timestamps(np.where(emergency, dates.admitted, not_a_time)),
        "DIAGNOSIS": reasons[main],
        "HOSPITAL_EXPIRE_FLAG": block.died.astype(np.int64),
        "HAS_CHARTEVENTS_DATA": np.ones(count, dtype=np.int64),
    }
    return _table(columns, count)


def _discharge_locations(block: VisitBlock) -> np.ndarray:
    facts = block.circumstances
    nursed = facts[:, k.CIRCUMSTANCE_INDEX["home_services"]]
    against_advice = facts[:, k.CIRCUMSTANCE_INDEX["left_against_advice"]]
    place = np.where(nursed, "HOME HEALTH CARE", "HOME")
    place = np.where(against_advice, "LEFT AGAINST MEDICAL ADVI", place)
    return np.where(block.died, "DEAD/EXPIRED", place)


def _code_tables() -> tuple[np.ndarray, np.ndarray]:
    """Codes and upper ends of their shares by condition, severity and rank."""
    codes = np.full((len(k.CONDITIONS), 2, 3), "", dtype="<U6")
    ends = np.ones((len(k.CONDITIONS), 2, 3))
    for index, condition in enumerate(k.CONDITIONS):
        for severe, alternatives in enumerate((condition.codes, condition.severe_codes or condition.codes)):
            codes[index, severe, : len(alternatives)] = alternatives
            ends[index, severe, : len(alternatives)] = np.cumsum(k.code_shares(alternatives))
    return codes, ends


_CODES, _CODE_ENDS = _code_tables()


def diagnoses_table(block: VisitBlock, dates: VisitDates, rng: np.random.Generator) -> pl.DataFrame:
    """Build the rows of DIAGNOSES_ICD, without ROW_ID, the most important first.

    Args:
        block (`VisitBlock`): visits.
        dates (`VisitDates`): identifiers and times.
        rng (`np.random.Generator`): source of chance.

    Returns:
        One row for each code of each visit.
    """
    row, condition = np.nonzero(block.recorded)
    order = np.lexsort((-(k.PRIORITY[condition] + 2.5 * rng.random(row.size)), row))
    row, condition = row[order], condition[order]
    severe = block.severe[row, condition].astype(np.int64)
    rank = (block.code_draw[row, condition][:, None] >= _CODE_ENDS[condition, severe]).sum(axis=1)
    code = _CODES[condition, severe, np.minimum(rank, 2)]
    starts = np.searchsorted(row, row)
    columns = {
        "SUBJECT_ID": dates.subject_id[row],
        "HADM_ID": dates.hadm_id[row],
        "SEQ_NUM": np.arange(row.size) - starts + 1,
        "ICD9_CODE": np.where(rng.random(row.size) < _BLANK_CODE_SHARE, "", code),
    }
    return _table(columns, row.size)


def prescriptions_table(block: VisitBlock, dates: VisitDates, rng: np.random.Generator) -> pl.DataFrame:
    """Build the rows of PRESCRIPTIONS, without ROW_ID: each drug given, in one or more orders.

    Args:
        block (`VisitBlock`): visits.
        dates (`VisitDates`): identifiers and times.
        rng (`np.random.Generator`): source of chance.

    Returns:
        One row for each order.
    """
    given = np.zeros((len(block), len(DRUGS)), dtype=bool)
    visit, option = np.nonzero(block.given)
    given[visit, k.OPTION_DRUG[option]] = True
    visit, drug = np.nonzero(given)
    orders = 1 + rng.poisson(0.8, visit.size)
    visit, drug = np.repeat(visit, orders), np.repeat(drug, orders)
    days = np.maximum(1, (block.stay_hours[visit] / 24.0).astype(np.int64))
    start = (rng.random(visit.size) ** 2.5 * days).astype(np.int64)  # most orders are written early
    length = 1 + (rng.random(visit.size) * (days - start)).astype(np.int64)
    order = np.lexsort((rng.random(visit.size), start, visit))
    visit, drug, start, length = visit[order], drug[order], start[order], length[order]
    first_day = dates.admitted[visit].astype("datetime64[D]") + start.astype("timedelta64[D]")
    unknown = rng.random(visit.size) < _UNKNOWN_DRUG_SHARE
    no_ndc = unknown | (rng.random(visit.size) < _MISSING_NDC_SHARE)
    names = np.where(unknown, _UNKNOWN_DRUG, _drug_column("name")[drug])
    columns = {
        "SUBJECT_ID": dates.subject_id[visit],
        "HADM_ID": dates.hadm_id[visit],
        "ICUSTAY_ID": "",
        "STARTDATE": timestamps(first_day),
        "ENDDATE": timestamps(first_day + length.astype("timedelta64[D]")),
        "DRUG_TYPE": np.where(names == "0.9% Sodium Chloride", "BASE", "MAIN"),
        "DRUG": names,
        "DRUG_NAME_POE": names,
        "DRUG_NAME_GENERIC": names,
        "FORMULARY_DRUG_CD": np.array([d.key.upper().replace("_", "")[:8] for d in DRUGS])[drug],
        "GSN": np.array([f"{index + 1:06d}" for index in range(len(DRUGS))])[drug],
        "NDC": np.where(no_ndc, "0", np.array([pseudo_ndc(index) for index in range(len(DRUGS))])[drug]),
        "PROD_STRENGTH": _drug_column("strength")[drug],
        "DOSE_VAL_RX": _drug_column("dose")[drug],
        "DOSE_UNIT_RX": _drug_column("unit")[drug],
        "FORM_VAL_DISP": "1",
        "FORM_UNIT_DISP": "UNIT",
        "ROUTE": _drug_column("route")[drug],
    }
    return _table(columns, visit.size)


def _drug_column(name: str) -> np.ndarray:
    return np.array([getattr(drug, name) for drug in DRUGS])
