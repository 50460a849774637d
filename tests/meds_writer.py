"""A MEDS dataset made from the tables of MIMIC-III, in the way of the public conversion of MIMIC-IV."""

from pathlib import Path

import polars as pl

from medm_plm.data.tables import find_table, time_of, whole_number

MEDS_SCHEMA = {
    "subject_id": pl.Int64,
    "time": pl.Datetime("us"),
    "code": pl.String,
    "numeric_value": pl.Float32,
    "text_value": pl.String,
    "hadm_id": pl.Int64,
    "route": pl.String,
}


def write_meds(mimic: Path, folder: Path, num_shards: int = 1, with_visits: bool = True) -> Path:
    """Write the events of a MIMIC-III folder; a patient stands in one shard, sorted by time."""
    events = pl.concat(
        [
            pl.DataFrame(schema=MEDS_SCHEMA),
            _events(_table(mimic, "PATIENTS"), "dob", "MEDS_BIRTH"),
            *_stays(_table(mimic, "ADMISSIONS")),
            _diagnoses(mimic),
            _events(
                _table(mimic, "PRESCRIPTIONS").with_row_index("order"),
                "startdate",
                pl.concat_str(pl.lit("MEDICATION//START//"), pl.col("drug").fill_null("UNK")),
            ),
            _notes(mimic),
        ],
        how="diagonal",
    ).select(*MEDS_SCHEMA)
    noise = (
        events.filter(pl.col("time").is_not_null()).gather_every(7).with_columns(code=pl.lit("LAB//1//mg"))
    )
    events = pl.concat([events, noise]).sort("subject_id", "time", nulls_last=False, maintain_order=True)
    for shard in range(num_shards):
        part = events.filter(pl.col("subject_id") % num_shards == shard)
        path = folder / "data" / ("train", "held_out")[shard % 2] / f"{shard}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        (part if with_visits else part.drop("hadm_id")).write_parquet(path)
    return folder


def _table(mimic: Path, name: str) -> pl.DataFrame:
    return pl.read_csv(find_table(mimic, name), infer_schema=False).rename(str.lower)


def _events(frame: pl.DataFrame, time: str, code: str | pl.Expr, **more: pl.Expr) -> pl.DataFrame:
    frame = frame.with_columns(
        time_of(time).alias("time"),
        pl.lit(code).alias("code") if isinstance(code, str) else code.alias("code"),
        **more,
    )
    columns = [name for name in MEDS_SCHEMA if name in frame.columns]
    return frame.select(columns).cast({name: MEDS_SCHEMA[name] for name in columns})


def _stays(admissions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    kind = pl.concat_str(pl.lit("HOSPITAL_ADMISSION//"), pl.col("admission_type"), pl.lit("//UNK"))
    died = (
        pl.when(pl.col("hospital_expire_flag") == "1").then(pl.lit("DEAD/EXPIRED")).otherwise(pl.lit("HOME"))
    )
    end = pl.concat_str(pl.lit("HOSPITAL_DISCHARGE//"), died)
    return _events(admissions, "admittime", kind), _events(admissions, "dischtime", end)


def _with_discharge(mimic: Path, name: str) -> pl.DataFrame:
    times = _table(mimic, "ADMISSIONS").select("hadm_id", "dischtime")
    return _table(mimic, name).join(times, on="hadm_id", maintain_order="left")


def _diagnoses(mimic: Path) -> pl.DataFrame:
    frame = _with_discharge(mimic, "DIAGNOSES_ICD").filter(pl.col("icd9_code").is_not_null())
    frame = frame.sort("hadm_id", whole_number("seq_num"), nulls_last=True)
    return _events(frame, "dischtime", pl.concat_str(pl.lit("DIAGNOSIS//ICD//9//"), pl.col("icd9_code")))


def _notes(mimic: Path) -> pl.DataFrame:
    is_summary = pl.col("category").str.to_lowercase() == "discharge summary"
    frame = _with_discharge(mimic, "NOTEEVENTS").filter(is_summary)
    frame = frame.sort("hadm_id", "chartdate", pl.col("description") == "Addendum", whole_number("row_id"))
    return _events(frame, "dischtime", "NOTE//DISCHARGE_SUMMARY", text_value=pl.col("text"))
