"""Free text: cleaning of notes, and short sections composed from pick-lists.

The expressions work on whole columns; `clean_note` and `compose` are the same rules for one value, for
reading and for tests.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from medm_plm.data.schema import ADMISSION_NOTE, HADM_ID, NOTE, NUM_ROWS, POSITION, TABLE

# ClinicalBERT's rules in its order, over lower-case text without line breaks. Its rule for list numbers, a
# number and a point anywhere, would turn "1.5 mg" into "5 mg" and "creatinine 135." into "creatinine"; ours
# takes one or two digits that stand alone, so that decimals and longer numbers survive.
_REPLACEMENTS = (
    (r"\[\*\*.*?\*\*\]", " "),  # markers of removed names and dates
    (r"(^|\s)(?:\d{1,2}\.(?:\s+|$))+", "$1"),  # "1. aspirin 2. heparin"
    (r"(^|\s)\d{1,2}\.([a-z(])", "$1$2"),  # "1.aspirin"
    (r"\bdr\.", "doctor"),
    (r"\bm\.d\.", "md"),
    (r"admission date:", ""),
    (r"discharge date:", ""),
    (r"-{2,}|_{2,}|={2,}", ""),
)


def cleaned(text: pl.Expr) -> pl.Expr:
    """Clean clinical text as ClinicalBERT does, keeping decimals such as `1.5 mg`.

    Section 7 of the method: removes `[**...**]` markers, list numbers, "admission date:", "discharge date:"
    and runs of dashes, underscores and equals signs; writes out "dr." and "m.d."; lower case; line breaks
    become blanks.

    Args:
        text (`polars.Expr`): notes.

    Returns:
        The clean notes; null becomes "".
    """
    text = plain(text)
    for pattern, replacement in _REPLACEMENTS:
        text = text.str.replace_all(pattern, replacement)
    return _single_blanks(text)


def plain(text: pl.Expr) -> pl.Expr:
    """Write text in lower case on one line, with single blanks.

    Args:
        text (`polars.Expr`): any text.

    Returns:
        The plain text; null becomes "".
    """
    return _single_blanks(text.fill_null("").str.to_lowercase())


def _single_blanks(text: pl.Expr) -> pl.Expr:
    # Leaves the many single blanks alone, which is three times as fast as replacing every run of white space.
    return text.str.replace_all(r"\s\s+|[^\S ]", " ").str.strip_chars()


def clean_note(note: str) -> str:
    """Clean one note, by the rules of `cleaned`.

    Args:
        note (`str`): a note as it was written.

    Returns:
        The clean note.
    """
    return str(pl.select(cleaned(pl.lit(note))).item())


def compose(phrases: pl.DataFrame, sections: Sequence[str]) -> pl.DataFrame:
    """Join phrases to sections with headings, for sources whose text was clicked together from pick-lists.

    A phrase that comes again within its section of the visit is written once. A section reads
    "past history: asthma; hypothyroidism."

    Args:
        phrases (`polars.DataFrame`): columns `hadm_id`, `table`, `section` (Int64, place in `sections`),
            `order` (Int64, nulls last), `key` (what makes a phrase a repetition), `phrase`, `is_early`
            (Boolean, known at admission) and `num_rows` (Int64).
        sections (`Sequence[str]`): headings, in the order in which they shall be read.

    Returns:
        One row for each visit, table and section, in the columns of `schema.SOURCE_NOTE_SCHEMA`.
    """
    keys = [HADM_ID, TABLE, POSITION]
    ordered = phrases.rename({"section": POSITION}).sort(*keys, "order", "phrase", nulls_last=True)
    by_key = ordered.group_by([*keys, "key"], maintain_order=True).agg(
        pl.col("phrase").first(), pl.col("is_early").any(), pl.sum(NUM_ROWS)
    )
    early = pl.col("phrase").filter("is_early").alias("early")
    joined = by_key.group_by(keys, maintain_order=True).agg("phrase", early, pl.sum(NUM_ROWS))
    heading = pl.col(POSITION).replace_strict(range(len(sections)), sections, return_dtype=pl.String)

    def section(phrases: str) -> pl.Expr:
        return heading + ": " + pl.col(phrases).list.join("; ") + "."

    at_admission = pl.when(pl.col("early").list.len() > 0).then(section("early"))
    return joined.select(*keys, section("phrase").alias(NOTE), at_admission.alias(ADMISSION_NOTE), NUM_ROWS)
