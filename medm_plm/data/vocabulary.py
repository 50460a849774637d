"""The code vocabulary of a prepared folder: which id every code has, and which ontology node stands above it.

Made from the training split alone, so that neither the size of the model nor any id depends on test patients.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path

from medm_plm.errors import InputError
from medm_plm.ontologies import CODE_TYPE_OF_SYSTEM, ancestors, code_type, qualify, split_qualified

SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[MASK]", "[UNK]")
NO_PARENT = -1
_DIAGNOSIS, _MEDICATION = 1, 2


@dataclass(frozen=True)
class CodeVocabulary:
    """Ids of the codes of a hospital and the ontology trees above them.

    Equations 1 and 2 of Liu et al. (2022) need every ancestor of every code, so the inner nodes of the trees
    have ids too, after those of the codes.

    Args:
        tokens (`tuple[str, ...]`): in the order of their ids: the special tokens, the diagnosis codes, the
            medication codes, and the inner nodes that are not codes themselves; each group sorted.
        num_codes (`int`): number of special tokens and codes; ids from it on are inner nodes.
        node_parents (`tuple[int, ...]`): for each token the id of its parent in the ontology, -1 for special
            tokens and roots.

    Raises:
        InputError: if the three do not fit together.
    """

    tokens: tuple[str, ...]
    num_codes: int
    node_parents: tuple[int, ...]

    def __post_init__(self) -> None:
        for holds, complaint in self._checks():
            if not holds:
                raise InputError(f"code vocabulary {complaint}", remedy="prepare the data again")
        if None in self._depths():
            raise InputError("code vocabulary has a node above itself", remedy="prepare the data again")

    def _checks(self) -> tuple[tuple[bool, str], ...]:
        """What must hold before parents can be followed, each with the complaint if it does not."""
        size, num_codes, parents = len(self.tokens), self.num_codes, self.node_parents
        num_special = len(SPECIAL_TOKENS)
        return (
            (self.tokens[:num_special] == SPECIAL_TOKENS, f"does not start with {', '.join(SPECIAL_TOKENS)}"),
            (len(set(self.tokens)) == size, "holds a token twice"),
            (len(parents) == size, f"has {len(parents)} parents for {size} tokens"),
            (num_special <= num_codes <= size, f"has num_codes {num_codes} for {size} tokens"),
            (all(NO_PARENT <= parent < size for parent in parents), "names a parent that does not exist"),
        )

    @classmethod
    def from_codes(cls, diagnosis_codes: Iterable[str], medication_codes: Iterable[str]) -> CodeVocabulary:
        """Give every code an id and place it in its ontology.

        Args:
            diagnosis_codes (iterable of `str`): qualified codes such as `ICD9CM:4280`; order and repeats do
                not matter.
            medication_codes (iterable of `str`): qualified codes such as `ATC:N02A`.

        Returns:
            The vocabulary; the same one for the same codes.

        Raises:
            ValueError: if a code names no known system.
            InputError: if a medication stands among the diagnoses or the other way round.
        """
        codes = _sorted_codes(diagnosis_codes, _DIAGNOSIS) + _sorted_codes(medication_codes, _MEDICATION)
        parent_of = {child: parent for code in codes for child, parent in pairwise((code, *ancestors(code)))}
        inner_nodes = sorted(set(parent_of.values()) - set(codes))
        tokens = (*SPECIAL_TOKENS, *codes, *inner_nodes)
        ids = {token: index for index, token in enumerate(tokens)}
        parents = (parent_of.get(token) for token in tokens)
        return cls(
            tokens=tokens,
            num_codes=len(SPECIAL_TOKENS) + len(codes),
            node_parents=tuple(NO_PARENT if parent is None else ids[parent] for parent in parents),
        )

    @property
    def max_depth(self) -> int:
        """Largest number of ancestors of any token."""
        return max(depth or 0 for depth in self._depths())

    def _depths(self) -> list[int | None]:
        """Number of ancestors of each token, None where they run in a circle."""
        depths: list[int | None] = []
        for token_id in range(len(self.tokens)):
            depth, node = 0, token_id
            while self.node_parents[node] != NO_PARENT and depth < len(self.tokens):
                depth, node = depth + 1, self.node_parents[node]
            depths.append(depth if self.node_parents[node] == NO_PARENT else None)
        return depths

    def save(self, path: str | PathLike[str]) -> None:
        """Write the vocabulary as JSON; `MedMPLMCodeTokenizer` reads the same file."""
        Path(path).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> CodeVocabulary:
        """Read what `save` wrote.

        Raises:
            InputError: if the file is missing or is no code vocabulary.
        """
        try:
            fields = json.loads(Path(path).read_text(encoding="utf-8"))
            tokens, parents = tuple(map(str, fields["tokens"])), tuple(map(int, fields["node_parents"]))
            num_codes = int(fields["num_codes"])
        except FileNotFoundError:
            raise InputError("file is missing", file=path, remedy="run run_preparation.py first") from None
        except OSError as error:
            raise InputError(f"file cannot be read: {error.strerror}", file=path) from None
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise InputError(
                "is no code vocabulary",
                file=path,
                expected="JSON with tokens, num_codes and node_parents",
                remedy="run run_preparation.py again",
            ) from None
        return cls(tokens=tokens, num_codes=num_codes, node_parents=parents)


def _sorted_codes(codes: Iterable[str], expected_type: int) -> list[str]:
    """Return each code once, normalised and sorted, after a look at its system."""
    unique = sorted({qualify(*split_qualified(code)) for code in codes})
    if wrong := {split_qualified(code)[0] for code in unique if code_type(code) != expected_type}:
        right = [system for system, type_id in CODE_TYPE_OF_SYSTEM.items() if type_id == expected_type]
        raise InputError(
            f"{('diagnosis_codes', 'medication_codes')[expected_type - 1]} hold codes of another kind",
            received=", ".join(sorted(wrong)),
            expected=" or ".join(right),
        )
    return unique
