"""MedM-PLM: language models over the notes and the diagnosis and medication codes of hospital visits.

Names are loaded on first use, so that `import medm_plm.data` or `import medm_plm.ontologies` works quickly
and without torch. The first use of a model, a configuration or a tokenizer also registers them all with the
Auto classes of transformers; `register_auto_classes()` does the same for a program that names none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from configuration_medm_plm import MedMPLMCodeConfig, MedMPLMConfig
    from medm_plm.explanations import VisitExplanation, explain_visit
    from medm_plm.prediction import load_pipeline
    from modeling_medm_plm import (
        MedMPLMCodeModel,
        MedMPLMForICDCoding,
        MedMPLMForMedicationRecommendation,
        MedMPLMForPreTraining,
        MedMPLMForReadmissionPrediction,
        MedMPLMForTokenClassification,
        MedMPLMModel,
        MedMPLMPreTrainedModel,
    )
    from tokenization_medm_plm import MedMPLMCodeTokenizer, MedMPLMProcessor

__version__ = "0.1.0"

_CONFIGURATION = "configuration_medm_plm"
_MODELING = "modeling_medm_plm"
_TOKENIZATION = "tokenization_medm_plm"
_EXPLANATIONS = "medm_plm.explanations"
_PIPELINES = "pipeline_medm_plm"
_PREDICTION = "medm_plm.prediction"
_MODULE_OF_NAME = {
    "MedMPLMCodeConfig": _CONFIGURATION,
    "MedMPLMConfig": _CONFIGURATION,
    "MedMPLMCodeModel": _MODELING,
    "MedMPLMForICDCoding": _MODELING,
    "MedMPLMForMedicationRecommendation": _MODELING,
    "MedMPLMForPreTraining": _MODELING,
    "MedMPLMForReadmissionPrediction": _MODELING,
    "MedMPLMForTokenClassification": _MODELING,
    "MedMPLMModel": _MODELING,
    "MedMPLMPreTrainedModel": _MODELING,
    "MedMPLMCodeTokenizer": _TOKENIZATION,
    "MedMPLMProcessor": _TOKENIZATION,
    "VisitExplanation": _EXPLANATIONS,
    "explain_visit": _EXPLANATIONS,
    "load_pipeline": _PREDICTION,
}

__all__ = [
    "MedMPLMCodeConfig",
    "MedMPLMCodeModel",
    "MedMPLMCodeTokenizer",
    "MedMPLMConfig",
    "MedMPLMForICDCoding",
    "MedMPLMForMedicationRecommendation",
    "MedMPLMForPreTraining",
    "MedMPLMForReadmissionPrediction",
    "MedMPLMForTokenClassification",
    "MedMPLMModel",
    "MedMPLMPreTrainedModel",
    "MedMPLMProcessor",
    "VisitExplanation",
    "__version__",
    "explain_visit",
    "load_pipeline",
    "register_auto_classes",
]


def register_auto_classes() -> None:
    """Make `AutoConfig`, `AutoModel` and their kin know MedM-PLM, so that no `trust_remote_code` is needed.

    The three task heads share `AutoModelForSequenceClassification`, which then builds the class a folder was
    saved from. A second call changes nothing.
    """
    import transformers as hf

    shapes, models, texts = (import_module(name) for name in (_CONFIGURATION, _MODELING, _TOKENIZATION))
    heads = (
        models.MedMPLMForICDCoding,
        models.MedMPLMForReadmissionPrediction,
        models.MedMPLMForMedicationRecommendation,
    )
    for config_class in (shapes.MedMPLMConfig, shapes.MedMPLMCodeConfig):
        hf.AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    hf.AutoModel.register(shapes.MedMPLMConfig, models.MedMPLMModel, exist_ok=True)
    hf.AutoModel.register(shapes.MedMPLMCodeConfig, models.MedMPLMCodeModel, exist_ok=True)
    hf.AutoModelForPreTraining.register(shapes.MedMPLMConfig, models.MedMPLMForPreTraining, exist_ok=True)
    hf.AutoModelForSequenceClassification.register(shapes.MedMPLMConfig, heads, exist_ok=True)
    taggers = models.MedMPLMForTokenClassification
    hf.AutoModelForTokenClassification.register(shapes.MedMPLMConfig, taggers, exist_ok=True)
    hf.AutoProcessor.register(shapes.MedMPLMConfig, texts.MedMPLMProcessor, exist_ok=True)
    _register_pipelines()


def _register_pipelines() -> None:
    from transformers import AutoModelForSequenceClassification
    from transformers.pipelines import PIPELINE_REGISTRY

    for task, kind in import_module(_PIPELINES).PIPELINES.items():
        if task not in PIPELINE_REGISTRY.supported_tasks:  # the library would warn
            PIPELINE_REGISTRY.register_pipeline(task, kind, pt_model=AutoModelForSequenceClassification)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    register_auto_classes()
    value = getattr(import_module(_MODULE_OF_NAME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
