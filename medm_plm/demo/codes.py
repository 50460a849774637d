"""The codes that can be picked: those of the models' vocabularies, found by their code or by their title."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from medm_plm.ontologies.titles import nearest_title
from tokenization_medm_plm import MedMPLMCodeTokenizer

NAME_OF_SYSTEM = {"ICD9CM": "ICD-9", "ICD10CM": "ICD-10", "ATC": "ATC"}
_LETTERS_BEFORE_DOT = 3
_LONG_SUPPLEMENT = "E"  # external causes of ICD-9, which have the dot one place later


@dataclass(frozen=True)
class CodeList:
    """Codes of one kind.

    Args:
        labels (`dict[str, str]`): by code as `SYSTEM:CODE`, what a list shows of it and is searched through.
    """

    labels: dict[str, str]

    def __contains__(self, code: object) -> bool:
        return code in self.labels

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def choices(self) -> list[tuple[str, str]]:
        """Labels with their codes, as a widget takes them."""
        return [(label, code) for code, label in self.labels.items()]

    def known(self, codes: Iterable[str]) -> list[str]:
        """Keep those of some codes that can be picked."""
        return [code for code in codes if code in self.labels]


def code_list(tokenizers: Iterable[MedMPLMCodeTokenizer], code_type: int) -> CodeList:
    """Gather the codes of one kind that any of the models knows.

    Args:
        tokenizers (`Iterable[MedMPLMCodeTokenizer]`): code tokenizers of the models.
        code_type (`int`): 1 diagnosis, 2 medication.

    Returns:
        The codes, in the order of their systems and then of the codes.
    """
    labels: dict[str, str] = {}
    for tokenizer in tokenizers:
        tokens = tokenizer.convert_ids_to_tokens(tokenizer.code_ids(code_type))
        labels.update({code: code_label(code, tokenizer) for code in tokens if code not in labels})
    return CodeList(dict(sorted(labels.items(), key=lambda item: item[0].partition(":")[::2])))


def code_label(code: str, tokenizer: MedMPLMCodeTokenizer | None = None) -> str:
    """Write a code so that it is found by its dotted form, its bare form and its title.

    Args:
        code (`str`): a code as `SYSTEM:CODE`.
        tokenizer (`MedMPLMCodeTokenizer`, *optional*): holds titles of its own.

    Returns:
        One line, such as `428.0 · heart failure · ICD-9 4280`.
    """
    system, _, bare = code.partition(":")
    dotted = dotted_code(code)
    name = NAME_OF_SYSTEM.get(system, system)
    return " · ".join(
        part
        for part in (dotted, title_of(code, tokenizer), name if dotted == bare else f"{name} {bare}")
        if part
    )


def title_of(code: str, tokenizer: MedMPLMCodeTokenizer | None = None) -> str | None:
    """Find what a person calls a code: the model's own title, else that of the narrowest group with one."""
    title, bearer = (None, None) if tokenizer is None else tokenizer.title(code)
    if title is None:
        try:
            title, bearer = nearest_title(code)
        except ValueError:  # of a system that has no tree
            return None
    return title if title is None or bearer == code else f"{title} (group)"


def dotted_code(code: str) -> str:
    """Write a code as it stands in a book.

    Args:
        code (`str`): a code as `SYSTEM:CODE`.

    Returns:
        `428.0` for `ICD9CM:4280`, `E850.0` for `ICD9CM:E8500`; ATC codes have no dot.
    """
    system, _, bare = code.partition(":")
    if system not in ("ICD9CM", "ICD10CM"):
        return bare
    is_long = system == "ICD9CM" and bare.startswith(_LONG_SUPPLEMENT)
    place = _LETTERS_BEFORE_DOT + is_long
    return f"{bare[:place]}.{bare[place:]}" if len(bare) > place else bare
