"""The one exception for mistakes that the user can mend."""

from __future__ import annotations

from os import PathLike


class InputError(ValueError):
    """Something in the user's files or options is wrong, and the message says how to mend it.

    Scripts print it as one line and exit with status 1 (see `medm_plm.command_line.run_main`). A message
    never holds patient text or the content of a data cell: say where the cell stands, not what it contains.

    Args:
        message (`str`): what is wrong, in a few words.
        file (`str` or `os.PathLike`, *optional*): the file in which it was found.
        row (`int`, *optional*): line of that file, the header being line 1.
        received (`object`, *optional*): the option, name, type or count that was met; never a data cell.
        expected (`object`, *optional*): what would have been right.
        remedy (`str`, *optional*): what the user can do about it.

    Example:
        >>> str(InputError("column is missing", file="D.csv", received="3 columns", expected="ICD9_CODE"))
        'D.csv: column is missing; received 3 columns, expected ICD9_CODE'
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | PathLike[str] | None = None,
        row: int | None = None,
        received: object = None,
        expected: object = None,
        remedy: str | None = None,
    ) -> None:
        place = ", ".join(part for part in (file and str(file), row is not None and f"row {row}") if part)
        facts = ", ".join(
            f"{word} {value}"
            for word, value in (("received", received), ("expected", expected))
            if value is not None
        )
        sentence = "; ".join(part for part in (message, facts, remedy) if part)
        super().__init__(f"{place}: {sentence}" if place else sentence)
        self.file = None if file is None else str(file)
        self.row = row
        self.received = received
        self.expected = expected
        self.remedy = remedy
