"""Trees of clinical codes: every diagnosis and medication under its ever wider groups.

These are the trees behind equations 1 and 2 of Liu et al. (2022): a diagnosis under its category, block,
chapter and root, a medication under its ATC groups and root. A code is placed by its beginning and by ranges,
never by a list of titles, so any text finds a place: a category outside all blocks hangs under its chapter,
and what does not look like a code of its system hangs under the root. A code that is its own category is one
node, not two.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import pairwise

import networkx

from medm_plm.ontologies import atc, icd9, icd10
from medm_plm.ontologies.codes import SYSTEMS, check_not_empty, check_system, normalize_code, split_qualified

ROOT = "root"


class Ontology(ABC):
    """The tree of one code system.

    Nodes are named `SYSTEM:CODE` for codes, categories and ATC groups, `SYSTEM:block:FIRST-LAST`,
    `SYSTEM:chapter:FIRST-LAST` and `SYSTEM:root`. Codes are upper case, so none can take the name of a block.

    Args:
        system (`str`): one of `ICD9CM`, `ICD10CM`, `ATC`.
    """

    def __init__(self, system: str) -> None:
        self.system = check_system(system)

    @abstractmethod
    def _groups(self, name: str) -> tuple[str, ...]:
        """Names of the groups above a node, narrowest first, without the system and the root."""

    @abstractmethod
    def _level(self, name: str) -> str:
        """Level of a node that is not the root."""

    @abstractmethod
    def _is_group(self, name: str) -> bool:
        """Whether the name is that of a group that no code could bear, such as a block."""

    @abstractmethod
    def _title(self, name: str) -> str | None:
        """Title of a node that is not the root, if it is known."""

    def _name(self, code: str) -> str:
        """Strip a code or node key of its system and bring a code into normal form."""
        normalized = normalize_code(code)
        name = code.removeprefix(f"{self.system}:")
        if name == ROOT or self._is_group(name):
            return name
        system, colon, rest = normalized.partition(":")
        if not colon or system not in SYSTEMS:
            return check_not_empty(self.system, normalized)
        if system != self.system:
            raise ValueError(f"{system} code given to the {self.system} tree: use get_ontology({system!r})")
        return check_not_empty(self.system, rest)

    def path(self, code: str) -> tuple[str, ...]:
        """Follow a code from its own node up to the root.

        Args:
            code (`str`): a code, plain or qualified, in any spelling; or the key of a node of this tree.

        Returns:
            Keys of the node itself, of its ever wider groups, and of the root.

        Raises:
            TypeError: if the code is no text.
            ValueError: if the code is empty or qualified with another system.
        """
        name = self._name(code)
        names = (name,) if name == ROOT else (name, *self._groups(name), ROOT)
        return tuple(f"{self.system}:{part}" for part in names)

    def title(self, node: str) -> str | None:
        """Return a short title of a chapter or of an ATC main group, None for every other node.

        Raises:
            ValueError: if the key is empty or of another system.
        """
        name = self._name(node)
        return None if name == ROOT else self._title(name)

    def graph(self, codes: Iterable[str]) -> networkx.DiGraph:
        """Draw the smallest tree that holds the given codes and the root.

        Args:
            codes (iterable of `str`): codes as `path` takes them; their order does not matter.

        Returns:
            An arborescence with edges from parent to child and node attributes `system` and `level`: code,
            category, block, chapter or root, and in the ATC tree atc1 to atc5 for its groups.

        Raises:
            ValueError: if a code is empty or qualified with another system.
        """
        graph = networkx.DiGraph()
        graph.add_node(f"{self.system}:{ROOT}", system=self.system, level=ROOT)
        for path in sorted({self.path(code) for code in codes}):
            for parent, child in pairwise(reversed(path)):
                if child not in graph:
                    level = self._level(child.removeprefix(f"{self.system}:"))
                    graph.add_node(child, system=self.system, level=level)
                    graph.add_edge(parent, child)
        return graph


class RangeOntology(Ontology):
    """Tree of a classification of diseases: code, category, block, chapter, root.

    Ranges are compared as text. That is the order of the classifications: digits come before letters, so the
    category `C4A` of ICD-10-CM stands between `C49` and `C50`.

    Args:
        system (`str`): name of the code system.
        chapters (mapping of `str` to `(str, str)`): range, title and blocks of each chapter.
        category (callable): takes a normalised code to its category, or to None if it is not formed like one.
        block_of_category (mapping of `str` to `str`): categories in a block whose range does not reach them.
    """

    def __init__(
        self,
        system: str,
        chapters: Mapping[str, tuple[str, str]],
        category: Callable[[str], str | None],
        block_of_category: Mapping[str, str],
    ) -> None:
        super().__init__(system)
        self._category = category
        self._block_of_category = block_of_category
        self._titles = {f"chapter:{chapter}": title for chapter, (title, _) in chapters.items()}
        self._blocks = {chapter: sorted(blocks.split()) for chapter, (_, blocks) in sorted(chapters.items())}
        self._groups_of_group: dict[str, tuple[str, ...]] = {f"chapter:{chapter}": () for chapter in chapters}
        for chapter, blocks in self._blocks.items():
            self._groups_of_group.update({f"block:{block}": (f"chapter:{chapter}",) for block in blocks})

    def _groups(self, name: str) -> tuple[str, ...]:
        if self._is_group(name):
            return self._groups_of_group[name]
        category = self._category(name)
        if category is None:
            return ()
        groups = self._groups_of_category(category)
        return groups if name == category else (category, *groups)

    def _groups_of_category(self, category: str) -> tuple[str, ...]:
        chapter = _covering(self._blocks, category)
        if chapter is None:
            return ()
        block = self._block_of_category.get(category) or _covering(self._blocks[chapter], category)
        return (f"chapter:{chapter}",) if block is None else (f"block:{block}", f"chapter:{chapter}")

    def _level(self, name: str) -> str:
        if self._is_group(name):
            return name.partition(":")[0]
        return "category" if self._category(name) == name else "code"

    def _is_group(self, name: str) -> bool:
        return name in self._groups_of_group

    def _title(self, name: str) -> str | None:
        return self._titles.get(name)


class AtcOntology(Ontology):
    """Tree of the ATC classification: a medication under the groups that its own letters name."""

    def __init__(self) -> None:
        super().__init__("ATC")

    def _groups(self, name: str) -> tuple[str, ...]:
        return atc.groups(name)

    def _level(self, name: str) -> str:
        return atc.level(name) or "code"

    def _is_group(self, name: str) -> bool:
        return False

    def _title(self, name: str) -> str | None:
        return atc.MAIN_GROUPS.get(name)


def _covering(ranges: Iterable[str], category: str) -> str | None:
    """Find the range `FIRST-LAST` that holds a category, among ranges sorted by their first category.

    Where one range holds another (`D3A-D3A` in `D37-D48`) the inner one, which begins later, is meant.
    """
    covering = None
    for limits in ranges:
        first, _, last = limits.partition("-")
        if first > category:
            break
        if category <= last:
            covering = limits
    return covering


@cache
def get_ontology(system: str) -> Ontology:
    """Return the tree of a code system; it is built once per process.

    Args:
        system (`str`): one of `ICD9CM`, `ICD10CM`, `ATC`.

    Raises:
        ValueError: if the system is unknown.
    """
    if check_system(system) == "ATC":
        return AtcOntology()
    if system == "ICD9CM":
        return RangeOntology(system, icd9.CHAPTERS, icd9.category, {})
    return RangeOntology(system, icd10.CHAPTERS, icd10.category, icd10.BLOCK_OF_CATEGORY)


def build_forest(qualified_codes: Iterable[str]) -> networkx.DiGraph:
    """Draw the trees of all systems that occur among the codes of a vocabulary, side by side.

    Args:
        qualified_codes (iterable of `str`): codes as `SYSTEM:CODE`; their order does not matter.

    Returns:
        A branching with one root per system; edges and node attributes as in `Ontology.graph`.

    Raises:
        ValueError: if a code is empty or names no known system.
    """
    codes_of_system: dict[str, set[str]] = {}
    for qualified in qualified_codes:
        codes_of_system.setdefault(split_qualified(qualified)[0], set()).add(qualified)
    forest = networkx.DiGraph()
    for system, codes in sorted(codes_of_system.items()):
        forest.update(get_ontology(system).graph(codes))
    return forest


def ancestors(qualified: str) -> tuple[str, ...]:
    """Name the ever wider groups a code belongs to, from its category up to the root of its system.

    Args:
        qualified (`str`): a code as `SYSTEM:CODE`, or the key of a node.

    Returns:
        Node keys, narrowest first; empty for a root.

    Raises:
        ValueError: if the code is empty or names no known system.
    """
    return get_ontology(split_qualified(qualified)[0]).path(qualified)[1:]
