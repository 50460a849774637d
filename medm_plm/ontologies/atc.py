"""Groups of the Anatomical Therapeutic Chemical classification of medications.

An ATC code carries its ancestors in itself: `N02A` (opioids) stands in `N02` (analgesics) and in `N` (nervous
system). The classification is maintained by the WHO Collaborating Centre for Drug Statistics Methodology,
Oslo; only the letters of its first level are needed here.
"""

import re

MAIN_GROUPS: dict[str, str] = {
    "A": "Alimentary tract and metabolism",
    "B": "Blood and blood forming organs",
    "C": "Cardiovascular system",
    "D": "Dermatologicals",
    "G": "Genito-urinary system and sex hormones",
    "H": "Systemic hormonal preparations",
    "J": "Antiinfectives for systemic use",
    "L": "Antineoplastic and immunomodulating agents",
    "M": "Musculo-skeletal system",
    "N": "Nervous system",
    "P": "Antiparasitic products",
    "R": "Respiratory system",
    "S": "Sensory organs",
    "V": "Various",
}
"""First level of the classification: its letters and short titles."""

LEVELS = {1: "atc1", 3: "atc2", 4: "atc3", 5: "atc4", 7: "atc5"}
"""Level of a well-formed code by its number of characters; prescriptions are mapped to `atc3`."""

_WELL_FORMED = re.compile(f"[{''.join(MAIN_GROUPS)}](?:[0-9]{{2}}(?:[A-Z](?:[A-Z](?:[0-9]{{2}})?)?)?)?")


def level(code: str) -> str | None:
    """Return the level of a normalised ATC code, `atc1` to `atc5`, or None if it is not formed like one."""
    return LEVELS[len(code)] if _WELL_FORMED.fullmatch(code) else None


def groups(code: str) -> tuple[str, ...]:
    """Return the groups a normalised ATC code belongs to, narrowest first: `N02` and `N` for `N02A`.

    A misspelt code belongs to the groups that its well-formed beginning names, if that is longer than a
    letter: otherwise `NONE` would be a medicine for the nervous system.
    """
    match = _WELL_FORMED.match(code)
    longest = match.end() if match and match.end() > 1 else 0
    return tuple(code[:length] for length in reversed(LEVELS) if length <= longest and length < len(code))
