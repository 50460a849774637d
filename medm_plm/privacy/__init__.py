"""What a trained model gives away of its patients: membership inference and planted canaries."""

from medm_plm.privacy.attacks import Attack, likelihood_ratio_attack, loss_threshold_attack
from medm_plm.privacy.canaries import Canary, exposure
from medm_plm.privacy.measuring import measure_privacy
from medm_plm.privacy.planning import plan_audit

__all__ = [
    "Attack",
    "Canary",
    "exposure",
    "likelihood_ratio_attack",
    "loss_threshold_attack",
    "measure_privacy",
    "plan_audit",
]
