"""The card of a prepared folder, from its report alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from huggingface_hub import DatasetCardData

from medm_plm.cards import passages
from medm_plm.cards.model_cards import CARD_FILE, checked, write_readable
from medm_plm.cards.reading import Publisher, read_json
from medm_plm.cards.sources import OPEN_LICENSE, Source, source_of
from medm_plm.cards.tables import counts_table, markdown_table, not_applicable, sentence
from medm_plm.data.schema import REPORT_FILE, VISIT_SCHEMA
from medm_plm.training.run_record import preparation_facts

_TEMPLATE = "dataset_card.md"
_TAGS = ("electronic-health-records", "clinical-notes", "icd", "atc", "medical")


def dataset_card(prepared_folder: str | Path, *, publisher: Publisher | None = None) -> str:
    """Write the card of a folder of `run_preparation.py`.

    Args:
        prepared_folder (`str` or `Path`): the folder.
        publisher (`Publisher`, *optional*): who stands for the data.

    Returns:
        The whole `README.md`, with its YAML header.

    Raises:
        InputError: if the folder has no report, or the card would name a path of this machine.
    """
    report = read_json(Path(prepared_folder) / REPORT_FILE)
    facts = preparation_facts(prepared_folder) or {}
    source = source_of((report.get("source") or {}).get("name"))
    template = Template(files("medm_plm.cards").joinpath("templates", _TEMPLATE).read_text(encoding="utf-8"))
    return checked(template.substitute(_fields(source, facts, report, publisher or Publisher())))


def write_dataset_card(prepared_folder: str | Path, *, publisher: Publisher | None = None) -> Path:
    """Write `README.md` into a prepared folder.

    Args:
        prepared_folder, publisher: see `dataset_card`.

    Returns:
        Its path.

    Raises:
        InputError: as `dataset_card`, or if the folder cannot be written.
    """
    path = Path(prepared_folder) / CARD_FILE
    write_readable(path, dataset_card(prepared_folder, publisher=publisher))
    return path


def _fields(
    source: Source, facts: Mapping[str, Any], report: Mapping[str, Any], publisher: Publisher
) -> dict[str, str]:
    name = f"{sentence(source.title)}, prepared for MedM-PLM"
    language = publisher.language or source.language
    warning = "The visits are invented and may be shared."
    if source.is_restricted:
        warning = (
            "**Do not publish this folder.** It holds the notes and codes of patients, and its card is for "
            f"the people who may read it. {source.rule}"
        )
    columns = ["table", "rows read", "left out"]
    dropped = facts.get("rows_dropped") or {}
    rows = [[table, count, dropped.get(table)] for table, count in (facts.get("rows_read") or {}).items()]
    cohort = ", ".join(f"{key} {json.dumps(value)}" for key, value in (facts.get("cohort") or {}).items())
    return {
        "header": _header(source, name, language, facts),
        "name": name,
        "warning": warning,
        "description": f"{sentence(source.title)}: {source.description}.\n\n{counts_table(facts)}",
        "developer": publisher.developer or not_applicable("the publisher stated none"),
        "funding": publisher.funding or not_applicable("the publisher stated none"),
        "language": language,
        "license": source.license_name or "not-licensed",
        "repository": not_applicable("the card lies in the folder it describes"),
        "paper": passages.PAPER,
        "demo": not_applicable("the preparation makes no demo"),
        "direct_use": "Pre-training and fine-tuning by `run_pretraining.py` and `run_finetuning.py`.",
        "out_of_scope": passages.OUT_OF_SCOPE,
        "structure": _structure(report),
        "rationale": "One row for each visit, as the method of the paper reads it.",
        "source": f"Population: {source.population}.\n\n" + markdown_table(columns, rows),
        "processing": (
            f"Cohort: {cohort or 'all visits'}; readmission by the policy "
            f"`{facts.get('readmission_policy')}`. "
            "`report.json` has every rule, and the reason of each row that was left out."
        ),
        "producers": "Clinicians, coders and pharmacies of the source."
        if source.is_restricted
        else "A generator of invented patients.",
        "annotation": "Labels are read off the records: codes, prescriptions, admissions and deaths.",
        "annotators": not_applicable("nobody annotated the records for this purpose"),
        "sensitive": _sensitive(source),
        "limits": f"{passages.LIMITS}\n- Population: {source.population}.",
        "recommendations": passages.RECOMMENDATIONS,
        "bibtex": passages.BIBTEX,
        "apa": passages.PAPER,
        "glossary": "ICD: classification of diagnoses. ATC: classification of medications.",
        "more": f"Fingerprint of the preparation: `{facts.get('fingerprint')}`",
        "authors": "written by `medm_plm.cards` from the report of the preparation",
        "contact": publisher.contact or not_applicable("the publisher stated none"),
    }


def _header(source: Source, name: str, language: str, facts: Mapping[str, Any]) -> str:
    visits = (facts.get("visits") or {}).get("visits_prepared") or 0
    fields: dict[str, Any] = {
        "language": language,
        "license": "other" if source.is_restricted else OPEN_LICENSE,
        "pretty_name": name,
        "tags": list(_TAGS),
        "size_categories": _size_category(visits),
        "source_datasets": [source.dataset_id],
    }
    if source.is_restricted:
        fields["license_name"] = source.license_name or "not-licensed"
        fields["viewer"] = False
        fields["extra_gated_prompt"] = f"Do not publish. {source.rule}"
        if source.license_link is not None:
            fields["license_link"] = source.license_link
    return DatasetCardData(**fields).to_yaml()


def _size_category(visits: int) -> str:
    """The Hub's name for a number of rows."""
    if visits < 1_000:
        return "n<1K"
    bounds = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
    power = len(str(visits)) - 4  # the first bound has four digits, each further one a digit more
    return f"{bounds[power]}<n<{bounds[power + 1]}" if power + 1 < len(bounds) else "n>1T"


def _structure(report: Mapping[str, Any]) -> str:
    rows = [[f"`{name}`", str(kind)] for name, kind in VISIT_SCHEMA.items()]
    digests = [f"- `{name}`: SHA-256 `{digest}`" for name, digest in (report.get("output") or {}).items()]
    return f"Columns of `visits.parquet`:\n\n{markdown_table(['column', 'type'], rows)}\n\n" + "\n".join(
        digests
    )


def _sensitive(source: Source) -> str:
    if not source.is_restricted:
        return "None: no real patient is in it."
    return (
        "Notes, codes, ages and times of stays of patients. De-identification of the source is no promise of "
        "anonymity; files are readable by their owner only. Do not publish them."
    )
