"""The clinical tables compiled into arrays, so that a whole block of visits is computed at once.

Axes: conditions, options (a drug within one therapeutic decision), decisions, classes (ATC third level),
traits, circumstances.
"""

import numpy as np

from medm_plm.data.synthetic.acute_conditions import ACUTE_CONDITIONS
from medm_plm.data.synthetic.chronic_conditions import CHRONIC_CONDITIONS
from medm_plm.data.synthetic.clinical_types import Condition, Trait
from medm_plm.data.synthetic.drugs import DRUG_INDEX, DRUGS, MEDICATION_CLASSES
from medm_plm.data.synthetic.patient_facts import CIRCUMSTANCES, TRAITS
from medm_plm.data.synthetic.treatments import TREATMENTS

CONDITIONS: tuple[Condition, ...] = CHRONIC_CONDITIONS + ACUTE_CONDITIONS
NUM_CHRONIC = len(CHRONIC_CONDITIONS)
CONDITION_INDEX: dict[str, int] = {condition.key: index for index, condition in enumerate(CONDITIONS)}
CIRCUMSTANCE_INDEX: dict[str, int] = {fact.key: index for index, fact in enumerate(CIRCUMSTANCES)}

# A circumstance weighs more for some patients: known from the note, but only the codes say for whom.
INTERACTIONS: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("lives_alone", ("heart_failure", "copd", "dementia"), 1.0),
    ("missed_followup", ("kidney_disease", "dialysis", "diabetes", "cirrhosis"), 1.0),
    ("frailty", ("malnutrition", "anemia", "metastases"), 0.9),
    ("home_services", ("heart_failure", "hip_fracture", "stroke"), -0.6),
)
# So does not knowing one's pills for a patient with this many medication classes.
POLYPHARMACY_CLASSES = 12
POLYPHARMACY_EFFECT = 0.9

# Shares of a condition's first, second and third code.
_CODE_SHARES = {1: (1.0,), 2: (0.75, 0.25), 3: (0.65, 0.22, 0.13)}


def code_shares(codes: tuple[str, ...]) -> tuple[float, ...]:
    """Return how often each of a condition's alternative codes is the one recorded.

    Args:
        codes (`tuple[str, ...]`): one to three codes, the most usual first.

    Returns:
        Shares in the same order, summing to one.
    """
    return _CODE_SHARES[len(codes)]


def log_odds(probability: np.ndarray | float) -> np.ndarray:
    """Return the log-odds of probabilities strictly between 0 and 1.

    Args:
        probability (`np.ndarray` or `float`): any shape.

    Returns:
        The same shape.
    """
    value = np.asarray(probability, dtype=np.float64)
    return np.log(value) - np.log1p(-value)


def logistic(value: np.ndarray) -> np.ndarray:
    """Return the probabilities that belong to log-odds.

    Args:
        value (`np.ndarray`): any shape.

    Returns:
        The same shape, strictly between 0 and 1.
    """
    return 1.0 / (1.0 + np.exp(-value))


def _cause_matrix() -> np.ndarray:
    matrix = np.zeros((len(CONDITIONS), len(CONDITIONS)))
    for effect, condition in enumerate(CONDITIONS):
        for cause, weight in condition.causes.items():
            if CONDITION_INDEX[cause] >= effect:
                raise ValueError(f"condition {condition.key}: cause {cause} must be listed before it")
            matrix[CONDITION_INDEX[cause], effect] = weight
    return matrix


def _option_effect(trait: Trait, drug_index: int) -> float:
    drug = DRUGS[drug_index]
    return trait.effects.get(drug.key, trait.effects.get(drug.atc, 1.0))


_PREVALENCE = np.array([condition.prevalence for condition in CONDITIONS])
CAUSES = _cause_matrix()  # (conditions, conditions): row adds to column
# Less what the causes add on average, so that the prevalence is that of the whole population.
BASE_LOG_ODDS = log_odds(_PREVALENCE) - _PREVALENCE @ CAUSES
AGE_EFFECT = np.array([condition.age_effect for condition in CONDITIONS])
BURDEN = np.array([condition.burden for condition in CONDITIONS])
SEVERE_BURDEN = np.array([max(condition.burden, condition.severe_burden) for condition in CONDITIONS])
DEATH_EFFECT = np.array([condition.death for condition in CONDITIONS])
RECORDED = np.array([condition.recorded for condition in CONDITIONS])
HAS_SEVERITY = np.array([bool(condition.severe_codes) for condition in CONDITIONS])
EXPLICIT = np.array([condition.explicit for condition in CONDITIONS])
VAGUE = np.array([condition.vague for condition in CONDITIONS])
PRIORITY = np.array([condition.priority for condition in CONDITIONS], dtype=np.float64)
IMPOSSIBLE_FOR = {
    "F": np.array([condition.sex == "M" for condition in CONDITIONS]),
    "M": np.array([condition.sex == "F" for condition in CONDITIONS]),
}

OPTION_DECISION = np.array([d for d, treatment in enumerate(TREATMENTS) for _ in treatment.options])
OPTION_DRUG = np.array([DRUG_INDEX[key] for treatment in TREATMENTS for key, _ in treatment.options])
OPTION_WEIGHT = np.array([weight for treatment in TREATMENTS for _, weight in treatment.options])
DECISION_START = np.array([int(np.argmax(d == OPTION_DECISION)) for d in range(len(TREATMENTS))])
# The inpatient's own decisions hang on a column past the last condition that is always on.
DECISION_CONDITION = np.array([CONDITION_INDEX.get(t.condition, len(CONDITIONS)) for t in TREATMENTS])
DECISION_CHRONIC = DECISION_CONDITION < NUM_CHRONIC
DECISION_MILD = np.array([treatment.probability for treatment in TREATMENTS])
DECISION_SEVERE = np.array([treatment.severe_probability for treatment in TREATMENTS])
# (traits, options)
OPTION_LOG_EFFECT = np.log(
    np.array([[_option_effect(trait, drug) for drug in OPTION_DRUG] for trait in TRAITS])
)
CLASS_OF_OPTION = np.array([MEDICATION_CLASSES.index(DRUGS[drug].atc) for drug in OPTION_DRUG])


def _decision_class_pairs() -> tuple[np.ndarray, np.ndarray]:
    pairs = sorted({(int(d), int(c)) for d, c in zip(OPTION_DECISION, CLASS_OF_OPTION, strict=True)})
    position = {pair: index for index, pair in enumerate(pairs)}
    option_to_pair = np.zeros((len(OPTION_DRUG), len(pairs)))
    for option, pair in enumerate(zip(OPTION_DECISION, CLASS_OF_OPTION, strict=True)):
        option_to_pair[option, position[(int(pair[0]), int(pair[1]))]] = 1.0
    pair_to_class = np.zeros((len(pairs), len(MEDICATION_CLASSES)))
    pair_to_class[np.arange(len(pairs)), [c for _, c in pairs]] = 1.0
    return option_to_pair, pair_to_class


OPTION_TO_PAIR, PAIR_TO_CLASS = _decision_class_pairs()  # (options, pairs), (pairs, classes)
