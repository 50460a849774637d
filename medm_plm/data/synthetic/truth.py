"""What the generator knows and no reader may see: the true probabilities behind each invented visit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from medm_plm.data.synthetic import knowledge as k
from medm_plm.data.synthetic.dates import VisitDates
from medm_plm.data.synthetic.drugs import MEDICATION_CLASSES
from medm_plm.data.synthetic.visit_block import VisitBlock
from medm_plm.errors import InputError

TRUTH_FOLDER = "TRUTH"

_SMALLEST = 1e-4  # probabilities below are left out and read as zero


def truth_table(block: VisitBlock, dates: VisitDates) -> pl.DataFrame:
    """Build one row of true probabilities for each visit.

    Readmission: exact, given the codes, medications, age and note of the visit; any admission that starts
    less than 30 days after discharge counts, 0 after a death. Medications: given the illnesses and traits of
    the patient and what was taken before. Diagnoses: given the illnesses; what is left is the coder's
    omissions and choice between alternative codes.

    Args:
        block (`VisitBlock`): visits.
        dates (`VisitDates`): identifiers and times.

    Returns:
        Columns `subject_id`, `hadm_id` (text), `readmission_probability`, and the lists `medication_codes`,
        `medication_probabilities`, `diagnosis_codes`, `diagnosis_probabilities` with qualified codes.
    """
    medications = _lists(block.class_probability, [f"ATC:{name}" for name in MEDICATION_CLASSES])
    codes, diagnosis = _diagnosis_probabilities(block)
    diagnoses = _lists(diagnosis, codes)
    return pl.DataFrame(
        {
            "subject_id": dates.subject_id.astype(str).tolist(),
            "hadm_id": dates.hadm_id.astype(str).tolist(),
            "readmission_probability": block.readmission_probability,
            "medication_codes": medications[0],
            "medication_probabilities": medications[1],
            "diagnosis_codes": diagnoses[0],
            "diagnosis_probabilities": diagnoses[1],
        }
    )


def _diagnosis_probabilities(block: VisitBlock) -> tuple[list[str], np.ndarray]:
    names: list[str] = []
    columns = []
    for index, condition in enumerate(k.CONDITIONS):
        for severe, codes in ((False, condition.codes), (True, condition.severe_codes)):
            present = block.active[:, index] & (block.severe[:, index] == severe)
            for code, share in zip(codes, k.code_shares(codes) if codes else (), strict=True):
                names.append(f"ICD9CM:{code}")
                columns.append(present * condition.recorded * share)
    return names, np.stack(columns, axis=1)


def _lists(probabilities: np.ndarray, names: Sequence[str]) -> tuple[pl.Series, pl.Series]:
    row, column = np.nonzero(probabilities >= _SMALLEST)
    values = probabilities[row, column].astype(np.float32)
    flat = pl.DataFrame({"row": row, "name": np.array(names)[column].tolist(), "value": values})
    grouped = flat.group_by("row", maintain_order=True).agg("name", "value")
    every = pl.DataFrame({"row": np.arange(len(probabilities))}).join(grouped, on="row", how="left")
    return every["name"].fill_null([]), every["value"].fill_null([])


def read_truth(folder: str | Path) -> pl.DataFrame:
    """Read the true probabilities beside a synthetic cohort.

    Args:
        folder (`str` or `Path`): folder given to `write_synthetic_tables`.

    Returns:
        One row for each visit, see `truth_table`.

    Raises:
        InputError: if the folder holds none.
    """
    parts = sorted((Path(folder) / TRUTH_FOLDER).glob("visits-*.parquet"))
    if not parts:
        raise InputError(
            "no true probabilities",
            file=folder,
            expected=f"a folder {TRUTH_FOLDER} with visits-*.parquet",
            remedy="only a synthetic cohort has them",
        )
    return pl.concat([pl.read_parquet(part) for part in parts])


def truth_matrix(truth: pl.DataFrame, kind: str, labels: Sequence[str]) -> np.ndarray:
    """Spread the listed probabilities over a list of labels.

    Args:
        truth (`polars.DataFrame`): from `read_truth`, rows chosen and ordered as wanted.
        kind (`str`): "medication" or "diagnosis".
        labels (`Sequence[str]`): qualified codes, each once.

    Returns:
        Probabilities `(visits, labels)`; zero where the generator never gives a label.

    Raises:
        ValueError: if `kind` is another word.
    """
    if kind not in ("medication", "diagnosis"):
        raise ValueError(f"kind: received {kind!r}, expected 'medication' or 'diagnosis'")
    position = {label: index for index, label in enumerate(labels)}
    matrix = np.zeros((truth.height, len(labels)))
    lists = zip(truth[f"{kind}_codes"].to_list(), truth[f"{kind}_probabilities"].to_list(), strict=True)
    for row, (codes, values) in enumerate(lists):
        for code, value in zip(codes, values, strict=True):
            if code in position:
                matrix[row, position[code]] = value
    return matrix
