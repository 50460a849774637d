"""Build or load the processor and the model of a run.

A run that starts from nothing learns its WordPiece vocabulary from the training notes and begins with a
small, new BERT: the honest start where no published encoder is at hand. With `--text_model` the published
encoder and its tokenizer go into the text tower.
"""

from __future__ import annotations

import math
import string
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub.errors import StrictDataclassError
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoTokenizer, BertConfig, BertTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from configuration_medm_plm import MedMPLMCodeConfig, MedMPLMConfig
from medm_plm import rivals
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.training.arguments import NER_TASK, TASK_NAMES, ModelArguments, RunArguments
from modeling_medm_plm import (
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForPreTraining,
    MedMPLMForReadmissionPrediction,
    MedMPLMForTokenClassification,
    MedMPLMPreTrainedModel,
)
from tokenization_medm_plm import MedMPLMCodeTokenizer, MedMPLMProcessor

MODEL_CLASSES: dict[str, type[MedMPLMPreTrainedModel]] = {
    "pretraining": MedMPLMForPreTraining,
    "medication_recommendation": MedMPLMForMedicationRecommendation,
    "readmission": MedMPLMForReadmissionPrediction,
    "mortality": MedMPLMForReadmissionPrediction,  # one score too; the label tells the two apart
    "icd_coding": MedMPLMForICDCoding,
    "medication_prediction": MedMPLMForICDCoding,
    NER_TASK: MedMPLMForTokenClassification,
}
HEAD_NAME = "classifier."  # attribute of the task models
NOTE_LENGTHS = ("max_note_chunks", "chunk_length")
TEXT_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@contextmanager
def _one_line_errors(what: str) -> Iterator[None]:
    """Turn what the library says about an impossible setting or a missing file into one of our errors."""
    try:
        yield
    except (StrictDataclassError, ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        cause = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
        raise InputError(f"{what}: {cause}") from error


@contextmanager
def _readable_text_model(
    text_model: str, errors: tuple[type[Exception], ...] = (OSError, ValueError)
) -> Iterator[None]:
    """Say in our words that there is no text encoder; those of the Hub's client speak of repositories."""
    try:
        yield
    except errors as error:
        folder = Path(text_model)
        raise InputError(
            f"option --text_model {text_model}: no text encoder with its tokenizer can be read there",
            received="a folder without one of them" if folder.is_dir() else "no folder",
            expected="a folder that holds both, or the id of a model on the Hub",
            remedy="check the path; without a network only models in the local cache are found",
        ) from error


def train_text_tokenizer(notes: Collection[str], vocab_size: int, max_length: int) -> BertTokenizer:
    """Learn a lower-case WordPiece vocabulary from notes.

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
    for note in notes:
        characters.update(learner.normalizer.normalize_str(note))
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
    learner.train_from_iterator(notes, trainer)
    return BertTokenizer(vocab=learner.get_vocab(), do_lower_case=True, model_max_length=max_length)


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
    code_tokenizer = MedMPLMCodeTokenizer(vocab=list(vocabulary.tokens), num_codes=vocabulary.num_codes)
    text_tokenizer, lengths = _text_tokenizer(notes, arguments), _note_lengths(arguments)
    if arguments.text_model is None:
        lengths.setdefault("chunk_length", arguments.text_max_length)
    with _one_line_errors("the processor cannot be built"):
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
            build_processor(vocabulary, notes, model_options).save_pretrained(args.run_dir)
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
        with _one_line_errors(f"the tokenizer in {saved_in} cannot be loaded"):
            return AutoTokenizer.from_pretrained(saved_in)
    with args.main_process_first(desc="building the tokenizer"):
        if args.local_process_index == 0:
            _text_tokenizer(texts, model_options).save_pretrained(args.run_dir)
        return AutoTokenizer.from_pretrained(args.run_dir)


def _text_tokenizer(notes: Collection[str], arguments: ModelArguments) -> PreTrainedTokenizerBase:
    if arguments.text_model is None:
        return train_text_tokenizer(notes, arguments.text_vocab_size, arguments.text_max_length)
    with _readable_text_model(arguments.text_model):
        return AutoTokenizer.from_pretrained(arguments.text_model)


def new_model(
    name: str,
    vocabulary: CodeVocabulary,
    processor: MedMPLMProcessor,
    arguments: ModelArguments,
    code_folder: str | Path | None = None,
    **config_fields: Any,
) -> MedMPLMPreTrainedModel:
    """Build a model whose code encoder is new and whose text encoder is published or new.

    Args:
        name (`str`): `pretraining` or the name of a task.
        vocabulary (`CodeVocabulary`): codes of the training split with their places in the ontologies.
        processor (`MedMPLMProcessor`): gives the size of a new text vocabulary and the length of notes.
        arguments (`ModelArguments`): the sizes, `text_model`, and `architecture`, which may be a rival.
        code_folder (`str` or `Path`, *optional*): where a rival takes its code encoder from, see
            `rivals.is_code_half`.
        config_fields: further fields of `MedMPLMConfig`.

    Returns:
        The model.

    Raises:
        InputError: if the text encoder cannot be read, a size is impossible, or the task has no such
        classifier.
    """
    _check_classifier(name, arguments)
    if arguments.architecture != rivals.OWN_ARCHITECTURE:
        return _new_rival(name, vocabulary, processor, arguments, code_folder, config_fields)
    model_class = MODEL_CLASSES[name]
    node_parents = None if arguments.code_embedding_type == "plain" else list(vocabulary.node_parents)
    with _one_line_errors("the model cannot be built"):
        code_config = _code_config(vocabulary, arguments)
        lengths = {name: getattr(processor, name) for name in NOTE_LENGTHS}
        fields = {**_chosen_fields(arguments), **lengths, **config_fields}
        if arguments.text_model is not None:
            with _readable_text_model(arguments.text_model, (OSError,)):
                return model_class.from_text_pretrained(
                    arguments.text_model, code_config=code_config, node_parents=node_parents, **fields
                )
        # A text encoder without weights has nothing to keep frozen.
        fields.setdefault("num_frozen_text_layers", 0)
        fields.setdefault("initializer_range", _initializer_range(arguments.text_hidden_size))
        config = MedMPLMConfig(
            text_config=_text_config(processor.tokenizer, arguments), code_config=code_config, **fields
        )
        model = model_class(config)
        if node_parents is not None:
            model.model.set_ontology(node_parents)
        return model


def _new_rival(
    name: str,
    vocabulary: CodeVocabulary,
    processor: MedMPLMProcessor,
    arguments: ModelArguments,
    code_folder: str | Path | None,
    config_fields: dict[str, Any],
) -> rivals.RivalPreTrainedModel:
    """Build a rival with the text encoder, the options and the width of the classifier of MedM-PLM."""
    fields = {**_chosen_fields(arguments), **config_fields}
    with _one_line_errors("the model cannot be built"), _quiet_library():
        if arguments.text_model is None:
            text_config = _text_config(processor.tokenizer, arguments)
            fields.setdefault("initializer_range", _initializer_range(arguments.text_hidden_size))
        else:
            text_config = AutoConfig.from_pretrained(arguments.text_model)
        fields["classifier_hidden_size"] = _classifier_width(name, text_config, arguments, fields)
        code_encoder, sizes = None, _code_sizes(arguments)
        if code_folder is not None:
            code_encoder = rivals.pretrained_code_encoder(arguments.architecture, code_folder)
        model = rivals.new_rival(
            arguments.architecture,
            name,
            code_config=rivals.code_config_of(arguments.architecture, vocabulary, sizes),
            node_parents=list(vocabulary.node_parents),
            text_config=text_config,
            text_model=arguments.text_model,
            code_encoder=code_encoder,
            **fields,
        )
    if name == rivals.PRETRAINING:
        model.set_code_types(rivals.code_types_of(processor.code_tokenizer))
    return model


def _classifier_width(name: str, text_config: Any, arguments: ModelArguments, fields: dict[str, Any]) -> int:
    """Hidden width of MedM-PLM's classifier for the task, so that no rival gets a smaller one."""
    text_width = text_config.hidden_size * (2 if fields.get("use_current_note") else 1)
    code_width = arguments.code_hidden_size or MedMPLMCodeConfig.hidden_size
    return text_width + code_width * (2 if name == "medication_recommendation" else 1)


def new_token_classifier(
    tokenizer: PreTrainedTokenizerBase,
    arguments: ModelArguments,
    reads_text_encoder: bool,
    **config_fields: Any,
) -> MedMPLMForTokenClassification:
    """Build a tagger, which has no codes, with a published or new text encoder or with none.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): gives the size of a new text vocabulary.
        arguments (`ModelArguments`): the sizes, and `text_model`.
        reads_text_encoder (`bool`): false gives the tagger token embeddings of its own.
        config_fields: further fields of `MedMPLMConfig`.

    Returns:
        The model.

    Raises:
        InputError: if the text encoder cannot be read or a size is impossible.
    """
    with _one_line_errors("the model cannot be built"):
        fields = {**_chosen_fields(arguments), **config_fields}
        if arguments.text_model is not None and reads_text_encoder:
            return MedMPLMForTokenClassification.from_text_pretrained(arguments.text_model, **fields)
        fields.setdefault("num_frozen_text_layers", 0)
        fields.setdefault("initializer_range", _initializer_range(arguments.text_hidden_size))
        fields["tagger_use_text_encoder"] = reads_text_encoder
        text_config = _text_config(tokenizer, arguments)
        return MedMPLMForTokenClassification(MedMPLMConfig(text_config=text_config, **fields))


def load_model(
    name: str, folder: str | Path, arguments: ModelArguments, **config_fields: Any
) -> MedMPLMPreTrainedModel:
    """Load the encoders of a pre-trained model, or a whole model of the same kind.

    Args:
        name (`str`): `pretraining` or the name of a task.
        folder (`str` or `Path`): what `run_pretraining.py` wrote.
        arguments (`ModelArguments`): settings that override those of the folder.
        config_fields: further fields of `MedMPLMConfig`, labels for instance.

    Returns:
        The model; a head that the folder does not hold is new.

    Raises:
        InputError: if the folder is no model, lacks weights, was fine-tuned for other labels, or a setting is
        impossible for it.
    """
    _check_classifier(name, arguments)
    rivals.is_code_half(arguments.architecture, folder)
    with _one_line_errors(f"the model in {folder} cannot be loaded"), _quiet_library():
        fields = {**_chosen_fields(arguments), **config_fields}
        if arguments.architecture != rivals.OWN_ARCHITECTURE:
            text_config = rivals.RivalConfig.from_pretrained(folder).text_config
            fields["classifier_hidden_size"] = _classifier_width(name, text_config, arguments, fields)
            return rivals.load_rival(arguments.architecture, name, folder, **fields)
        _refuse_another_task(name, folder, fields)
        model, report = MODEL_CLASSES[name].from_pretrained(folder, output_loading_info=True, **fields)
    missing = [key for key in report["missing_keys"] if not key.startswith(HEAD_NAME)]
    if missing:
        raise InputError(
            f"{len(missing)} weights are missing, {min(missing)} among them",
            file=folder,
            remedy="leave out options that the model was not pre-trained with, such as --use_cross_modal",
        )
    return model


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


def _refuse_another_task(name: str, folder: str | Path, config_fields: dict[str, Any]) -> None:
    """A head learnt for other labels or from other inputs must not go on as if it knew these."""
    saved = MedMPLMConfig.from_pretrained(folder)
    task_classes = {
        model_class.__name__ for task, model_class in MODEL_CLASSES.items() if task != "pretraining"
    }
    built_for = (saved.architectures or ["MedMPLMModel"])[0]
    labels, reads_note = config_fields.get("id2label"), config_fields.get("use_current_note", False)
    same_labels = labels is None or saved.id2label == labels
    same_head = same_labels and saved.use_current_note == reads_note
    same_head = same_head and saved.classifier == config_fields.get("classifier", saved.classifier)
    same = built_for == MODEL_CLASSES[name].__name__ and same_head
    if built_for in task_classes and not same:
        raise InputError(
            "the model was fine-tuned for another task, for other labels, from other inputs or another head",
            file=folder,
            received=f"{built_for} with {saved.num_labels} labels",
            expected=f"a pre-trained model, or {MODEL_CLASSES[name].__name__} with the same labels",
            remedy="give the folder that run_pretraining.py wrote",
        )


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Hold back the library's table of weights; that a task has no pre-training head is as it should be."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


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
    with _one_line_errors(f"the processor in {folder} cannot be loaded"):
        lengths = {} if arguments is None else _note_lengths(arguments)
        return MedMPLMProcessor.from_pretrained(folder, **lengths)


def label_shares(labels: np.ndarray) -> list[float]:
    """Shares of visits that have each label, for `label_prior`, as if half a visit more had it and half not.

    Args:
        labels (`np.ndarray` of shape `(visits, labels)`): 0 and 1.
    """
    return [round(float(share), 8) for share in (labels.sum(axis=0) + 0.5) / (len(labels) + 1)]


def _check_classifier(name: str, arguments: ModelArguments) -> None:
    is_own = arguments.architecture == rivals.OWN_ARCHITECTURE
    if arguments.classifier == "label_attention" and not (is_own and name in TASK_NAMES):
        raise InputError(
            "option --classifier label_attention has no place here",
            received=f"{name} with {arguments.architecture}",
            expected=f"{', '.join(TASK_NAMES)} with {rivals.OWN_ARCHITECTURE}",
            remedy="leave it out",
        )


def _note_lengths(arguments: ModelArguments) -> dict[str, int]:
    """Lengths of notes that were set by an option, which processor and configuration share."""
    return {name: getattr(arguments, name) for name in NOTE_LENGTHS if getattr(arguments, name) is not None}


def _chosen_fields(arguments: ModelArguments) -> dict[str, Any]:
    """Fields of `MedMPLMConfig` that were set by an option."""
    names = ("use_cross_modal", "num_frozen_text_layers", "text_pooling", "classifier", *NOTE_LENGTHS)
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def _code_config(vocabulary: CodeVocabulary, arguments: ModelArguments) -> MedMPLMCodeConfig:
    return MedMPLMCodeConfig(
        vocab_size=vocabulary.num_codes,
        num_ontology_nodes=len(vocabulary.tokens),
        max_ontology_depth=vocabulary.max_depth,
        **_code_sizes(arguments),
    )


def _code_sizes(arguments: ModelArguments) -> dict[str, Any]:
    """Fields of `MedMPLMCodeConfig` that were set by an option."""
    fields: dict[str, Any] = {
        "hidden_size": arguments.code_hidden_size,
        "intermediate_size": arguments.code_hidden_size,
        "num_hidden_layers": arguments.code_num_hidden_layers,
        "num_attention_heads": arguments.code_num_attention_heads,
        "embedding_type": arguments.code_embedding_type,
    }
    if arguments.code_hidden_size is not None:
        heads = MedMPLMCodeConfig.ontology_num_attention_heads
        fields["ontology_embedding_size"] = arguments.code_hidden_size // heads
        fields["initializer_range"] = _initializer_range(arguments.code_hidden_size)
    return {name: value for name, value in fields.items() if value is not None}


def _text_config(tokenizer: PreTrainedTokenizerBase, arguments: ModelArguments) -> BertConfig:
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=arguments.text_hidden_size,
        num_hidden_layers=arguments.text_num_hidden_layers,
        num_attention_heads=arguments.text_num_attention_heads,
        intermediate_size=4 * arguments.text_hidden_size,
        max_position_embeddings=arguments.text_max_length,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=_initializer_range(arguments.text_hidden_size),
    )


def _initializer_range(hidden_size: int) -> float:
    """Spread of new weights in an encoder of this width.

    The usual 0.02 was chosen for BERT-base, 768 wide. A layer's output grows with the square root of the
    width, so a narrow encoder with 0.02 hardly passes on what it reads, and learns nothing for hundreds of
    steps.
    """
    return 0.02 * math.sqrt(768 / hidden_size)
