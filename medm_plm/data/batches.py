"""Rows of a table on their way into the package, some at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Batch:
    """Some rows of a table.

    Args:
        rows (`polars.DataFrame`): the rows as the file has them.
        cells (`Sequence[polars.Expr]`): the columns wanted, made of those of the file.
    """

    rows: pl.DataFrame
    cells: Sequence[pl.Expr]

    def wanted(self, keep: pl.Expr | None) -> pl.DataFrame:
        """Make the columns, for the rows that are wanted alone.

        Args:
            keep (`polars.Expr`, *optional*): which rows are wanted, said of the columns; all by default.

        Returns:
            The rows that are wanted, in their order.
        """
        if keep is None:
            return self.rows.select(self.cells)
        # Only what the condition looks at is made for every row.
        is_wanted = self.rows.lazy().select(self.cells).select(keep).collect().to_series()
        return self.rows.filter(is_wanted).select(self.cells)
