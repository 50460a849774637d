"""How the invented doctors choose drugs, with the exact probability of every choice."""

import numpy as np

from medm_plm.data.synthetic import knowledge as k
from medm_plm.data.synthetic.visit_block import NEVER, STOPPED, UNCHANGED

# An option once taken is continued with this chance, times the factor of the traits that speak against it.
_CONTINUATION = 0.92
# A chronic illness left untreated so far is treated with this share of the usual chance.
_NEW_START = 0.45
# A treatment given up at an earlier discharge is taken up again with this share.
_RESTART = 0.08
# A treatment already running is left out with this share of the usual chance.
_LAPSE = 0.3
# At discharge a chronic treatment is stopped or exchanged, a missing one started, with these chances.
_STOP, _EXCHANGE, _START = 0.08, 0.14, 0.30


def option_probabilities(
    active: np.ndarray,
    severe: np.ndarray,
    traits: np.ndarray,
    last_option: np.ndarray,
    new_start: float = _NEW_START,
) -> np.ndarray:
    """Give the chance of every drug option for a block of visits, from what a doctor knows at admission.

    Args:
        active (`np.ndarray` of shape `(visits, conditions)`): conditions present.
        severe (`np.ndarray` of shape `(visits, conditions)`): which of them are severe.
        traits (`np.ndarray` of shape `(visits, traits)`): allergies, intolerances and earlier responses.
        last_option (`np.ndarray` of shape `(visits, decisions)`): option taken, or `NEVER`, `STOPPED`.
        new_start (`float`): share of the usual chance at which a chronic illness not yet treated is.

    Returns:
        Probabilities `(visits, options)`; the options of one decision exclude each other.
    """
    factor = np.exp(traits @ k.OPTION_LOG_EFFECT)  # (visits, options)
    weight = k.OPTION_WEIGHT * factor
    total = np.add.reduceat(weight, k.DECISION_START, axis=1)  # (visits, decisions)
    share = weight / total[:, k.OPTION_DECISION]
    suitable = np.minimum(1.0, total / np.add.reduceat(k.OPTION_WEIGHT, k.DECISION_START))
    chance = _usual_chances(active, severe) * (1.0 - (1.0 - suitable) ** 2)
    treated = last_option >= 0
    factor_of_last = np.take_along_axis(factor, np.maximum(last_option, 0), axis=1)
    stay = np.where(treated, _CONTINUATION * np.minimum(1.0, factor_of_last), 0.0)  # (visits, decisions)
    untreated_share = np.where(last_option == STOPPED, _RESTART, np.where(k.DECISION_CHRONIC, new_start, 1.0))
    running = stay * (1.0 - (1.0 - chance) * _LAPSE) + (1.0 - stay) * chance
    chance = np.where(treated, running, chance * untreated_share) * _indicated(active)
    keeps = np.arange(k.OPTION_DECISION.size) == last_option[:, k.OPTION_DECISION]
    stay = stay[:, k.OPTION_DECISION]
    return chance[:, k.OPTION_DECISION] * ((1.0 - stay) * share + stay * keeps)


def _indicated(active: np.ndarray) -> np.ndarray:
    always = np.ones((len(active), 1), dtype=bool)
    return np.concatenate([active, always], axis=1)[:, k.DECISION_CONDITION]


def _usual_chances(active: np.ndarray, severe: np.ndarray) -> np.ndarray:
    never = np.zeros((len(active), 1), dtype=bool)
    is_severe = np.concatenate([severe, never], axis=1)[:, k.DECISION_CONDITION]
    return np.where(is_severe, k.DECISION_SEVERE, k.DECISION_MILD)


def draw_options(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw at most one option of each decision.

    Args:
        probabilities (`np.ndarray` of shape `(visits, options)`): from `option_probabilities`.
        rng (`np.random.Generator`): source of chance.

    Returns:
        Whether each option is given, `(visits, options)`.
    """
    uniform = rng.random((len(probabilities), k.DECISION_START.size))
    upper = np.cumsum(probabilities, axis=1)
    before = upper - probabilities
    level = (uniform + before[:, k.DECISION_START])[:, k.OPTION_DECISION]
    return (before <= level) & (level < upper)


def class_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Turn option probabilities into the chance that a medication class is given at all.

    Args:
        probabilities (`np.ndarray` of shape `(visits, options)`): from `option_probabilities`.

    Returns:
        Chance of each class `(visits, classes)`: one minus the chance that no decision gives it.
    """
    per_decision = np.minimum(probabilities @ k.OPTION_TO_PAIR, 1.0 - 1e-9)  # (visits, pairs)
    return 1.0 - np.exp(np.log1p(-per_decision) @ k.PAIR_TO_CLASS)


def update_last_option(last_option: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Remember what a patient was given for each chronic illness.

    Args:
        last_option (`np.ndarray` of shape `(visits, decisions)`): memory before the visit.
        given (`np.ndarray` of shape `(visits, options)`): options given at the visit.

    Returns:
        Memory after the visit; decisions about acute illness are not remembered.
    """
    numbered = np.where(given, np.arange(given.shape[1]), NEVER)
    latest = np.maximum.reduceat(numbered, k.DECISION_START, axis=1)
    return np.where(k.DECISION_CHRONIC, np.where(latest >= 0, latest, last_option), NEVER)


def draw_changes(
    active: np.ndarray, traits: np.ndarray, home: np.ndarray, given: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw what the discharge changes in the treatment of chronic illness; only the note will tell.

    Args:
        active (`np.ndarray` of shape `(visits, conditions)`): conditions present.
        traits (`np.ndarray` of shape `(visits, traits)`): traits known at discharge.
        home (`np.ndarray` of shape `(visits, decisions)`): option taken before the visit.
        given (`np.ndarray` of shape `(visits, options)`): options given at the visit.
        rng (`np.random.Generator`): source of chance.

    Returns:
        The option to be taken from now on, or `STOPPED`, `UNCHANGED`, `(visits, decisions)`.
    """
    current = update_last_option(home, given)
    weight = k.OPTION_WEIGHT * np.exp(traits @ k.OPTION_LOG_EFFECT)
    is_current = np.arange(k.OPTION_DECISION.size) == current[:, k.OPTION_DECISION]
    weight = np.where(is_current, 0.0, weight)
    share = weight / np.maximum(np.add.reduceat(weight, k.DECISION_START, axis=1), 1e-9)[:, k.OPTION_DECISION]
    drawn = draw_options(share * (1.0 - 1e-9), rng)
    numbered = np.where(drawn, np.arange(drawn.shape[1]), UNCHANGED)
    other = np.maximum.reduceat(numbered, k.DECISION_START, axis=1)
    uniform = rng.random(current.shape)
    treated = current >= 0
    exchange = treated & (uniform >= _STOP) & (uniform < _STOP + _EXCHANGE)
    change = np.where(treated & (uniform < _STOP), STOPPED, UNCHANGED)
    change = np.where(exchange | (~treated & (uniform < _START)), other, change)
    return np.where(k.DECISION_CHRONIC & _indicated(active), change, UNCHANGED)
