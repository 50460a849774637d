"""Explanations: which words of a note and which codes of a visit count for what a fine-tuned model says."""

from medm_plm.explanations.explaining import VisitExplanation, explain_visit

__all__ = ["VisitExplanation", "explain_visit"]
