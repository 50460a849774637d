"""Medication mapping files as they circulate in the field, read into look-ups to ATC third level."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import polars as pl

from medm_plm.errors import InputError
from medm_plm.ontologies.ndc import normalize_ndc
from medm_plm.ontologies.routes import route_group

ACCEPTED_SHAPES = (
    "a table with columns ndc,atc; a table with columns drug,route,atc or drug,atc; "
    "a folder with a Python dict literal NDC -> RXCUI (such as ndc2rxnorm_mapping.txt) and a table with "
    "columns RXCUI,ATC (such as ndc2atc_level4.csv or RXCUI2atc4.csv)"
)

# Names a column may have, the preferred first; compared in lower case without blanks, dashes, underscores.
_COLUMN_NAMES = {
    "ndc": ("ndc", "ndc11", "ndccode", "packagendc"),
    "rxcui": ("rxcui", "rxnorm", "rxnormid", "rxnormcode"),
    "atc": ("atc", "atccode", "atc5", "atclevel5", "atc4", "atclevel4", "atc3", "atclevel3"),
    "drug": ("drug", "drugname", "medication", "medicationname", "genericname", "name"),
    "route": ("route", "routeadmin", "drugroute", "administrationroute"),
    "rows": ("rows", "count"),
}
_Key = TypeVar("_Key")
_ATC_CODE = re.compile(r"[A-Z]\d\d[A-Z]")
_DELIMITERS = ",\t;|"


@dataclass(frozen=True)
class MappingTables:
    """What a mapping file says, by package number and by name.

    Args:
        by_ndc (`dict`): 11-digit NDC to ATC third level.
        by_name_and_route (`dict`): folded (drug, route) to ATC third level.
        by_name_and_group (`dict`): folded drug and route group to the most frequent ATC third level.
        by_name (`dict`): folded drug to its most frequent ATC third level over all routes.
    """

    by_ndc: dict[str, str] = field(default_factory=dict)
    by_name_and_route: dict[tuple[str, str], str] = field(default_factory=dict)
    by_name_and_group: dict[tuple[str, str | None], str] = field(default_factory=dict)
    by_name: dict[str, str] = field(default_factory=dict)

    def name_to_atc(self, drug: str, route: str | None) -> str | None:
        """Look a drug string up: with its route, else with routes of its group, else whatever its route."""
        name = fold(drug)
        return (
            self.by_name_and_route.get((name, fold(route or "")))
            or self.by_name_and_group.get((name, route_group(route)))
            or self.by_name.get(name)
        )


def fold(text: str) -> str:
    """Make two spellings of one string equal: case and runs of blanks do not count."""
    return " ".join(text.upper().split())


def atc_level3(code: str | None) -> str | None:
    """Cut an ATC code of any level from the third on to four characters; `None` for anything else."""
    match = _ATC_CODE.match((code or "").strip().upper())
    return match.group() if match else None


def read_mapping(path: Path) -> MappingTables:
    """Read a mapping file or folder, recognising by its header which of the known shapes it has.

    Args:
        path (`Path`): a table (comma, semicolon, tab or bar between columns; may be gzipped), a Python dict
            literal NDC -> RXCUI with the table RXCUI -> ATC beside it, or a folder that holds these two.

    Raises:
        InputError: if the path does not exist, has no known shape or holds no ATC code.
    """
    if not path.exists():
        raise InputError("medication mapping does not exist", file=path, expected=ACCEPTED_SHAPES)
    try:
        tables = _read_folder(path) if path.is_dir() else _read_file(path)
    except OSError as error:
        raise InputError(
            "medication mapping cannot be read", file=path, received=type(error).__name__
        ) from error
    if not (tables.by_ndc or tables.by_name):
        raise InputError(
            "medication mapping holds no usable row",
            file=path,
            expected="a key and an ATC code of at least four characters, such as N02B or N02BE01",
        )
    return tables


def _read_file(path: Path) -> MappingTables:
    if _is_dict_literal(path):
        return _read_folder(path.parent, rxcui_of_ndc=_read_dict_literal(path))
    frame = _read_table(path)
    columns = _recognise(frame.columns)
    if "rxcui" in columns and "atc" in columns and (literal := _literal_beside(path)):
        return _chain(_read_dict_literal(literal), frame, columns)
    return _tables_from_columns(path, frame, columns)


def _read_folder(folder: Path, rxcui_of_ndc: Mapping[str, str] | None = None) -> MappingTables:
    """Join the two published files of a folder: NDC -> RXCUI and RXCUI -> ATC."""
    if rxcui_of_ndc is None:
        literal = _literal_beside(folder / "any")
        if literal is None:
            raise _unknown_shape(folder, "no NDC -> RXCUI file in the folder")
        rxcui_of_ndc = _read_dict_literal(literal)
    for table in sorted(folder.glob("*.csv")) + sorted(folder.glob("*.csv.gz")):
        frame = _read_table(table)
        columns = _recognise(frame.columns)
        if "rxcui" in columns and "atc" in columns:
            return _chain(rxcui_of_ndc, frame, columns)
    raise _unknown_shape(folder, "an NDC -> RXCUI file, but no table with columns RXCUI,ATC beside it")


def _literal_beside(path: Path) -> Path | None:
    return next((file for file in sorted(path.parent.glob("*.txt")) if _is_dict_literal(file)), None)


def _is_dict_literal(path: Path) -> bool:
    if path.suffix == ".gz":
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _read_dict_literal(path: Path) -> dict[str, str]:
    """Read a dictionary NDC -> RXCUI written by Python's `print`. Parsed as a literal, never executed."""
    try:
        content = ast.literal_eval(path.read_text(encoding="utf-8-sig").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise InputError(
            "medication mapping begins like a Python dict literal but is none",
            file=path,
            received=type(error).__name__,
            expected="{'NDC': 'RXCUI', ...}",
            remedy="download the file again",
        ) from None
    if not isinstance(content, dict):
        raise _unknown_shape(path, "a Python literal that is no dictionary")
    pairs = ((normalize_ndc(str(ndc)), _fold_rxcui(str(rxcui))) for ndc, rxcui in content.items())
    return {ndc: rxcui for ndc, rxcui in pairs if ndc and rxcui}


def _read_table(path: Path) -> pl.DataFrame:
    try:
        # A separator that no text holds keeps the header line whole, so that its own can be counted.
        whole_lines = pl.read_csv(path, separator="\x1f", n_rows=0, quote_char=None, encoding="utf8-lossy")
        separator = max(_DELIMITERS, key=whole_lines.columns[0].count)
        return pl.read_csv(path, separator=separator, infer_schema=False, encoding="utf8-lossy")
    except (pl.exceptions.PolarsError, EOFError) as error:
        # The text of the error may quote a cell, so only its kind is passed on.
        raise InputError(
            "medication mapping is not readable as a table",
            file=path,
            received=type(error).__name__,
            expected=ACCEPTED_SHAPES,
        ) from None


def _recognise(header: Iterable[str]) -> dict[str, str]:
    """Find the columns of a mapping by name: role -> column of the file."""
    folded = {re.sub(r"[\s_\-\ufeff\"']", "", column).lower(): column for column in reversed(list(header))}
    return {
        role: folded[next(name for name in names if name in folded)]
        for role, names in _COLUMN_NAMES.items()
        if any(name in folded for name in names)
    }


def _tables_from_columns(path: Path, frame: pl.DataFrame, columns: dict[str, str]) -> MappingTables:
    if "atc" not in columns or not {"ndc", "drug"} & columns.keys():
        # The header of a file without one is a row of data, so that only names known here are shown.
        known = ", ".join(columns.values()) or "none"
        raise _unknown_shape(path, f"{len(frame.columns)} columns, of a known name: {known}")
    by_ndc = _ndc_to_atc(frame, columns) if "ndc" in columns else {}
    if "drug" not in columns:
        return MappingTables(by_ndc=by_ndc)
    return _with_names(by_ndc, frame, columns)


def _ndc_to_atc(frame: pl.DataFrame, columns: dict[str, str]) -> dict[str, str]:
    rows = frame.select(columns["ndc"], columns["atc"]).iter_rows()
    return _first_of_each((normalize_ndc(ndc), atc_level3(atc)) for ndc, atc in rows)


def _with_names(by_ndc: dict[str, str], frame: pl.DataFrame, columns: dict[str, str]) -> MappingTables:
    """Weigh the rows of a name table: where one key has several classes, the one with most rows is taken."""
    exact: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    grouped: dict[tuple[str, str | None], Counter[str]] = defaultdict(Counter)
    any_route: dict[str, Counter[str]] = defaultdict(Counter)
    roles = [columns.get(role) for role in ("drug", "route", "atc", "rows")]
    cells = [frame[role].to_list() if role else [None] * frame.height for role in roles]
    for drug, route, code, rows in zip(*cells, strict=True):
        atc = atc_level3(code)
        if not atc or not (name := fold(drug or "")):
            continue
        weight = int(rows) if rows and rows.isascii() and rows.isdigit() else 1
        exact[name, fold(route or "")][atc] += weight
        grouped[name, route_group(route)][atc] += weight
        any_route[name][atc] += weight
    return MappingTables(by_ndc, _majority(exact), _majority(grouped), _majority(any_route))


def _majority(votes: Mapping[_Key, Counter[str]]) -> dict[_Key, str]:
    """Take the most frequent class of each key; of equally frequent ones the first in the alphabet."""
    return {key: min(count, key=lambda atc: (-count[atc], atc)) for key, count in votes.items()}


def _chain(rxcui_of_ndc: Mapping[str, str], frame: pl.DataFrame, columns: dict[str, str]) -> MappingTables:
    """Go from NDC over RXCUI to ATC; the first ATC code of an RXCUI counts, as in the published scripts.

    Packages that the chain leaves out are taken from the NDC column of the second file, where it has one.
    """
    rows = frame.select(columns["rxcui"], columns["atc"]).iter_rows()
    atc_of_rxcui = _first_of_each((_fold_rxcui(rxcui), atc_level3(atc)) for rxcui, atc in rows)
    by_ndc = _ndc_to_atc(frame, columns) if "ndc" in columns else {}
    chained = {ndc: atc_of_rxcui[rxcui] for ndc, rxcui in rxcui_of_ndc.items() if rxcui in atc_of_rxcui}
    return MappingTables(by_ndc=by_ndc | chained)


def _fold_rxcui(rxcui: str | None) -> str | None:
    return re.sub(r"\.0*$", "", (rxcui or "").strip()).lstrip("0") or None


def _first_of_each(pairs: Iterable[tuple[str | None, str | None]]) -> dict[str, str]:
    first: dict[str, str] = {}
    for key, value in pairs:
        if key and value:
            first.setdefault(key, value)
    return first


def _unknown_shape(path: Path, found: str) -> InputError:
    return InputError(
        "shape of the medication mapping not recognised",
        file=path,
        received=found,
        expected=ACCEPTED_SHAPES,
        remedy="rename the columns, or leave the mapping out to use the packaged table",
    )
