"""Drug names as hospitals write them, and the packaged table that gives each its ATC class.

The table `drug_names.csv` was written for this project from pharmacological knowledge. One row is a
substance (or a brand that stands alone): its name, the route group where that decides the class, the ATC code
cut to the third level, and synonyms.

* Synonyms of a row without route are other names of the substance and follow its rows for every route
  (`Flagyl` by mouth is `metronidazole,oral`); synonyms of a row with a route name that presentation
  (`Timoptic` is `timolol,eye` whatever the chart says).
* ` + ` joins the parts of a combination, which match in any order.
* A row without ATC code names no drug (`insulin syringe`).

Codes follow the conventions of the WHO Collaborating Centre for Drug Statistics Methodology, edition of 2022.
Where these give a substance two homes and the chart does not tell which, the usual purpose on a ward
decides: fentanyl by vein is an analgesic (`N02A`, not `N01A`), potassium chloride replaces potassium by any
route (`A12B`, also where the additive `B05X` could be meant), magnesium hydroxide is a laxative (`A06A`),
aspirin an antiplatelet (`B01A`).
"""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from medm_plm.ontologies.drug_words import CONNECTORS, SALTS, is_packaging, is_passed_over
from medm_plm.ontologies.routes import WIDER_GROUP, form_group, route_group

# No order of a hospital is longer; what is, holds no name further on and must not cost time.
LONGEST_STRING = 300
_WORD = re.compile(r"[A-Z0-9]+")
# Electrolytes, fluids, carbohydrates, solvents: after words that nobody knows they are the diluent of a drug.
_VEHICLE_CLASSES = ("A12", "B05", "V06", "V07")


@dataclass(frozen=True)
class _Entry:
    """ATC class by route group of one name ("" for any other route), and whether the name proves little."""

    classes: Mapping[str, str]
    is_weak: bool


@dataclass
class _Node:
    children: dict[str, "_Node"] = field(default_factory=dict)
    entry: _Entry | None = None


@dataclass(frozen=True)
class _Walk:
    """How far a name of the table has been followed in a drug string."""

    node: _Node
    num_telling_words: int = 0
    num_words: int = 0

    def length(self) -> tuple[int, int]:
        return self.num_telling_words, self.num_words

    def plus(self, word: str, node: _Node) -> "_Walk":
        return _Walk(node, self.num_telling_words + (not is_passed_over(word)), self.num_words + 1)


@dataclass(frozen=True)
class NameMatch:
    """What a drug string says.

    Args:
        atc (`str`, *optional*): ATC third level, or `None` if no name of the table was found.
        names_a_drug (`bool`): False where the string is empty or holds packages and strengths only.
    """

    atc: str | None
    names_a_drug: bool = True


def name_words(text: str) -> list[str]:
    """Split a drug string into its upper-case words and numbers; apostrophes vanish, connecting words go."""
    return [word for word in _WORD.findall(text.upper().replace("'", "")) if word not in CONNECTORS]


class DrugNameTable:
    """Find the drug in a free drug string and give its ATC class.

    The leftmost name counts, and of several that begin there the longest; strengths, forms, packages and
    salts between the words of a name are passed over.

    Args:
        rows (`Iterable` of `(name, route, atc, synonyms)`): as in `drug_names.csv`.
    """

    def __init__(self, rows: Iterable[tuple[str, str, str, str]]) -> None:
        self._root = _Node()
        classes_of_name: dict[str, dict[str, str]] = {}
        for name, route, atc, synonyms in rows:
            classes = classes_of_name.setdefault(name, {})
            classes[route] = atc
            self._add(name, classes)
            for synonym in filter(None, (part.strip() for part in synonyms.split(";"))):
                self._add(synonym, {"": atc} if route else classes)

    def __call__(self, drug: str, route: str | None = None) -> str | None:
        """ATC third level of a drug string and route, or `None`."""
        return self.match(drug, route).atc

    def match(self, drug: str, route: str | None = None) -> NameMatch:
        """Read a drug string, the route deciding where a substance has several classes.

        The recorded route counts. Where it is missing, unknown or just the skin, dosage forms in the string
        (`Ophth`, `PTCH`, `IV SOLN`) are asked first. Only the first `LONGEST_STRING` characters are read.
        """
        words = name_words(drug[:LONGEST_STRING])
        entry = self._find(words)
        if entry is None:
            return NameMatch(None, names_a_drug=not all(map(is_packaging, words)))
        atc = _class_for_route(entry.classes, _resolve_group(route, words))
        return NameMatch(atc or None, names_a_drug=bool(atc))

    def _add(self, name: str, classes: Mapping[str, str]) -> None:
        for order in itertools.permutations(name.split(" + ")):
            words = name_words(" ".join(order))
            node = self._root
            for word in words:
                node = node.children.setdefault(word, _Node())
            is_weak = all(map(is_passed_over, words)) or classes.get("", "").startswith(_VEHICLE_CLASSES)
            node.entry = _Entry(classes, is_weak)

    def _find(self, words: list[str]) -> _Entry | None:
        """The leftmost name; after an unknown word a weak one is its salt or its diluent, not the drug."""
        unknown_before = False
        for start, word in enumerate(words):
            entry = self._longest(words, start)
            if entry is not None and not (entry.is_weak and unknown_before):
                return entry
            unknown_before = unknown_before or not is_passed_over(word)
        return None

    def _longest(self, words: list[str], start: int) -> _Entry | None:
        """Walk the names that begin with the word at `start`; the one that uses most words is returned.

        Words that are no salt or package count first ("ipratropium bromide-albuterol" is the combination),
        and among equals the one that ended first ("magnesium sulfate in sodium chloride" is the sulfate).
        """
        first = self._root.children.get(words[start])
        walks = [] if first is None else [_Walk(first).plus(words[start], first)]
        found = _Walk(_Node())
        for word in itertools.chain(words[start + 1 :], [""]):
            found = max([found, *(walk for walk in walks if walk.node.entry)], key=_Walk.length)
            steps = [
                walk.plus(word, walk.node.children[word]) for walk in walks if word in walk.node.children
            ]
            walks = steps + (walks if is_passed_over(word) else [])
        return None if found.num_words == 1 and _is_half_a_salt(words, start) else found.node.entry


def _is_half_a_salt(words: list[str], start: int) -> bool:
    """Whether "potassium" or "calcium" stands before an unknown word, which then is the drug."""
    following = words[start + 1 : start + 2]
    return words[start] in SALTS and not all(map(is_passed_over, following))


def _resolve_group(route: str | None, words: list[str]) -> str | None:
    recorded = route_group(route)
    return (form_group(words) or recorded) if recorded in (None, "skin") else recorded


def _class_for_route(classes: Mapping[str, str], group: str | None) -> str:
    while group is not None:
        if group in classes:
            return classes[group]
        group = WIDER_GROUP.get(group)
    return classes.get("", "")


def read_rows(lines: Iterable[str]) -> Iterator[tuple[str, str, str, str]]:
    """Read the rows of `drug_names.csv`."""
    for row in csv.DictReader(lines):
        yield row["name"], row["route"], row["atc"], row["synonyms"]


def names_a_drug(drug: str | None) -> bool:
    """Whether a drug string names anything, and not just packages, forms and strengths or nothing."""
    return packaged_table().match(drug or "").names_a_drug


@cache
def packaged_table() -> DrugNameTable:
    """Load the packaged table once."""
    text = files("medm_plm.ontologies").joinpath("drug_names.csv").read_text(encoding="utf-8")
    return DrugNameTable(read_rows(text.splitlines()))
