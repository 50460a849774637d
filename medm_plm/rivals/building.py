"""Build a rival for a task, new or from what was pre-trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from configuration_medm_plm import MedMPLMCodeConfig, MedMPLMConfig
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.rivals.base import RivalPreTrainedModel
from medm_plm.rivals.configuration import (
    ARCHITECTURES,
    OWN_ARCHITECTURE,
    RECOMMENDATION,
    RivalConfig,
)
from medm_plm.rivals.convolution import CamlForVisitClassification
from medm_plm.rivals.encoders import CodeModel
from medm_plm.rivals.heads import RivalForMedicationRecommendation, RivalForVisitClassification
from medm_plm.rivals.pretraining import PRETRAINING_CLASSES
from medm_plm.rivals.retain import RetainForMedicationRecommendation, RetainForVisitClassification
from medm_plm.rivals.votes import ClinicalBertForVisitClassification
from modeling_medm_plm import MedMPLMCodeModel, MedMPLMModel

PRETRAINING = "pretraining"
OUTCOMES = ("readmission", "mortality")
HEAD_NAMES = ("classifier.",)

# What the authors published: G-BERT's and Med-BERT's configuration files, the defaults of RETAIN's script.
CODE_SETTINGS: dict[str, dict[str, Any]] = {
    "retain": {"hidden_size": 128, "num_attention_heads": 1, "embedding_type": "plain"},
    "gbert": {
        "hidden_size": 300,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 300,
        "hidden_act": "relu",
        "hidden_dropout_prob": 0.4,
        "attention_probs_dropout_prob": 0.1,
        "embedding_type": "ontology",
    },
    "med_bert": {
        "hidden_size": 192,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "intermediate_size": 64,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "embedding_type": "plain",
    },
}


def code_config_of(
    architecture: str, vocabulary: CodeVocabulary, sizes: Mapping[str, Any]
) -> MedMPLMCodeConfig:
    """Shape of a rival's code encoder: the published one, with the sizes that were set by an option.

    Args:
        architecture (`str`): a name of `ARCHITECTURES`.
        vocabulary (`CodeVocabulary`): codes of the training split.
        sizes (`Mapping`): fields of `MedMPLMCodeConfig` that were set.

    Returns:
        The configuration; the default one for a rival that reads no codes.
    """
    encoder = ARCHITECTURES[architecture].code_encoder
    if encoder is None:
        return MedMPLMCodeConfig()
    fields = {**CODE_SETTINGS[encoder], **sizes}
    heads = MedMPLMCodeConfig.ontology_num_attention_heads
    fields["ontology_embedding_size"] = fields["hidden_size"] // heads
    return MedMPLMCodeConfig(
        vocab_size=vocabulary.num_codes,
        num_ontology_nodes=len(vocabulary.tokens),
        max_ontology_depth=vocabulary.max_depth,
        **fields,
    )


def model_class_of(architecture: str, task: str) -> type[RivalPreTrainedModel]:
    """Name the class of a rival for a task.

    Args:
        architecture (`str`): a name of `ARCHITECTURES`.
        task (`str`): `pretraining` or the name of a task.

    Raises:
        InputError: if the rival cannot learn the task.
    """
    parts = ARCHITECTURES[architecture]
    if task == PRETRAINING:
        if not parts.can_be_pretrained:
            able = [name for name, other in ARCHITECTURES.items() if other.can_be_pretrained]
            raise InputError(
                f"architecture {architecture} has no pre-training of its own", expected=" or ".join(able)
            )
        return PRETRAINING_CLASSES[str(parts.code_encoder)]
    if task not in parts.tasks:
        raise InputError(
            f"architecture {architecture} cannot learn task {task}", expected=" or ".join(parts.tasks)
        )
    if parts.code_encoder == "retain":
        return RetainForMedicationRecommendation if task == RECOMMENDATION else RetainForVisitClassification
    if architecture == "caml":
        return CamlForVisitClassification
    if architecture == "clinical_bert" and task in OUTCOMES:
        return ClinicalBertForVisitClassification
    return RivalForMedicationRecommendation if task == RECOMMENDATION else RivalForVisitClassification


def new_rival(
    architecture: str,
    task: str,
    code_config: MedMPLMCodeConfig,
    node_parents: list[int],
    text_config: PreTrainedConfig,
    text_model: str | None = None,
    code_encoder: MedMPLMCodeModel | None = None,
    **fields: Any,
) -> RivalPreTrainedModel:
    """Build a rival whose text encoder is published or new and everything else is new.

    Args:
        architecture (`str`): a name of `ARCHITECTURES`.
        task (`str`): `pretraining` or the name of a task.
        code_config (`MedMPLMCodeConfig`): see `code_config_of`.
        node_parents (`list[int]`): places of the codes in the hierarchies.
        text_config (`PreTrainedConfig`): shape of a new text encoder; of `cnn` and `caml` its vocabulary.
        text_model (`str`, *optional*): folder or Hub id of a published text encoder.
        code_encoder (`MedMPLMCodeModel`, *optional*): a pre-trained one, see `pretrained_code_encoder`.
        fields: further fields of `RivalConfig`.

    Returns:
        The rival, in evaluation mode.

    Raises:
        InputError: if the rival cannot learn the task.
    """
    model_class = model_class_of(architecture, task)
    published = None
    if ARCHITECTURES[architecture].has_frozen_text:
        if text_model is not None:
            # Read by MedM-PLM itself, so that both have the same configuration and share a cache.
            published = MedMPLMModel.from_text_pretrained(text_model)
            text_config = published.config.text_config
        else:
            fields.setdefault("num_frozen_text_layers", 0)  # without weights nothing to keep frozen
    else:
        fields["num_frozen_text_layers"] = 0
    if code_encoder is not None:
        code_config = code_encoder.config
    config = RivalConfig(
        architecture=architecture, text_config=text_config, code_config=code_config, **fields
    )
    model = model_class(config)
    if published is not None:
        model.model.text_model.load_state_dict(published.text_model.state_dict())
    if code_encoder is not None:
        model.model.code_model.load_state_dict(code_encoder.state_dict())
    elif config.parts.can_be_pretrained and code_config.embedding_type == "ontology":
        model.model.code_model.set_ontology(node_parents)
    return model.eval()


def saved_architecture(folder: str | Path) -> str:
    """Tell what a folder holds: a name of `ARCHITECTURES`, `medm_plm`, or another model type."""
    try:
        saved = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            "no saved model: config.json is missing", file=folder, remedy="give what run_pretraining.py wrote"
        ) from error
    if saved.get("model_type") == RivalConfig.model_type:
        return str(saved.get("architecture"))
    return str(saved.get("model_type"))


def is_code_half(architecture: str, folder: str | Path) -> bool:
    """Tell whether a folder holds only the code encoder for a rival that is built around it.

    Args:
        architecture (`str`): the architecture that is asked for.
        folder (`str` or `Path`): a saved model.

    Returns:
        True for a pair and the folder of its code encoder, and for G-BERT and a folder of MedM-PLM.

    Raises:
        InputError: if the folder can serve neither so nor as a whole.
    """
    saved = saved_architecture(folder)
    if saved == architecture or (architecture == OWN_ARCHITECTURE and saved not in ARCHITECTURES):
        return False
    parts = ARCHITECTURES.get(architecture)
    if parts is not None and parts.can_be_pretrained:
        if parts.text_encoder is not None and saved == parts.code_encoder:
            return True
        if architecture == "gbert" and saved == OWN_ARCHITECTURE:
            return True
    raise InputError(
        "the folder holds a model of another architecture",
        file=folder,
        received=saved,
        expected=architecture,
        remedy=f"set --architecture {saved}" if saved in (OWN_ARCHITECTURE, *ARCHITECTURES) else None,
    )


def pretrained_code_encoder(architecture: str, folder: str | Path) -> MedMPLMCodeModel:
    """Load the code encoder that a rival is built around; see `is_code_half`.

    Args:
        architecture (`str`): the architecture that is asked for.
        folder (`str` or `Path`): where the code encoder is.

    Returns:
        The code encoder. From MedM-PLM it brings its shape and activation, on which its weights depend, and
        gets the dropout of G-BERT.
    """
    if saved_architecture(folder) != OWN_ARCHITECTURE:
        return CodeModel.from_pretrained(folder).code_model
    config = MedMPLMConfig.from_pretrained(folder)
    code_model = MedMPLMModel.from_pretrained(folder, config=config).code_model
    published = CODE_SETTINGS[str(ARCHITECTURES[architecture].code_encoder)]
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        setattr(code_model.config, name, published[name])
    return code_model


def load_rival(architecture: str, task: str, folder: str | Path, **fields: Any) -> RivalPreTrainedModel:
    """Load a rival of the same architecture, pre-trained or fine-tuned for the same labels.

    Args:
        architecture (`str`): a name of `ARCHITECTURES`.
        task (`str`): `pretraining` or the name of a task.
        folder (`str` or `Path`): what `run_pretraining.py` or `run_finetuning.py` wrote.
        fields: fields of `RivalConfig` that override those of the folder.

    Returns:
        The rival; a head that the folder does not hold is new.

    Raises:
        InputError: if weights are missing or the rival was fine-tuned for other labels.
    """
    model_class = model_class_of(architecture, task)
    saved = RivalConfig.from_pretrained(folder)
    built_for = (saved.architectures or [""])[0]
    is_head = built_for not in {other.__name__ for other in PRETRAINING_CLASSES.values()}
    labels, reads_note = fields.get("id2label"), fields.get("use_current_note", False)
    same = (labels is None or saved.id2label == labels) and saved.use_current_note == reads_note
    if is_head and not (same and built_for == model_class.__name__):
        raise InputError(
            "the model was fine-tuned for another task, for other labels or from other inputs",
            file=folder,
            received=f"{built_for} with {saved.num_labels} labels",
            expected=f"a pre-trained model, or {model_class.__name__} with the same labels",
            remedy="give the folder that run_pretraining.py wrote",
        )
    model, report = model_class.from_pretrained(folder, output_loading_info=True, **fields)
    missing = [key for key in report["missing_keys"] if not key.startswith(HEAD_NAMES)]
    if missing:
        raise InputError(f"{len(missing)} weights are missing, {min(missing)} among them", file=folder)
    return model
