"""National Drug Code (NDC): the spellings of a US package number, brought to the 11 digits of billing."""

import re

# Labeler, product and package: 5-4-2 digits in the billing form; the FDA prints one of them a digit short.
SEGMENT_WIDTHS = (5, 4, 2)
NDC_DIGITS = sum(SEGMENT_WIDTHS)
# A labeler below 00002 was never assigned, so fewer digits than this are no package number.
FEWEST_DIGITS = 7

_FLOAT_TAIL = re.compile(r"\.0*$")


def normalize_ndc(ndc: str | None) -> str | None:
    """Bring one National Drug Code to 11 digits, so that one package has one spelling.

    Source: FDA and CMS rule for the 10-digit forms 4-4-2, 5-3-2 and 5-4-1, where the short segment gets a
    leading zero; an asterisk stands for such a zero. Digits without hyphens that are too few have lost their
    leading zeros in a spreadsheet and get them back; a 12-digit form with a leading zero loses it.

    Args:
        ndc (`str`, *optional*): code as recorded, with or without hyphens.

    Returns:
        The 11 digits, or `None` where no package is named (empty, zero, not a number, impossible length).
    """
    if ndc is None:
        return None
    text = ndc.strip().replace("*", "0")
    digits = _join_segments(text) if "-" in text else _pad(_FLOAT_TAIL.sub("", text), NDC_DIGITS)
    if digits is None or len(digits.lstrip("0")) < FEWEST_DIGITS:
        return None
    return digits


def _join_segments(text: str) -> str | None:
    segments = text.split("-")
    if len(segments) != len(SEGMENT_WIDTHS):
        return None
    padded = [_pad(segment, width) for segment, width in zip(segments, SEGMENT_WIDTHS, strict=True)]
    return None if None in padded else "".join(filter(None, padded))


def _pad(text: str, width: int) -> str | None:
    """Fill with leading zeros up to `width`, or take superfluous ones away; `None` if it cannot fit."""
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return None
    fitted = text[max(0, len(text) - width) :].zfill(width)
    superfluous = text[: max(0, len(text) - width)]
    return None if superfluous.strip("0") else fitted
