"""Which visits have times that make sense."""

from datetime import datetime

import polars as pl

from medm_plm.data.reading import keep_timed
from medm_plm.data.schema import RowLedger


def test_a_stay_of_no_length_is_a_visit():
    """Some sources give whole days, and who is sent home on the day of admission was in hospital."""
    start = datetime(2031, 1, 1)
    times = [(start, start), (start, datetime(2031, 1, 2)), (start, datetime(2030, 12, 31)), (start, None)]
    frame = pl.DataFrame(times, schema=["admission_time", "discharge_time"], orient="row")
    ledger = RowLedger(frame.height)
    assert keep_timed(frame, ledger).rows() == times[:2]
    assert ledger.dropped == {
        "discharge before admission": 1,
        "admission or discharge time cannot be read": 1,
    }
