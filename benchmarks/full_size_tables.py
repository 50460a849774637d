"""Tables in the shape and size of the full MIMIC-III 1.4, for measuring time and memory only.

    python benchmarks/full_size_tables.py --output FOLDER --share 1.0

Row counts are those of the release times the share, exactly; the columns are all of those of the release;
notes take about as many bytes, and gzip makes of them about as many. What is inside is chance: no model can
learn anything from it (`medm_plm.data.synthetic` writes cohorts from which one can). Rows are made and
written in blocks, compression runs in a thread beside, and memory stays far below 1 GB.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]  # runs from a clone, installed or not

from full_size_cohort import Cohort, draw_cohort  # noqa: E402
from full_size_notes import POOL_SIZE, NoteFactory, note_blocks  # noqa: E402
from full_size_pharmacy import draw_orders, drug_catalogue  # noqa: E402

from medm_plm.data.synthetic.dates import timestamps  # noqa: E402

ROWS = {
    "PATIENTS": 46_520,
    "ADMISSIONS": 58_976,
    "DIAGNOSES_ICD": 651_047,
    "PRESCRIPTIONS": 4_156_450,
    "NOTEEVENTS": 2_083_180,
}
COUNTS_FILE = "counts.json"

_COMPRESSION_LEVEL = 1
_ROWS_PER_BLOCK = 100_000
_MISSING_CODES = 47 / 651_047


class PackedCsv:
    """A `.csv.gz` file that is compressed in a thread of its own while the next rows are made.

    Args:
        folder (`Path`): folder of the tables.
        name (`str`): name of the table.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.num_rows = 0
        self.num_bytes = 0
        self._path = folder / f"{name}.csv.gz"
        self._blocks: queue.Queue[bytes | None] = queue.Queue(maxsize=3)
        self._thread = threading.Thread(target=self._compress)
        self._error: BaseException | None = None
        self._thread.start()

    def append(self, block: bytes, num_rows: int) -> None:
        """Write lines that are ready."""
        if self._error is not None:
            raise self._error
        self.num_rows += num_rows
        self.num_bytes += len(block)
        self._blocks.put(block)

    def append_table(self, rows: pl.DataFrame) -> None:
        """Write rows with their numbers in front; the header comes with the first ones."""
        numbered = rows.with_row_index("ROW_ID", offset=self.num_rows + 1)
        text = numbered.write_csv(include_header=self.num_rows == 0, quote_style="non_numeric")
        self.append(text.encode(), rows.height)

    def _compress(self) -> None:
        packer = zlib.compressobj(_COMPRESSION_LEVEL, wbits=31)
        try:
            with self._path.open("wb") as file:
                while (block := self._blocks.get()) is not None:
                    file.write(packer.compress(block))
                file.write(packer.flush())
        except BaseException as error:
            self._error = error
            while self._blocks.get() is not None:
                pass

    def __enter__(self) -> PackedCsv:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks.put(None)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error


def write_full_size_tables(
    folder: str | Path, share: float = 1.0, seed: int = 0, pool_size: int = POOL_SIZE
) -> dict[str, dict[str, int]]:
    """Write PATIENTS, ADMISSIONS, DIAGNOSES_ICD, PRESCRIPTIONS and NOTEEVENTS as `.csv.gz`.

    Args:
        folder (`str` or `Path`): where to write; made if missing.
        share (`float`, *optional*, defaults to 1): rows of each table, as a share of the release's.
        seed (`int`, *optional*, defaults to 0): seed of chance.
        pool_size (`int`, *optional*): distinct sentences of each kind; fewer for small tables.

    Returns:
        By table the number of rows, of bytes and of bytes after compression, which `counts.json` holds, too.
        That file is written last: a folder that has it is complete.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / COUNTS_FILE).unlink(missing_ok=True)
    rng = np.random.default_rng([seed, 17])
    rows = {name: round(count * share) for name, count in ROWS.items()}
    cohort = draw_cohort(rows["PATIENTS"], rows["ADMISSIONS"], rng)
    catalogue = drug_catalogue(rng)
    drugs = catalogue["DRUG"].unique(maintain_order=True).to_list()
    factory = NoteFactory(seed, drugs, pool_size)
    counts = {}
    writers = {
        "PATIENTS": lambda file: file.append_table(cohort.patients_table()),
        "ADMISSIONS": lambda file: file.append_table(cohort.admissions_table()),
        "DIAGNOSES_ICD": lambda file: _write_diagnoses(file, cohort, rows["DIAGNOSES_ICD"], rng),
        "PRESCRIPTIONS": lambda file: _write_prescriptions(
            file, cohort, catalogue, rows["PRESCRIPTIONS"], rng
        ),
        "NOTEEVENTS": lambda file: _write_notes(file, cohort, rows["NOTEEVENTS"], factory, rng),
    }
    for name, write in writers.items():
        with PackedCsv(folder, name) as file:
            write(file)
        packed = (folder / f"{name}.csv.gz").stat().st_size
        counts[name] = {"rows": file.num_rows, "bytes": file.num_bytes, "compressed_bytes": packed}
    content = {"share": share, "seed": seed, "tables": counts}
    (folder / COUNTS_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return counts


def _write_diagnoses(file: PackedCsv, cohort: Cohort, num_rows: int, rng: np.random.Generator) -> None:
    visit, code, position = cohort.draw_diagnoses(num_rows, rng)
    missing = rng.random(num_rows) < _MISSING_CODES
    rows = pl.DataFrame(
        {
            "SUBJECT_ID": cohort.subject_id[visit],
            "HADM_ID": cohort.hadm_id[visit],
            "SEQ_NUM": position,
            "ICD9_CODE": code,
        }
    )
    rows = rows.with_columns(
        pl.when(~pl.Series(missing)).then(pl.col(name)).alias(name) for name in ("SEQ_NUM", "ICD9_CODE")
    )
    file.append_table(rows)


def _write_prescriptions(
    file: PackedCsv, cohort: Cohort, catalogue: pl.DataFrame, num_rows: int, rng: np.random.Generator
) -> None:
    per_visit = cohort.draw_prescription_counts(num_rows, rng)
    for first, last in _blocks_of_visits(per_visit):
        visit = np.repeat(np.arange(first, last), per_visit[first:last])
        item = draw_orders(visit, catalogue.height, rng)
        stay = np.maximum(1, cohort.stay_days[visit])
        start = (rng.random(visit.size) ** 2.0 * stay).astype(np.int64)
        length = (rng.random(visit.size) * (stay - start)).astype(np.int64)
        day = cohort.admitted[visit].astype("datetime64[D]") + start.astype("timedelta64[D]")
        icu = np.where(rng.random(visit.size) < 0.65, 200_000 + visit, -1)
        rows = pl.DataFrame(
            {
                "SUBJECT_ID": cohort.subject_id[visit],
                "HADM_ID": cohort.hadm_id[visit],
                "ICUSTAY_ID": pl.Series(icu).replace(-1, None),
                "STARTDATE": _sometimes_missing(timestamps(day), 0.0008, rng),
                "ENDDATE": _sometimes_missing(timestamps(day + length.astype("timedelta64[D]")), 0.0013, rng),
            }
        )
        file.append_table(pl.concat([rows, catalogue[item]], how="horizontal"))


def _sometimes_missing(values: np.ndarray, share: float, rng: np.random.Generator) -> pl.Series:
    return pl.Series(np.where(rng.random(values.size) < share, "", values)).replace("", None)


def _blocks_of_visits(rows_of_visit: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut the visits into runs of about `_ROWS_PER_BLOCK` rows."""
    block = np.cumsum(rows_of_visit) // _ROWS_PER_BLOCK
    starts = np.flatnonzero(np.diff(block, prepend=-1)).tolist()
    return zip(starts, [*starts[1:], rows_of_visit.size], strict=True)


def _write_notes(
    file: PackedCsv, cohort: Cohort, num_rows: int, factory: NoteFactory, rng: np.random.Generator
) -> None:
    for block, size in note_blocks(cohort, num_rows, factory, rng):
        file.append(block, size)


def main() -> None:
    """Write one folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts = write_full_size_tables(options.output, options.share, options.seed)
    for name, count in counts.items():
        ratio = count["bytes"] / count["compressed_bytes"]
        print(f"{name}: {count['rows']} rows, {count['bytes'] / 1e6:.1f} MB, compressed {ratio:.2f} times")


if __name__ == "__main__":
    main()
