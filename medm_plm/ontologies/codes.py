"""The one way a clinical code is written inside the project.

A code means nothing without its system: `V10` is a personal history of cancer in ICD-9-CM and a cyclist hurt
in a collision with a pedestrian or an animal in ICD-10-CM. Prepared data therefore holds *qualified* codes,
`SYSTEM:CODE`, with the code in upper case and without dots and blanks.
"""

SYSTEMS = ("ICD9CM", "ICD10CM", "ATC")
"""Names of the code systems, as they stand before the colon of a qualified code."""

CODE_TYPE_OF_SYSTEM = {"ICD9CM": 1, "ICD10CM": 1, "ATC": 2}
"""Code type of each system: 1 diagnosis, 2 medication (0 is kept for special tokens)."""


def check_system(system: str) -> str:
    """Return the name of a code system unchanged if it is known.

    Raises:
        ValueError: if the system is not one of `SYSTEMS`.
    """
    if system not in SYSTEMS:
        raise ValueError(f"unknown code system {system!r}: expected one of {', '.join(SYSTEMS)}")
    return system


def check_not_empty(system: str, code: str) -> str:
    """Return a code unchanged unless it is empty.

    Raises:
        ValueError: if the code is empty; nobody can say which diagnosis or medication it stands for.
    """
    if not code:
        raise ValueError(f"empty {system} code: expected at least one letter or digit; drop empty codes")
    return code


def normalize_code(code: str) -> str:
    """Write a clinical code the project's way: upper case, no dots, no blanks.

    Args:
        code (`str`): a code as a source table writes it, such as `428.0` or `n02a`.

    Returns:
        The normalised code; empty if nothing but dots and blanks was given.

    Raises:
        TypeError: if the code is no text, since a number has already lost its leading zeros.
    """
    _check_text(code)
    return "".join(code.split()).replace(".", "").upper()


def qualify(system: str, code: str) -> str:
    """Join a code to its system, normalised: `("ICD9CM", "428.0")` becomes `ICD9CM:4280`.

    Raises:
        TypeError: if the code is no text.
        ValueError: if the system is unknown or nothing is left of the code after normalisation.
    """
    check_system(system)
    return f"{system}:{check_not_empty(system, normalize_code(code))}"


def split_qualified(qualified: str) -> tuple[str, str]:
    """Take a qualified code or an ontology node key apart at its first colon, changing neither part.

    Raises:
        TypeError: if the code is no text.
        ValueError: if there is no known system before the colon, or nothing after it.
    """
    _check_text(qualified)
    system, _, code = qualified.partition(":")
    if system not in SYSTEMS:  # what was received is not shown: it may be any cell of a patient's table
        raise ValueError(
            f"code without a known system: expected SYSTEM:CODE with one of {', '.join(SYSTEMS)}, such as "
            "ICD9CM:4280; use qualify(system, code)"
        )
    return system, check_not_empty(system, code)


def code_type(qualified: str) -> int:
    """Say whether a qualified code is a diagnosis (1) or a medication (2).

    Raises:
        ValueError: if the code does not name a known system.
    """
    return CODE_TYPE_OF_SYSTEM[split_qualified(qualified)[0]]


def _check_text(code: str) -> None:
    if not isinstance(code, str):
        raise TypeError(
            f"code of type {type(code).__name__}, expected str: "
            "read code columns as text, so that 0389 keeps its zero"
        )
