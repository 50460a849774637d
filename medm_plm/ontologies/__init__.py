"""Code systems and their trees: ICD-9-CM and ICD-10-CM diagnoses, ATC medications."""

from medm_plm.ontologies.codes import (
    CODE_TYPE_OF_SYSTEM,
    SYSTEMS,
    code_type,
    normalize_code,
    qualify,
    split_qualified,
)
from medm_plm.ontologies.ontology import Ontology, ancestors, build_forest, get_ontology

__all__ = [
    "CODE_TYPE_OF_SYSTEM",
    "SYSTEMS",
    "Ontology",
    "ancestors",
    "build_forest",
    "code_type",
    "get_ontology",
    "normalize_code",
    "qualify",
    "split_qualified",
]
