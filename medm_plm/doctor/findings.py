"""One line of a check-up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from medm_plm.errors import InputError

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Args:
        area (`str`): what was looked at.
        status (`str`): `OK`, `WARNING` (works, but should be known) or `PROBLEM`.
        message (`str`): what was seen.
        remedy (`str`, *optional*): what mends it.
    """

    area: str
    status: str
    message: str
    remedy: str | None = None


@contextmanager
def as_problem(area: str, findings: list[Finding]) -> Iterator[None]:
    """Turn an error of ours into a problem, so that the check-up goes on.

    Args:
        area (`str`): what is looked at.
        findings (`list[Finding]`): gets the problem.
    """
    try:
        yield
    except InputError as error:
        text = str(error)
        if error.remedy and text.endswith(f"; {error.remedy}"):
            text = text.removesuffix(f"; {error.remedy}")
        findings.append(Finding(area, PROBLEM, text, error.remedy))
