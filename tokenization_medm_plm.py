"""Turns hospital visits into ids: a tokenizer for their codes, and a processor that adds one for their notes.

A visit has a note, diagnosis codes and medication codes. The note is read by any tokenizer of a BERT-family
encoder. The codes are whole words (`ICD9CM:4280`, `ATC:N02A`) of a vocabulary that may also hold the inner
nodes of their ontologies, on which a code that is not in the vocabulary is placed.

This file travels to the Hub on its own and imports nothing but transformers and tokenizers.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from os import PathLike
from typing import Any, Unpack

from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BatchEncoding, BatchFeature, TokenizersBackend
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin, TextKwargs
from transformers.tokenization_utils_base import PaddingStrategy, TruncationStrategy
from transformers.utils import logging

logger = logging.get_logger(__name__)

SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[MASK]", "[UNK]")
DIAGNOSIS_TYPE = 1
MEDICATION_TYPE = 2
CODE_TYPE_OF_SYSTEM = {"ICD9CM": DIAGNOSIS_TYPE, "ICD10CM": DIAGNOSIS_TYPE, "ATC": MEDICATION_TYPE}
COUNTERS = ("visits", "codes", "empty", "duplicates", "unknown_placed", "unknown")
COUNTERS += ("truncated_codes", "truncated_visits")
MAX_CODES = 61  # [CLS] and 60 codes, section III-B of Liu et al. (2022)
MAX_WORDS = 512

# How a code of each system begins: with its category, or with the ATC main group. `NONE` is no ATC code.
_STEM_OF_SYSTEM = {
    "ICD9CM": re.compile("[0-9]{3}|V[0-9]{2}|E[0-9]{3}"),
    "ICD10CM": re.compile("[A-Z][0-9][0-9A-Z]|QA[0-9]"),
    "ATC": re.compile(r"[A-Z](?=[0-9]{2}|\Z)"),
}
_GROUP_LEVELS = ("block", "chapter")  # narrowest first
_NOTE_OPTIONS = {"max_length", "pad_to_multiple_of", "stride"}  # lengths; those of the codes are others
# A visit is one whole note in one row; these would make it anything else.
_REFUSED_OPTIONS = {"is_split_into_words", "return_overflowing_tokens"}
_REFUSED_OPTIONS |= {"text_pair", "text_pair_target", "text_target"}
# What a note of several chunks cannot have: its length is that of its chunks, which begin at its beginning.
_OPTIONS_OF_ONE_CHUNK = {"max_length", "stride", "return_length", "padding_side"}
_PADDING_VALUES = {"attention_mask": 0, "special_tokens_mask": 1, "offset_mapping": (0, 0)}
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORD_END = re.compile(r"\S(?=[ \t\n\r])")

Codes = Sequence[str | None]


def refuse_upload(*args: Any, **kwargs: Any) -> None:
    """Stand in for the library's `push_to_hub`, which makes a public repository and looks at nothing."""
    raise PermissionError(
        "What has read patients' records is not uploaded from here. Save it into a folder and publish that "
        "by `python run_publishing.py FOLDER OWNER/NAME` of MedM-PLM, which looks it through first."
    )


def normalize_code(code: str) -> str:
    """Write a clinical code without dots and blanks and in upper case: `428.0` becomes `4280`."""
    return re.sub(r"[\s.]+", "", code).upper()


class KnownGroups:
    """The ontology nodes among the tokens of a vocabulary, to place a code that is not one of them.

    Args:
        tokens (iterable of `str`): all tokens of the vocabulary, nodes being named `SYSTEM:CODE`,
            `SYSTEM:block:FIRST-LAST` and `SYSTEM:chapter:FIRST-LAST`.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = frozenset(tokens)
        self._ranges: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
        for token in sorted(self._tokens):
            system, _, name = token.partition(":")
            level, _, limits = name.partition(":")
            if limits:
                first, _, last = limits.partition("-")
                self._ranges.setdefault((system, level), []).append((first, last, token))

    def nearest(self, system: str, code: str) -> str | None:
        """Find the narrowest known group of an unknown code.

        These are, in this order: the node of the code itself; the nodes of its beginnings, down to the
        category or to the main group of an ATC code; the block, then the chapter whose range holds the
        category. The root is no answer, since it says nothing about the code.

        Args:
            system (`str`): name of the code system.
            code (`str`): normalised code.

        Returns:
            The token, or None if no group is known or the code does not begin like one of its system.
        """
        stem = _STEM_OF_SYSTEM[system].match(code) if system in _STEM_OF_SYSTEM else None
        if stem is None:
            return None
        for length in range(len(code), stem.end() - 1, -1):
            if (token := f"{system}:{code[:length]}") in self._tokens:
                return token
        for level in _GROUP_LEVELS:
            for first, last, token in self._ranges.get((system, level), ()):
                if first <= stem.group() <= last:
                    return token
        return None


class MedMPLMCodeTokenizer(TokenizersBackend):
    """Turns the diagnosis and medication codes of a visit into ids: `[CLS]`, diagnoses, medications.

    Section III-A of Liu et al. (2022), with both kinds of codes in one sequence. Codes are cleaned on the way
    in: upper case, no dots, no blanks; a bare code gets the system of its list; empty codes are dropped, and
    of repeated ones the first stays; a code outside the vocabulary is placed on its nearest known ontology
    node, else on `[UNK]`. All this is counted in `statistics`, and one warning per call tells how many codes
    were unknown or cut off, never which (`verbose=False` silences it).

    A visit is a list of codes, a batch a list of such lists; a string is a visit too, its codes separated by
    blanks. `is_split_into_words=False` switches to what any text tokenizer of the library does: a string or a
    list of strings, encoded word by word without cleaning.

    Args:
        vocab (`dict[str, int]`, `list[str]` or `str`, *optional*, defaults to the special tokens alone):
            Tokens with their ids or in the order of their ids, or the path of a JSON file with either or with
            the fields `tokens` and `num_codes`, such as the `code_vocabulary.json` of a prepared folder.
        num_codes (`int`, *optional*, defaults to the length of `vocab`):
            Number of special tokens and codes; ids from it on are inner nodes of the ontologies.
        diagnosis_system (`str`, defaults to `"ICD9CM"`): system of bare codes in the first list.
        medication_system (`str`, defaults to `"ATC"`): system of bare codes in the second list.
        pad_token, cls_token, mask_token, unk_token (`str`): special tokens, all of them in `vocab`.
        model_max_length (`int`, defaults to 61): most ids of a visit, `[CLS]` included.
        code_titles (`dict[str, str]`, *optional*): titles of codes and of ontology nodes, by token; saved
            with the tokenizer, so that a saved model can name what it predicts (see `title`).

    Raises:
        ValueError: if the ids are not 0, 1, 2 and so on, a token occurs twice or holds a blank, a special
            token is missing, `num_codes` does not fit, or a title is no text.
    """

    model = WordLevel
    push_to_hub = refuse_upload
    vocab_files_names: Mapping[str, str] = {"tokenizer_file": "tokenizer.json"}
    model_input_names: Sequence[str] = ["input_ids", "token_type_ids", "attention_mask"]
    padding_side = "right"

    def __init__(
        self,
        vocab: dict[str, int] | list[str] | str | PathLike[str] | None = None,
        num_codes: int | None = None,
        diagnosis_system: str = "ICD9CM",
        medication_system: str = "ATC",
        pad_token: str = "[PAD]",
        cls_token: str = "[CLS]",
        mask_token: str = "[MASK]",
        unk_token: str = "[UNK]",
        model_max_length: int = MAX_CODES,
        code_titles: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.code_titles = _checked_titles(code_titles)
        if kwargs.get("tokenizer_file") is None and kwargs.get("tokenizer_object") is None:
            tokens, num_codes = _read_vocabulary(vocab, num_codes)
            _check_tokens(tokens, [str(token) for token in (pad_token, cls_token, mask_token, unk_token)])
            self._tokenizer = _build_backend(tokens, str(cls_token), str(unk_token))
        kwargs.setdefault("model_input_names", list(type(self).model_input_names))
        super().__init__(
            num_codes=num_codes,
            diagnosis_system=diagnosis_system,
            medication_system=medication_system,
            pad_token=pad_token,
            cls_token=cls_token,
            mask_token=mask_token,
            unk_token=unk_token,
            model_max_length=model_max_length,
            code_titles=self.code_titles,  # the library saves what it is given
            **kwargs,
        )
        tokens = _in_order(self._tokenizer.get_vocab(with_added_tokens=False))
        self.num_codes = len(tokens) if num_codes is None else num_codes
        if not 0 <= self.num_codes <= len(tokens):
            raise ValueError(
                f"num_codes: received {num_codes}, expected at most {len(tokens)}, the size of vocab"
            )
        self.init_kwargs["num_codes"] = self.num_codes
        self.diagnosis_system, self.medication_system = diagnosis_system, medication_system
        self._codes = {token: index for index, token in enumerate(tokens[: self.num_codes]) if ":" in token}
        self._groups, self._titled = KnownGroups(tokens), KnownGroups(self.code_titles)
        self.statistics: dict[str, int] = {}
        self.reset_statistics()

    @classmethod
    def from_backend(cls, tokenizer: TokenizersBackend) -> "MedMPLMCodeTokenizer":
        """Give a code tokenizer that was loaded without this class its cleaning of codes back.

        Args:
            tokenizer (`TokenizersBackend`): what `AutoTokenizer` makes of a saved code tokenizer.

        Raises:
            TypeError: if it was not saved by this class.
        """
        if "num_codes" not in getattr(tokenizer, "init_kwargs", {}):
            raise TypeError(
                f"code_tokenizer: expected a MedMPLMCodeTokenizer, received {type(tokenizer).__name__}; "
                "the tokenizer of the notes is the other argument, `tokenizer`"
            )
        files = {"backend", "tokenizer_file", "vocab_file", "tokenizer_object"}
        kwargs = {name: value for name, value in tokenizer.init_kwargs.items() if name not in files}
        return cls(tokenizer_object=tokenizer.backend_tokenizer, **kwargs)

    def __call__(
        self,
        text: Codes | Sequence[Codes] | str,
        text_pair: Codes | Sequence[Codes] | str | None = None,
        *args: Any,
        is_split_into_words: bool | None = None,
        truncation: bool | str | TruncationStrategy | None = None,
        **kwargs: Any,
    ) -> BatchEncoding:
        """Encode the codes of one visit or of a batch of visits.

        Args:
            text (`list[str]` or `list[list[str]]`): diagnosis codes, most important first; may be empty.
            text_pair (`list[str]` or `list[list[str]]`, *optional*): medication codes.
            is_split_into_words (`bool`, *optional*): False switches the cleaning off, see the class.
            truncation (`bool` or `str`, *optional*, defaults to True, to False where nothing is cleaned):
                Cut to `max_length` from the end of the longer list (`longest_first`).
            args, kwargs: what any tokenizer takes (`padding`, `max_length`, `return_tensors`, ...).

        Returns:
            `input_ids`, `token_type_ids` (0 special, 1 diagnosis, 2 medication) and `attention_mask`, each
            `(codes,)` or `(batch, codes)`.

        Raises:
            TypeError: if a code is no text.
            ValueError: if the two lists have different numbers of visits.
        """
        if truncation is None and is_split_into_words is not False:
            truncation = True
        options = {"is_split_into_words": is_split_into_words, "truncation": truncation, **kwargs}
        return super().__call__(text, text_pair, *args, **options)

    def _encode_plus(
        self, text: Any, text_pair: Any = None, is_split_into_words: bool | None = None, **kwargs: Any
    ) -> BatchEncoding:
        """Clean codes and hand them to the library, for `__call__`, `encode` and `tokenize` alike."""
        if is_split_into_words is False:
            return super()._encode_plus(text, text_pair=text_pair, is_split_into_words=False, **kwargs)
        diagnoses, medications, batched = _pair_visits(text, text_pair)
        counts = Counter(dict.fromkeys(COUNTERS, 0), visits=len(diagnoses))
        split_special = kwargs.get("split_special_tokens", self.split_special_tokens)
        special = frozenset() if split_special else frozenset(self.all_special_tokens)
        for index, visit in enumerate(zip(diagnoses, medications, strict=True)):
            diagnoses[index], medications[index] = self._clean_visit(visit, special, counts)
        self._count_truncation(diagnoses, medications, kwargs, counts)
        for name, count in counts.items():
            self.statistics[name] += count
        if kwargs.get("verbose", True):
            _warn(counts)
        if not batched:
            diagnoses, medications = diagnoses[0], medications[0]
        return super()._encode_plus(diagnoses, text_pair=medications, is_split_into_words=True, **kwargs)

    def _clean_visit(
        self, visit: tuple[Codes, Codes], special: frozenset[str], counts: Counter[str]
    ) -> tuple[list[str], list[str]]:
        """Write the codes of one visit as tokens of the vocabulary, each of them once."""
        seen: set[str | None] = set()
        cleaned: tuple[list[str], list[str]] = ([], [])
        systems = (self.diagnosis_system, self.medication_system)
        for codes, system, tokens in zip(visit, systems, cleaned, strict=True):
            counts["codes"] += len(codes)
            for code in codes:
                if isinstance(code, str) and code in special:
                    tokens.append(code)
                    continue
                token, identity = self._place(code, system, counts)
                if token is None:
                    counts["empty"] += 1
                elif identity in seen:
                    counts["duplicates"] += 1
                else:
                    tokens.append(token)
                    seen.add(identity)
        return cleaned

    def _place(self, code: str | None, system: str, counts: Counter[str]) -> tuple[str | None, str | None]:
        """Return the token of a code, and what makes another code its repetition; None for an empty one."""
        if code is None:
            return None, None
        if not isinstance(code, str):
            raise TypeError(
                f"codes: expected text, received {type(code).__name__}; read code columns as text, so "
                "that 0389 keeps its zero, and give None where a code is missing"
            )
        if code in self._codes:
            return code, code
        if ":" in code:
            system, _, code = code.partition(":")
        system, code = normalize_code(system), normalize_code(code)
        if not code:
            return None, None
        qualified = f"{system}:{code}"
        if qualified in self._codes:
            return qualified, qualified
        node = self._groups.nearest(system, code)
        if node is None:
            counts["unknown"] += 1
            return self.unk_token, qualified
        counts["unknown_placed"] += 1
        return node, node

    def _count_truncation(
        self,
        diagnoses: Sequence[Sequence[str]],
        medications: Sequence[Sequence[str]],
        options: Mapping[str, Any],
        counts: Counter[str],
    ) -> None:
        """Count the codes that the library is about to cut off."""
        strategy = options.get("truncation_strategy", TruncationStrategy.DO_NOT_TRUNCATE)
        room = options.get("max_length")
        if strategy == TruncationStrategy.DO_NOT_TRUNCATE or room is None:
            return
        if options.get("add_special_tokens", True):
            room -= self.num_special_tokens_to_add()
        for first, second in zip(diagnoses, medications, strict=True):
            if (excess := len(first) + len(second) - room) > 0:
                counts["truncated_codes"] += excess
                counts["truncated_visits"] += 1

    def reset_statistics(self) -> None:
        """Start the counters again from zero.

        `statistics` holds, summed over all calls: `visits`; `codes` received; of these `empty`, `duplicates`,
        `unknown_placed` (on an ontology node) and `unknown` (read as `[UNK]`); `truncated_codes` and
        `truncated_visits`.
        """
        self.statistics = dict.fromkeys(COUNTERS, 0)

    def title(self, code: str) -> tuple[str | None, str | None]:
        """Find the title of a code, else of the narrowest group above it that has one.

        Args:
            code (`str`): a code as `SYSTEM:CODE`, such as a label of a model.

        Returns:
            The title and the code or group that bears it; None twice if there is none.
        """
        if code in self.code_titles:
            return self.code_titles[code], code
        system, _, name = code.partition(":")
        bearer = self._titled.nearest(system, normalize_code(name))
        return (None, None) if bearer is None else (self.code_titles[bearer], bearer)

    def add_titles(self, titles: Mapping[str, str]) -> None:
        """Give codes and nodes titles beside those they have; saving keeps them.

        Args:
            titles (`dict[str, str]`): titles by token, such as `{"ICD9CM:4280": "Heart failure"}`.

        Raises:
            ValueError: if a title is no text.
        """
        self.code_titles |= _checked_titles(titles)
        self.init_kwargs["code_titles"] = self.code_titles
        self._titled = KnownGroups(self.code_titles)

    def code_ids(self, code_type: int) -> list[int]:
        """List the ids of all codes of one type, without special tokens and inner nodes.

        Args:
            code_type (`int`): 1 diagnosis, 2 medication.

        Raises:
            ValueError: if it is no type of codes.
        """
        if code_type not in (DIAGNOSIS_TYPE, MEDICATION_TYPE):
            raise ValueError(f"code_type: received {code_type}, expected 1 (diagnosis) or 2 (medication)")
        slots = {self.diagnosis_system: DIAGNOSIS_TYPE, self.medication_system: MEDICATION_TYPE}
        types = {**slots, **CODE_TYPE_OF_SYSTEM}
        return [index for token, index in self._codes.items() if types.get(token.split(":")[0]) == code_type]


class MedMPLMProcessorKwargs(ProcessingKwargs, total=False):
    """Options of `MedMPLMProcessor`: those of its two tokenizers, together or apart."""

    text_kwargs: TextKwargs
    code_kwargs: TextKwargs
    _defaults = {}  # noqa: RUF012 (read by transformers before 5.20)


class MedMPLMProcessor(ProcessorMixin):
    """Turns whole visits, notes and codes, into the inputs of the MedM-PLM models.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): tokenizer of the notes, that of any BERT-family encoder.
        code_tokenizer (`MedMPLMCodeTokenizer`): tokenizer of the codes.
        max_note_chunks (`int`, defaults to 1): a note is cut behind this many chunks. Chunks follow each
            other without overlap, each with its own `[CLS]` and `[SEP]`.
        chunk_length (`int`, *optional*): tokens of every chunk but the last, `[CLS]` and `[SEP]` included.
            Defaults to 512, or to what `tokenizer` allows if that is less. A model reads what its processor
            writes only if both fields are the same in its configuration.

    Raises:
        TypeError: if `code_tokenizer` is no code tokenizer of MedM-PLM.
        ValueError: if a number of chunks or their length is impossible.
    """

    valid_processor_kwargs = MedMPLMProcessorKwargs
    # A note is quoted text: "[MASK]" typed by a physician must not become the mask.
    text_kwargs = {"truncation": True, "split_special_tokens": True}  # noqa: RUF012
    code_kwargs = {}  # noqa: RUF012

    def __init__(
        self,
        tokenizer: Any = None,
        code_tokenizer: Any = None,
        max_note_chunks: int = 1,
        chunk_length: int | None = None,
    ) -> None:
        if code_tokenizer is not None and not isinstance(code_tokenizer, MedMPLMCodeTokenizer):
            code_tokenizer = MedMPLMCodeTokenizer.from_backend(code_tokenizer)
        super().__init__(tokenizer, code_tokenizer)
        self.max_note_chunks = max_note_chunks
        self.chunk_length = chunk_length or min(MAX_WORDS, tokenizer.model_max_length)
        special = tokenizer.num_special_tokens_to_add()
        if max_note_chunks < 1 or self.chunk_length <= special:
            raise ValueError(
                f"max_note_chunks {max_note_chunks}, chunk_length {self.chunk_length}: expected at least 1 "
                f"chunk of more than {special} tokens, as many as the tokenizer adds"
            )
        # Saving adds this; set here, a processor compares equal before and after.
        self.auto_map = {"AutoProcessor": f"{type(self).__module__.rpartition('.')[2]}.{type(self).__name__}"}

    @property
    def model_input_names(self) -> list[str]:
        """Names of all inputs: those of the note's tokenizer, and those of the codes after `code_`."""
        code_names = (f"code_{name}" for name in self.code_tokenizer.model_input_names)
        return [*self.tokenizer.model_input_names, *code_names]

    def save_pretrained(
        self, save_directory: str | PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> Any:
        """Save both tokenizers, the code's in the subfolder `code_tokenizer`, and this file.

        What is written does not depend on the calls made before: the padding and the length of the last one,
        which the library would save too, are forgotten.

        Args:
            save_directory (`str` or `PathLike`): the folder, made if it does not exist.
            push_to_hub (`bool`, defaults to False): must stay false; uploading is refused.
            kwargs: as the library takes them.

        Returns:
            The files that the library names.
        """
        if push_to_hub:
            refuse_upload()
        for tokenizer in (self.tokenizer, self.code_tokenizer):
            if tokenizer.is_fast:
                tokenizer.backend_tokenizer.no_truncation()
                tokenizer.backend_tokenizer.no_padding()
        return super().save_pretrained(save_directory, **kwargs)

    push_to_hub = refuse_upload

    @classmethod
    def _load_tokenizer_from_pretrained(
        cls, sub_processor_type: str, folder_or_repository: Any, subfolder: str = "", **kwargs: Any
    ) -> Any:
        """Open the code tokenizer by the library's class, and that of the notes by its Auto class.

        The Auto class asks for a `config.json` beside every tokenizer. In a subfolder there is none, which
        releases of the library before 5.23 take for a broken connection when they work offline.

        Raises:
            OSError: if no vocabulary of codes is there.
        """
        if sub_processor_type != "code_tokenizer":
            return super()._load_tokenizer_from_pretrained(
                sub_processor_type, folder_or_repository, subfolder=subfolder, **kwargs
            )
        place = f"{subfolder}/{sub_processor_type}" if subfolder else sub_processor_type
        try:
            tokenizer = TokenizersBackend.from_pretrained(folder_or_repository, subfolder=place, **kwargs)
            is_whole = "num_codes" in tokenizer.init_kwargs
        except ValueError:  # from the library, if there is no tokenizer.json
            is_whole = False
        if not is_whole:
            raise OSError(
                f"{folder_or_repository} has no code vocabulary: expected {place}/tokenizer.json and "
                f"{place}/tokenizer_config.json, as `save_pretrained` of the processor writes them."
            )
        return tokenizer

    def __call__(
        self,
        text: str | Sequence[str | None] | None = None,
        diagnosis_codes: Codes | Sequence[Codes | None] | None = None,
        medication_codes: Codes | Sequence[Codes | None] | None = None,
        **kwargs: Unpack[MedMPLMProcessorKwargs],
    ) -> BatchFeature:
        """Encode one visit or a batch of visits; what is not given at all is left out of the result.

        Args:
            text (`str` or `list[str]`, *optional*): notes; None or `""` in a list is a visit without one.
            diagnosis_codes (`list[str]` or `list[list[str]]`, *optional*): diagnosis codes, weightiest first.
            medication_codes (`list[str]` or `list[list[str]]`, *optional*): medication codes.
            kwargs: options of both tokenizers (`padding`, `truncation`, `return_tensors`, ...), of which
                `max_length`, `pad_to_multiple_of` and `stride` concern the notes alone; `text_kwargs={...}`
                and `code_kwargs={...}` hold options of one of them. By default notes are cut to
                `max_note_chunks` times `chunk_length` tokens, and codes to 61.

        Returns:
            `input_ids`, `attention_mask` (and `token_type_ids`, if the note's tokenizer has them) of shape
            `(batch, words)`, a note's chunks one after the other; `code_input_ids`, `code_attention_mask`,
            `code_token_type_ids` of shape `(batch, codes)`. For one visit without `return_tensors` plain
            lists without the batch axis.

        Raises:
            TypeError: if a note or a code is no text, an option is unknown, or the tokenizer cannot make
                several chunks.
            ValueError: if nothing is given, the numbers of visits differ, an option is given twice, or it
                has no meaning for a note of several chunks.
        """
        text_kwargs, code_kwargs, return_tensors = self._divide_options(kwargs)
        parts, batched = _align(text, diagnosis_codes, medication_codes)
        data: dict[str, Any] = {}
        if "text" in parts:
            data.update(self._encode_notes(parts["text"], text_kwargs))
        if len(parts) > ("text" in parts):
            empty = [[]] * len(next(iter(parts.values())))
            codes = (parts.get(name, empty) for name in ("diagnosis_codes", "medication_codes"))
            encoding = self.code_tokenizer(*codes, **code_kwargs)
            data.update({f"code_{name}": rows for name, rows in encoding.items()})
        if not batched and return_tensors is None:
            data = {name: rows[0] for name, rows in data.items()}
        return BatchFeature(data, tensor_type=return_tensors)

    def _divide_options(
        self, options: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], str | None]:
        """Sort the options of a call into those of the notes, those of the codes and the kind of tensors."""
        groups = {name: dict(options.get(name) or {}) for name in ("text_kwargs", "code_kwargs")}
        shared = {name: value for name, value in options.items() if name not in groups}
        known = TextKwargs.__annotations__.keys() - _REFUSED_OPTIONS
        if unknown := sorted({*shared, *groups["text_kwargs"], *groups["code_kwargs"]} - known):
            raise TypeError(
                f"unknown options {', '.join(unknown)}: expected some of {', '.join(sorted(known))}"
            )
        merged = []
        for group, foreign in (("text_kwargs", set()), ("code_kwargs", _NOTE_OPTIONS)):
            given = {name: value for name, value in shared.items() if name not in foreign}
            if twice := sorted(given.keys() & groups[group].keys()):
                raise ValueError(f"{', '.join(twice)}: given by itself and in {group}, expected once")
            merged.append({**getattr(self, group), **given, **groups[group]})
        text_kwargs, code_kwargs = merged
        kinds = [group.pop("return_tensors", None) for group in merged]
        if self.max_note_chunks > 1:
            self._check_chunks(text_kwargs)
        if text_kwargs.get("max_length") is None:
            text_kwargs["max_length"] = self.max_note_chunks * self.chunk_length
        return text_kwargs, code_kwargs, kinds[0] or kinds[1]

    def _encode_notes(self, notes: Sequence[str], options: Mapping[str, Any]) -> dict[str, list[list[int]]]:
        """Encode notes, reading no more of a long one than its ids need.

        A word has at least one token and no token spans two words. So the first `max_length` words fill a
        note, and the tokens of a note that is cut after a word are the first ones of the whole note. Only a
        word that the tokenizer drops, such as a lone control character, breaks the first half of this: a row
        that was cut and is not full is encoded again from twice as many words.
        """
        encode = self._encode_one_chunk if self.max_note_chunks == 1 else self._encode_chunks
        num_words = options["max_length"] if _may_be_cut(self.tokenizer, options) else None
        while True:
            cut = notes if num_words is None else [_first_words(note, num_words) for note in notes]
            data, num_tokens = encode(cut, options)
            if num_words is None or all(
                len(beginning) == len(note) or length == options["max_length"]
                for beginning, note, length in zip(cut, notes, num_tokens, strict=True)
            ):
                return data
            num_words *= 2

    def _encode_one_chunk(
        self, notes: Sequence[str], options: Mapping[str, Any]
    ) -> tuple[dict[str, list[list[int]]], list[int]]:
        """Encode notes as the tokenizer does; also return their numbers of tokens where it tells them."""
        encoding = self.tokenizer(notes, **options)
        if encoding.is_fast:
            self._hide_typed_special_tokens(encoding)
        return dict(encoding), [sum(row.attention_mask) for row in encoding.encodings or ()]

    def _encode_chunks(
        self, notes: Sequence[str], options: Mapping[str, Any]
    ) -> tuple[dict[str, list[list[int]]], list[int]]:
        """Encode notes as chunks, one after the other; also return their numbers of tokens.

        What the tokenizer calls the overflow of a row are the chunks behind it, with special tokens of
        their own.
        """
        forms = {"padding": False, "truncation": True, "max_length": self.chunk_length}
        encoding = self.tokenizer(notes, **{**options, **forms}, return_overflowing_tokens=True)
        self._hide_typed_special_tokens(encoding)
        most = self.max_note_chunks if _truncates(options) else None
        chunks_of_note: list[list[int]] = [[] for _ in notes]
        for row, note in enumerate(encoding.pop("overflow_to_sample_mapping")):
            chunks_of_note[note].append(row)
        data = {
            name: [[item for row in chunks[:most] for item in rows[row]] for chunks in chunks_of_note]
            for name, rows in encoding.items()
        }
        num_tokens = [len(note) for note in data["input_ids"]]
        width = _padded_width(max(num_tokens), options)
        values = {**_PADDING_VALUES, "input_ids": self.tokenizer.pad_token_id}
        for name, rows in data.items():
            value = values.get(name, self.tokenizer.pad_token_type_id)
            data[name] = [row + [value] * (width - len(row)) for row in rows]
        return data, num_tokens

    def _check_chunks(self, options: Mapping[str, Any]) -> None:
        """Refuse what would move the borders between chunks."""
        if misplaced := sorted(name for name in _OPTIONS_OF_ONE_CHUNK if options.get(name)):
            raise ValueError(
                f"{', '.join(misplaced)}: not possible with max_note_chunks {self.max_note_chunks}, expected "
                "the length of a note to be given by max_note_chunks and chunk_length alone"
            )
        tokenizer = self.tokenizer
        if not tokenizer.is_fast or {tokenizer.truncation_side, tokenizer.padding_side} != {"right"}:
            raise TypeError(
                f"tokenizer: {type(tokenizer).__name__} cannot make several chunks, expected a fast "
                "tokenizer that cuts and pads on the right"
            )

    def _hide_typed_special_tokens(self, encoding: BatchEncoding) -> None:
        """Replace special ids made from the words of a note, which Unigram vocabularies let through."""
        special_ids = set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        for ids, row in zip(encoding["input_ids"], encoding.encodings, strict=True):
            for position, from_template in enumerate(row.special_tokens_mask):
                if not from_template and ids[position] in special_ids:
                    ids[position] = self.tokenizer.unk_token_id


def _in_order(vocab: Mapping[str, int]) -> list[str]:
    return [token for token, _ in sorted(vocab.items(), key=lambda item: item[1])]


def _read_vocabulary(
    vocab: Mapping[str, int] | Sequence[str] | str | PathLike[str] | None, num_codes: int | None
) -> tuple[list[str], int | None]:
    """Return the tokens in the order of their ids, and the number of codes if it is known."""
    if isinstance(vocab, str | PathLike):
        with open(vocab, encoding="utf-8") as file:
            vocab = json.load(file)
        if isinstance(vocab, dict) and "tokens" in vocab:
            num_codes = vocab.get("num_codes") if num_codes is None else num_codes
            vocab = vocab["tokens"]
    if isinstance(vocab, Mapping):
        if sorted(vocab.values()) != list(range(len(vocab))):
            raise ValueError(
                f"vocab: expected the ids 0 to {len(vocab) - 1}, each once; gaps close on reloading"
            )
        vocab = _in_order(vocab)
    return list(SPECIAL_TOKENS if vocab is None else vocab), num_codes


def _checked_titles(titles: Mapping[str, str] | None) -> dict[str, str]:
    """Copy a table of titles, which may come from a downloaded file."""
    titles = {} if titles is None else titles
    if not isinstance(titles, Mapping) or not all(
        isinstance(part, str) for row in titles.items() for part in row
    ):
        raise ValueError("code_titles: expected a mapping of tokens to titles, both text")
    return dict(titles)


def _check_tokens(tokens: Sequence[str], special_tokens: Sequence[str]) -> None:
    """Refuse a vocabulary that would encode codes wrongly."""
    if repeated := len(tokens) - len(set(tokens)):
        raise ValueError(f"vocab: {repeated} tokens occur again, expected each once")
    if any(token.split() != [token] for token in tokens):
        raise ValueError("vocab: a token is empty or holds a blank, expected tokens such as ICD9CM:4280")
    if missing := [token for token in special_tokens if token not in tokens]:
        raise ValueError(
            f"vocab: {', '.join(missing)} missing, expected to start with {', '.join(SPECIAL_TOKENS)}"
        )


def _build_backend(tokens: Sequence[str], cls_token: str, unk_token: str) -> Tokenizer:
    """Build the word-level tokenizer whose template gives every code the type of its list."""
    backend = Tokenizer(WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=unk_token))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls_token}:0 $A:{DIAGNOSIS_TYPE}",
        pair=f"{cls_token}:0 $A:{DIAGNOSIS_TYPE} $B:{MEDICATION_TYPE}",
        special_tokens=[(cls_token, tokens.index(cls_token))],
    )
    return backend


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def _holds_visits(value: Any) -> bool:
    """Tell a batch of code lists from one code list."""
    return _is_list(value) and any(_is_list(item) for item in value)


def _code_list(codes: Any) -> list[str | None]:
    """Return the codes of one visit as a list; in a string they are separated by blanks."""
    if isinstance(codes, str):
        return codes.split()
    return [] if codes is None else list(codes)


def _pair_visits(first: Any, second: Any) -> tuple[list[Any], list[Any], bool]:
    """Bring the two code lists of one visit, or of each visit of a batch, into lists of one length."""
    if not _holds_visits(first) and not _holds_visits(second):
        return [_code_list(first)], [_code_list(second)], False
    diagnoses = [_code_list(codes) for codes in first]
    medications = [[] for _ in diagnoses] if second is None else [_code_list(codes) for codes in second]
    if len(diagnoses) != len(medications):
        raise ValueError(
            f"codes: received {len(diagnoses)} visits with {len(medications)}, expected equal numbers"
        )
    return diagnoses, medications, True


def _align(text: Any, diagnosis_codes: Any, medication_codes: Any) -> tuple[dict[str, list[Any]], bool]:
    """Bring the given parts of one visit or of a batch of visits into lists of one length.

    Returns:
        The clean notes and the code lists under the names of the arguments, and whether it is a batch.
    """
    parts = {"text": text, "diagnosis_codes": diagnosis_codes, "medication_codes": medication_codes}
    parts = {name: value for name, value in parts.items() if value is not None}
    for name, value in parts.items():
        if not _is_list(value) and not (name == "text" and isinstance(value, str)):
            raise TypeError(f"{name}: expected a list, received {type(value).__name__}")
        parts[name] = value if isinstance(value, str) else list(value)
    batched = any(map(_holds_visits, parts.values())) if text is None else not isinstance(text, str)
    if not batched:
        parts = {name: [value] for name, value in parts.items()}
    sizes = {name: len(value) for name, value in parts.items()}
    if len(set(sizes.values()) - {0}) != 1 or 0 in sizes.values():
        received = ", ".join(f"{size} in {name}" for name, size in sizes.items()) or "nothing"
        raise ValueError(
            f"expected the same number of visits in each part and at least one, received {received}"
        )
    return {name: [_clean_part(name, item) for item in value] for name, value in parts.items()}, batched


def _clean_part(name: str, value: Any) -> str | list[str | None]:
    """Return the note or the code list of one visit, nothing for None.

    Lone surrogates, which is what Python makes of bytes that are not UTF-8, become U+FFFD.
    """
    is_note = name == "text"
    if value is not None and not (isinstance(value, str) if is_note else _is_list(value)):
        expected = "a note as text or None" if is_note else "a list of codes"
        raise TypeError(f"{name}: expected {expected} for each visit, received {type(value).__name__}")
    return _SURROGATE.sub("\ufffd", value or "") if is_note else _code_list(value)


def _truncates(options: Mapping[str, Any]) -> bool:
    """Tell whether the options of a call ask for long notes to be cut."""
    without = (None, False, "do_not_truncate", TruncationStrategy.DO_NOT_TRUNCATE)
    return options.get("truncation") not in without


def _padded_width(longest: int, options: Mapping[str, Any]) -> int:
    """Return the length to which the options of a call ask to pad, 0 where they do not."""
    padding = options.get("padding", False)
    padding = {True: PaddingStrategy.LONGEST, False: PaddingStrategy.DO_NOT_PAD}.get(padding, padding)
    if padding in (None, PaddingStrategy.DO_NOT_PAD):
        return 0
    width = max(longest, options["max_length"] if padding == PaddingStrategy.MAX_LENGTH else 0)
    step = options.get("pad_to_multiple_of") or 1
    return -(-width // step) * step


def _may_be_cut(tokenizer: Any, options: Mapping[str, Any]) -> bool:
    """Tell whether a note can be cut after a word without changing an id.

    That takes a tokenizer that cuts at the end and treats the words between blanks one by one, as the
    WordPiece of BERT and the byte-level BPE of RoBERTa and ModernBERT do.
    """
    if not _truncates(options):
        return False
    if not tokenizer.is_fast or tokenizer.truncation_side != "right":
        return False
    if any(len(token.split()) > 1 for token in tokenizer.added_tokens_encoder):
        return False
    backend = tokenizer.backend_tokenizer
    normalizer = type(backend.normalizer).__name__
    if type(backend.pre_tokenizer).__name__ == "ByteLevel":
        return backend.pre_tokenizer.use_regex and normalizer in ("NoneType", "NFC")
    by_words = type(backend.pre_tokenizer).__name__ == "BertPreTokenizer"
    return by_words and normalizer in ("NoneType", "BertNormalizer")


def _first_words(note: str, num_words: int) -> str:
    """Return a note up to the end of its word number `num_words`, or all of it if it has no more."""
    end = next(islice(_WORD_END.finditer(note), num_words - 1, None), None)
    return note if end is None else note[: end.end()]


def _warn(counts: Mapping[str, int]) -> None:
    """Say how many codes are not in the vocabulary and how many were cut off, without naming any."""
    parts = []
    if unknown := counts["unknown"] + counts["unknown_placed"]:
        parts.append(
            f"{unknown} of {counts['codes']} codes are not in the vocabulary "
            f"({counts['unknown_placed']} placed on an ontology node, {counts['unknown']} read as unknown)"
        )
    if counts["truncated_codes"]:
        parts.append(f"{counts['truncated_codes']} codes of {counts['truncated_visits']} visits were cut off")
    if parts:
        logger.warning("%s", "; ".join(parts))


MedMPLMProcessor.register_for_auto_class()
