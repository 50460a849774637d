"""What is known of each source of data: its name, its licence, and who may see what was learnt from it.

A source that is not known is taken for restricted: a card must not open what a data-use agreement closes.
"""

from __future__ import annotations

from dataclasses import dataclass

OPEN_LICENSE = "apache-2.0"
_PHYSIONET = "physionet-credentialed-health-data-license-1.5.0"
UNKNOWN_LANGUAGE = "und"  # ISO 639-2, undetermined


@dataclass(frozen=True)
class Source:
    """A source of data as a card names it.

    Args:
        dataset_id (`str`): its name in the metadata.
        title (`str`): its name in the text.
        description (`str`): what it is.
        population (`str`): whose visits it holds.
        is_restricted (`bool`, defaults to True): whether data and weights may be shared freely.
        rule (`str`): what may be done with weights learnt from it.
        license_name, license_link (`str`, *optional*): its licence.
        language (`str`, defaults to `"und"`): language of the notes.
    """

    dataset_id: str
    title: str
    description: str
    population: str
    rule: str
    is_restricted: bool = True
    license_name: str | None = None
    license_link: str | None = None
    language: str = UNKNOWN_LANGUAGE


_CREDENTIALED_RULE = (
    "The data are credentialed: their data-use agreement forbids sharing access to them, and a model that "
    "read the notes may have memorised parts of them. Keep the weights private, or gated to people who hold "
    "the same credentials and have signed the same agreement; PhysioNet asks that such models be shared "
    "there, under the restrictions of the data. Never publish notes, predictions by visit, cached text "
    "states or prepared data."
)
_UNKNOWN_RULE = (
    "The rules of the data are not known to the software. Treat the weights as the data themselves: private, "
    "or gated to people who may see the data, until the owner of the data has agreed to more."
)

SOURCES = {
    "synthetic": Source(
        "medm-plm-synthetic",
        "MedM-PLM synthetic cohort",
        "an invented cohort in the shape of MIMIC-III, drawn from random numbers; no real patient is in it",
        "invented adults; nothing learnt from them holds for real patients",
        "The data are invented; weights learnt from them may be shared.",
        is_restricted=False,
        license_name=OPEN_LICENSE,
        language="en",
    ),
    "mimic3": Source(
        "mimic-iii",
        "MIMIC-III",
        "de-identified records of intensive-care stays at one hospital in Boston, 2001 to 2012",
        "patients of the intensive-care units of one academic hospital in the United States, 2001 to 2012",
        _CREDENTIALED_RULE,
        license_name=_PHYSIONET,
        license_link="https://physionet.org/content/mimiciii/view-license/1.4/",
        language="en",
    ),
    "mimic4": Source(
        "mimic-iv",
        "MIMIC-IV",
        "de-identified records of hospital stays at one hospital in Boston from 2008 on",
        "patients of one academic hospital in the United States from 2008 on",
        _CREDENTIALED_RULE,
        license_name=_PHYSIONET,
        license_link="https://physionet.org/content/mimiciv/view-license/3.1/",
        language="en",
    ),
    "eicu": Source(
        "eicu-crd",
        "eICU Collaborative Research Database",
        "de-identified records of intensive-care stays at more than 200 hospitals, 2014 and 2015",
        "patients of intensive-care units with a tele-health programme in the United States, 2014 and 2015",
        _CREDENTIALED_RULE,
        license_name=_PHYSIONET,
        license_link="https://physionet.org/content/eicu-crd/view-license/2.0/",
        language="en",
    ),
    "meds": Source(
        "private-meds-data",
        "a data set in the MEDS format",
        "a data set in the MEDS format, whose origin the run does not know",
        "not known to the run",
        _UNKNOWN_RULE,
    ),
    "table": Source(
        "private-tables",
        "plain tables of the user",
        "plain tables of the user, whose origin the run does not know",
        "not known to the run",
        _UNKNOWN_RULE,
    ),
}
_CORPUS = Source(
    "private-ner-corpus",
    "a corpus of labelled sentences",
    "a corpus of labelled sentences, whose origin the run does not know",
    "not known to the run",
    _UNKNOWN_RULE,
)
_UNKNOWN = Source(
    "private-prepared-data",
    "a prepared folder without a report",
    "a prepared folder whose report was missing, so that its origin is not known",
    "not known to the run",
    _UNKNOWN_RULE,
)


def source_of(name: str | None, task: str = "") -> Source:
    """Find what is known of a source.

    Args:
        name (`str`, *optional*): as the preparation's report has it.
        task (`str`, defaults to `""`): `ner` reads a corpus and no prepared folder.

    Returns:
        The source; an unknown one is restricted.
    """
    if name is None:
        return _CORPUS if task == "ner" else _UNKNOWN
    return SOURCES.get(name, _UNKNOWN)
