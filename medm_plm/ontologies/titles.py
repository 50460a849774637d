"""Short titles of groups of codes, for people who read a report.

The packaged list names blocks of diagnoses and groups of medications in our own words, not the codes
themselves; chapters and the ATC main groups have theirs in the trees. A user who has titles of codes can give
them beside it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from medm_plm.errors import InputError
from medm_plm.ontologies.codes import qualify, split_qualified
from medm_plm.ontologies.ontology import get_ontology

_TITLE_COLUMNS = ("system", "code", "title")


def nearest_title(
    qualified: str, titles: Mapping[str, str] = MappingProxyType({})
) -> tuple[str | None, str | None]:
    """Find the title of a code, else of the narrowest group above it that has one.

    Args:
        qualified (`str`): a code as `SYSTEM:CODE`, or the key of a node.
        titles (`Mapping[str, str]`, *optional*): titles by qualified code or node that the user has.

    Returns:
        The title and the key of the node that bears it; None twice if there is none up to the root.

    Raises:
        ValueError: if the code is empty or names no known system.
    """
    ontology = get_ontology(split_qualified(qualified)[0])
    for node in ontology.path(qualified):
        title = titles.get(node) or packaged_titles().get(node) or ontology.title(node)
        if title:
            return title, node
    return None, None


def titles_of_nodes(nodes: Iterable[str], titles: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Collect the titles of codes and nodes, to be saved with a model.

    Args:
        nodes (`Iterable[str]`): keys of nodes; what names no known system is passed over.
        titles (`Mapping[str, str]`, *optional*): titles by qualified code or node that the user has.

    Returns:
        Titles by node, of those that bear one themselves.
    """
    found: dict[str, str] = {}
    for node in nodes:
        try:
            title, bearer = nearest_title(node, titles)
        except ValueError:  # a special token
            continue
        if title is not None and bearer == node:
            found[node] = title
    return found


def read_titles(path: str | Path) -> Mapping[str, str]:
    """Read the titles of codes that a user has.

    Args:
        path (`str` or `Path`): CSV with the columns `system` (such as `ICD9CM`), `code` and `title`.

    Returns:
        Titles by qualified code.

    Raises:
        InputError: if the file is missing, is no such table, or names an unknown system.
    """
    expected = "a CSV with the columns system, code and title"
    titles: dict[str, str] = {}
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            if any((rows.fieldnames or []).count(name) != 1 for name in _TITLE_COLUMNS):
                raise KeyError  # also where no row follows
            for row in rows:
                titles[qualify(row["system"], row["code"])] = row["title"].strip()
    except OSError as error:
        raise InputError(f"file cannot be read: {error.strerror}", file=path, expected=expected) from None
    except (KeyError, AttributeError, TypeError, ValueError, csv.Error):
        # The message may quote a cell, so it is not passed on.
        raise InputError("is no list of titles", file=path, row=rows.line_num, expected=expected) from None
    return MappingProxyType(titles)


@cache
def packaged_titles() -> Mapping[str, str]:
    """Load the packaged titles once, by key of the node."""
    text = files("medm_plm.ontologies").joinpath("titles.csv").read_text(encoding="utf-8")
    return MappingProxyType({row["node"]: row["title"] for row in csv.DictReader(text.splitlines())})
