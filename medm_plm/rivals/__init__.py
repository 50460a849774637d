"""The models that MedM-PLM is compared with (section III-C of Liu et al. 2022), built as carefully as it.

They take the same batches, return the same output and are run by the same trainer with the same classifier,
text encoder and cache. Chosen by `--architecture NAME` of `run_pretraining.py` and `run_finetuning.py`;
`docs/design_decisions.md` tells their published settings and where ours differ.
"""

from medm_plm.rivals.base import RivalPreTrainedModel
from medm_plm.rivals.building import (
    PRETRAINING,
    code_config_of,
    is_code_half,
    load_rival,
    model_class_of,
    new_rival,
    pretrained_code_encoder,
    saved_architecture,
)
from medm_plm.rivals.configuration import (
    ARCHITECTURE_NAMES,
    ARCHITECTURES,
    OWN_ARCHITECTURE,
    RivalConfig,
)
from medm_plm.rivals.inputs import has_frozen_text, reads_codes, reads_text, visible_visits
from medm_plm.rivals.pretraining import (
    c2c_metrics,
    code_types_of,
    hidden_code_losses,
    places_of_hidden_codes,
    pretrained_part,
    pretraining_target,
)

__all__ = [
    "ARCHITECTURES",
    "ARCHITECTURE_NAMES",
    "OWN_ARCHITECTURE",
    "PRETRAINING",
    "RivalConfig",
    "RivalPreTrainedModel",
    "c2c_metrics",
    "code_config_of",
    "code_types_of",
    "has_frozen_text",
    "hidden_code_losses",
    "is_code_half",
    "load_rival",
    "model_class_of",
    "new_rival",
    "places_of_hidden_codes",
    "pretrained_code_encoder",
    "pretrained_part",
    "pretraining_target",
    "reads_codes",
    "reads_text",
    "saved_architecture",
    "visible_visits",
]
