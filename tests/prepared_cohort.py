"""A small prepared folder of invented patients, written without the preparation, to test training with."""

from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

import run_pretraining
from medm_plm import register_auto_classes
from medm_plm.data.schema import VISIT_SCHEMA, VISITS_FILE, VOCABULARY_FILE
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.training.arguments import ModelArguments
from medm_plm.training.models import new_model
from medm_plm.training.processors import build_processor
from modeling_medm_plm import MedMPLMPreTrainedModel
from tokenization_medm_plm import MedMPLMProcessor

register_auto_classes()  # as the scripts do; else the library asks whether to run the saved code

PROJECT_ROOT = Path(__file__).resolve().parent.parent

# Each illness: its word in the note, its diagnosis, its medication.
ILLNESSES = (
    ("heart", "ICD9CM:4280", "ATC:C03C"),
    ("sugar", "ICD9CM:25000", "ATC:A10A"),
    ("lung", "ICD9CM:496", "ATC:R03A"),
    ("pain", "ICD9CM:7242", "ATC:N02A"),
    ("clot", "ICD9CM:41519", "ATC:B01A"),
    ("mood", "ICD9CM:311", "ATC:N06A"),
    ("germ", "ICD9CM:0389", "ATC:J01D"),
    ("pressure", "ICD9CM:4019", "ATC:C09A"),
)
FILLERS = ("patient", "was", "seen", "today", "for", "review", "and", "went", "home")
SPLITS = ("train",) * 8 + ("validation", "test")


def invent_visits(num_patients: int = 60, seed: int = 0) -> pl.DataFrame:
    """Visits whose notes and codes speak of the same illnesses; one to four visits a patient."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(num_patients):
        start = datetime(2100, 1, 1)
        for number in range(1 + patient % 4):
            illnesses = [ILLNESSES[i] for i in rng.choice(len(ILLNESSES), 3, replace=False)]
            words = [word for word, _, _ in illnesses] + list(rng.choice(FILLERS, 5))
            rng.shuffle(words)
            start += timedelta(days=int(rng.integers(10, 90)))
            rows.append(
                {
                    "subject_id": f"p{patient:03d}",
                    "hadm_id": f"h{patient:03d}{number}",
                    "visit_number": number + 1,
                    "admission_time": start,
                    "discharge_time": start + timedelta(days=3),
                    "age": 50.0,
                    "admission_type": "EMERGENCY",
                    "died_in_hospital": patient % 3 == 0 and number == patient % 4,
                    "note": " ".join(words),
                    "admission_note": " ".join(words[:4]),
                    "diagnosis_codes": [diagnosis for _, diagnosis, _ in illnesses],
                    "medication_codes": [medication for _, _, medication in illnesses],
                    "first_day_medication_codes": [medication for _, _, medication in illnesses[:2]],
                    "readmission": any(word in ("heart", "lung") for word, _, _ in illnesses),
                    "split": SPLITS[patient % 10],
                }
            )
    return pl.DataFrame(rows, schema=VISIT_SCHEMA)


def write_prepared_folder(folder: Path, visits: pl.DataFrame | None = None) -> Path:
    """Write what `run_preparation.py` would write, apart from the report."""
    visits = invent_visits() if visits is None else visits
    folder.mkdir(parents=True, exist_ok=True)
    visits.write_parquet(folder / VISITS_FILE)
    vocabulary_of(visits).save(folder / VOCABULARY_FILE)
    return folder


@cache
def pretrained_folder(base: Path) -> Path:
    """A model pre-trained for one epoch on the prepared folder beside it; made once in a session."""
    folder = base / "pretrained_cohort"
    data = write_prepared_folder(folder / "prepared")
    run_pretraining.main(
        [
            *smoke_options("pretraining"),
            "--data",
            str(data),
            "--output_dir",
            str(folder / "model"),
            "--num_train_epochs",
            "1",
        ]
    )
    return folder / "model"


def smoke_options(name: str) -> list[str]:
    """Options of the smallest run, without a progress bar."""
    return ["--config", str(PROJECT_ROOT / "configs" / "smoke" / f"{name}.yaml"), "--disable_tqdm", "true"]


def tiny_model_options(**options: object) -> ModelArguments:
    """Sizes with which a new model has a few thousand parameters."""
    sizes = {"text_vocab_size": 200, "text_hidden_size": 16, "text_max_length": 32, "code_hidden_size": 24}
    return ModelArguments(**{**sizes, "code_num_hidden_layers": 1, **options})


def vocabulary_of(visits: pl.DataFrame) -> CodeVocabulary:
    """Codes of the training split."""
    train = visits.filter(pl.col("split") == "train")
    return CodeVocabulary.from_codes(
        *(train[name].explode().drop_nulls() for name in ("diagnosis_codes", "medication_codes"))
    )


def tiny_processor(visits: pl.DataFrame) -> MedMPLMProcessor:
    """Code vocabulary and word pieces of the invented visits."""
    return build_processor(vocabulary_of(visits), visits["note"], tiny_model_options())


def tiny_model(name: str, visits: pl.DataFrame, **config_fields: object) -> MedMPLMPreTrainedModel:
    """A new model, `pretraining` or the name of a task, for the invented visits."""
    return new_model(
        name, vocabulary_of(visits), tiny_processor(visits), tiny_model_options(), **config_fields
    )
