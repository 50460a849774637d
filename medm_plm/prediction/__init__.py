"""Predictions for many visits: from a saved model and a file of visits to a file of probabilities."""

from medm_plm.prediction.loading import load_pipeline
from medm_plm.prediction.predicting import Summary, predict_file
from medm_plm.prediction.reading import Example, read_examples
from medm_plm.prediction.writing import OUTPUT_SUFFIXES, neutralized, open_writer

__all__ = [
    "OUTPUT_SUFFIXES",
    "Example",
    "Summary",
    "load_pipeline",
    "neutralized",
    "open_writer",
    "predict_file",
    "read_examples",
]
