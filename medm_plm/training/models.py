"""Build or load the model of a run.

A run that starts from nothing begins with a small, new BERT: the honest start where no published encoder is
at hand. With `--text_model` the published encoder goes into the text tower.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig, BertConfig, PreTrainedTokenizerBase

from configuration_medm_plm import MedMPLMCodeConfig, MedMPLMConfig
from medm_plm import rivals
from medm_plm.command_line import quiet_library
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.training.arguments import NER_TASK, TASK_NAMES, ModelArguments
from medm_plm.training.library_errors import one_line_errors, readable_text_model
from medm_plm.training.processors import NOTE_LENGTHS
from modeling_medm_plm import (
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForPreTraining,
    MedMPLMForReadmissionPrediction,
    MedMPLMForTokenClassification,
    MedMPLMPreTrainedModel,
)
from tokenization_medm_plm import MedMPLMProcessor

MODEL_CLASSES: dict[str, type[MedMPLMPreTrainedModel]] = {
    "pretraining": MedMPLMForPreTraining,
    "medication_recommendation": MedMPLMForMedicationRecommendation,
    "readmission": MedMPLMForReadmissionPrediction,
    "mortality": MedMPLMForReadmissionPrediction,  # one score too; the label tells the two apart
    "icd_coding": MedMPLMForICDCoding,
    "medication_prediction": MedMPLMForICDCoding,
    NER_TASK: MedMPLMForTokenClassification,
}
CLASSIFIER_OPTIONS = ("classifier", "classifier_dropout", "classifier_token_weights")
HEAD_NAMES = ("classifier.", "token_weights.")  # attributes of the task models


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
    with one_line_errors("the model cannot be built"):
        code_config = _code_config(vocabulary, arguments)
        lengths = {name: getattr(processor, name) for name in NOTE_LENGTHS}
        fields = {**_chosen_fields(arguments), **lengths, **config_fields}
        if arguments.text_model is not None:
            with readable_text_model(arguments.text_model, (OSError,)):
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
    with one_line_errors("the model cannot be built"), quiet_library():
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
    with one_line_errors("the model cannot be built"):
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
    with one_line_errors(f"the model in {folder} cannot be loaded"), quiet_library():
        fields = {**_chosen_fields(arguments), **config_fields}
        if arguments.architecture != rivals.OWN_ARCHITECTURE:
            text_config = rivals.RivalConfig.from_pretrained(folder).text_config
            fields["classifier_hidden_size"] = _classifier_width(name, text_config, arguments, fields)
            return rivals.load_rival(arguments.architecture, name, folder, **fields)
        _refuse_another_task(name, folder, fields)
        model, report = MODEL_CLASSES[name].from_pretrained(folder, output_loading_info=True, **fields)
    missing = [key for key in report["missing_keys"] if not key.startswith(HEAD_NAMES)]
    if missing:
        raise InputError(
            f"{len(missing)} weights are missing, {min(missing)} among them",
            file=folder,
            remedy="leave out options that the model was not pre-trained with, such as --use_cross_modal",
        )
    return model


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
    same_head = same_head and saved.note_field == config_fields.get("note_field", saved.note_field)
    for option in ("classifier", "classifier_token_weights"):
        same_head = same_head and config_fields.get(option) in (None, getattr(saved, option))
    same = built_for == MODEL_CLASSES[name].__name__ and same_head
    if built_for in task_classes and not same:
        raise InputError(
            "the model was fine-tuned for another task, for other labels, from other inputs or another head",
            file=folder,
            received=f"{built_for} with {saved.num_labels} labels",
            expected=f"a pre-trained model, or {MODEL_CLASSES[name].__name__} with the same labels",
            remedy="give the folder that run_pretraining.py wrote",
        )


def label_shares(labels: np.ndarray) -> list[float]:
    """Shares of visits that have each label, for `label_prior`, as if half a visit more had it and half not.

    Args:
        labels (`np.ndarray` of shape `(visits, labels)`): 0 and 1.
    """
    return [round(float(share), 8) for share in (labels.sum(axis=0) + 0.5) / (len(labels) + 1)]


def _check_classifier(name: str, arguments: ModelArguments) -> None:
    tasks = {}
    if arguments.classifier == "label_attention":
        tasks["--classifier label_attention"] = TASK_NAMES
    if arguments.classifier_token_weights:
        one_visit = tuple(task for task in TASK_NAMES if task != "medication_recommendation")
        tasks["--classifier_token_weights"] = one_visit
    is_own = arguments.architecture == rivals.OWN_ARCHITECTURE
    for option, possible in tasks.items():
        if not (is_own and name in possible):
            raise InputError(
                f"option {option} has no place here",
                received=f"{name} with {arguments.architecture}",
                expected=f"{', '.join(possible)} with {rivals.OWN_ARCHITECTURE}",
                remedy="leave it out",
            )


def _chosen_fields(arguments: ModelArguments) -> dict[str, Any]:
    """Fields of `MedMPLMConfig` that were set by an option."""
    names = ("use_cross_modal", "num_frozen_text_layers", "text_pooling", *CLASSIFIER_OPTIONS, *NOTE_LENGTHS)
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
