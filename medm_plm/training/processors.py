"""Build or load the processor of a run: the tokenizer of its notes and that of its codes.

A run that starts from nothing learns its WordPiece vocabulary from the training notes; with `--text_model`
the tokenizer of the published encoder is taken.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerBase

from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.ontologies.titles import titles_of_nodes
from medm_plm.training.arguments import ModelArguments, RunArguments
from medm_plm.training.library_errors import one_line_errors, readable_text_model, writing
from tokenization_medm_plm import MedMPLMCodeTokenizer, MedMPLMProcessor

NOTE_LENGTHS = ("max_note_chunks", "chunk_length")
MINIMUM_NOTES = 5  # in which a word must stand, so that the vocabulary holds no name or number of a patient
_WORD = re.compile(r"[^\W_]+")  # letters and digits in a row
TEXT_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_text_tokenizer(notes: Collection[str], vocab_size: int, max_length: int) -> BertTokenizer:
    """Learn a lower-case WordPiece vocabulary from notes.

    It is learnt from words that stand in at least `MINIMUM_NOTES` notes. A rarer word, which may be a name,
    is read as pieces of others; whole it would stand in the files of the tokenizer, for anyone to see.

    Args:
        notes (`Collection[str]`): notes of the training split; read twice.
        vocab_size (`int`): largest number of word pieces, the five special tokens included; more only if the
            notes have more characters.
        max_length (`int`): longest note in tokens.

    Returns:
        A tokenizer of the library; the same notes in the same order give the same one.
    """
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.normalizer = normalizers.BertNormalizer(lowercase=True)
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    characters: set[str] = set()
    num_notes: Counter[str] = Counter()
    for note in notes:
        normalized = learner.normalizer.normalize_str(note)
        characters.update(normalized)
        num_notes.update(set(_WORD.findall(normalized)))
    common = {word for word, count in num_notes.items() if count >= MINIMUM_NOTES}
    characters.difference_update(string.whitespace)
    # The library numbers the inner characters in the order of a hash map, and ties between merges follow
    # these numbers, so that two runs would get two vocabularies; given beforehand, they are the same in every
    # run.
    alphabet = [prefix + character for prefix in ("", "##") for character in sorted(characters)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=max(vocab_size, len(TEXT_SPECIAL_TOKENS) + len(alphabet)),
        special_tokens=[*TEXT_SPECIAL_TOKENS, *alphabet],
        show_progress=False,
    )
    learner.train_from_iterator(_common_words(notes, common), trainer)
    return BertTokenizer(vocab=learner.get_vocab(), do_lower_case=True, model_max_length=max_length)


def _common_words(notes: Collection[str], common: Collection[str]) -> Iterator[str]:
    """Each note without its rare words."""
    # With a normalizer of its own: that of the tokenizer in training is locked.
    normalizer = normalizers.BertNormalizer(lowercase=True)
    for note in notes:
        normalized = normalizer.normalize_str(note)
        yield _WORD.sub(lambda word: word[0] if word[0] in common else " ", normalized)


def build_processor(
    vocabulary: CodeVocabulary, notes: Collection[str], arguments: ModelArguments
) -> MedMPLMProcessor:
    """Join a text tokenizer and the code tokenizer of a prepared folder.

    Args:
        vocabulary (`CodeVocabulary`): codes of the training split.
        notes (`Collection[str]`): notes of the training split, read only if the text tokenizer is to be
            learnt.
        arguments (`ModelArguments`): `text_model`, or the size of a new vocabulary, and the length of notes.

    Returns:
        The processor.

    Raises:
        InputError: if the text tokenizer cannot be read or the length of notes is impossible.
    """
    code_tokenizer = MedMPLMCodeTokenizer(
        vocab=list(vocabulary.tokens),
        num_codes=vocabulary.num_codes,
        code_titles=titles_of_nodes(vocabulary.tokens),
    )
    text_tokenizer, lengths = _text_tokenizer(notes, arguments), _note_lengths(arguments)
    if arguments.text_model is None:
        lengths.setdefault("chunk_length", arguments.text_max_length)
    with one_line_errors("the processor cannot be built"):
        return MedMPLMProcessor(text_tokenizer, code_tokenizer, **lengths)


def shared_processor(
    args: RunArguments,
    model_options: ModelArguments,
    vocabulary: CodeVocabulary,
    notes: Collection[str],
    saved_in: str | Path | None = None,
) -> MedMPLMProcessor:
    """Load a saved processor, or build one on the main process and let the other processes read it.

    Args:
        args (`RunArguments`): `run_dir` takes the new processor.
        model_options (`ModelArguments`): see `build_processor`.
        vocabulary (`CodeVocabulary`): see `build_processor`.
        notes (`Collection[str]`): see `build_processor`.
        saved_in (`str` or `Path`, *optional*): folder of a saved model or checkpoint, whose processor is
            kept, with the length of notes that was set by an option.

    Returns:
        The same processor on every process.
    """
    if saved_in is not None:
        return load_processor(saved_in, model_options)
    with args.main_process_first(desc="building the processor"):
        if args.local_process_index == 0:
            processor = build_processor(vocabulary, notes, model_options)
            with writing(args.run_dir):
                processor.save_pretrained(args.run_dir)
        return MedMPLMProcessor.from_pretrained(args.run_dir)


def shared_text_tokenizer(
    args: RunArguments,
    model_options: ModelArguments,
    texts: Collection[str],
    saved_in: str | Path | None = None,
) -> PreTrainedTokenizerBase:
    """As `shared_processor`, for a task without codes: the text tokenizer alone.

    Args:
        args (`RunArguments`): `run_dir` takes the new tokenizer.
        model_options (`ModelArguments`): `text_model`, or the size of a new vocabulary.
        texts (`Collection[str]`): training texts, read only if the vocabulary is to be learnt.
        saved_in (`str` or `Path`, *optional*): folder of a saved model or checkpoint, whose tokenizer is
            kept.

    Returns:
        The same tokenizer on every process.
    """
    if saved_in is not None:
        with one_line_errors(f"the tokenizer in {saved_in} cannot be loaded"):
            return AutoTokenizer.from_pretrained(saved_in)
    with args.main_process_first(desc="building the tokenizer"):
        if args.local_process_index == 0:
            tokenizer = _text_tokenizer(texts, model_options)
            with writing(args.run_dir):
                tokenizer.save_pretrained(args.run_dir)
        return AutoTokenizer.from_pretrained(args.run_dir)


def _text_tokenizer(notes: Collection[str], arguments: ModelArguments) -> PreTrainedTokenizerBase:
    if arguments.text_model is None:
        return train_text_tokenizer(notes, arguments.text_vocab_size, arguments.text_max_length)
    with readable_text_model(arguments.text_model):
        return AutoTokenizer.from_pretrained(arguments.text_model)


def load_processor(folder: str | Path, arguments: ModelArguments | None = None) -> MedMPLMProcessor:
    """Load the processor of a saved model.

    Args:
        folder (`str` or `Path`): what `run_pretraining.py` or `run_finetuning.py` wrote.
        arguments (`ModelArguments`, *optional*): a length of notes that overrides that of the folder.

    Returns:
        The processor.

    Raises:
        InputError: if the folder is missing or holds none, or the length of notes is impossible.
    """
    for name in ("config.json", "processor_config.json"):
        if not (Path(folder) / name).is_file():
            raise InputError(
                f"no saved model: {name} is missing", file=folder, remedy="give what run_pretraining.py wrote"
            )
    with one_line_errors(f"the processor in {folder} cannot be loaded"):
        lengths = {} if arguments is None else _note_lengths(arguments)
        return MedMPLMProcessor.from_pretrained(folder, **lengths)


def require_same_codes(processor: MedMPLMProcessor, folder: str | Path) -> None:
    """Refuse a code encoder whose rows stand for other codes than the run's.

    Args:
        processor (`MedMPLMProcessor`): the processor of the run.
        folder (`str` or `Path`): where the code encoder is from.

    Raises:
        InputError: if the two code vocabularies differ.
    """
    if load_processor(folder).code_tokenizer.get_vocab() != processor.code_tokenizer.get_vocab():
        raise InputError(
            "the model was pre-trained with another code vocabulary",
            file=folder,
            remedy="use one prepared folder for both",
        )


def _note_lengths(arguments: ModelArguments) -> dict[str, int]:
    """Lengths of notes that were set by an option, which processor and configuration share."""
    return {name: getattr(arguments, name) for name in NOTE_LENGTHS if getattr(arguments, name) is not None}
