"""Model and dataset cards, written from what a run or a preparation left behind."""

from medm_plm.cards.dataset_cards import dataset_card, write_dataset_card
from medm_plm.cards.model_cards import CARD_FILE, RESULTS_FOLDER, model_card, write_card
from medm_plm.cards.reading import Emissions, Publisher

__all__ = [
    "CARD_FILE",
    "RESULTS_FOLDER",
    "Emissions",
    "Publisher",
    "dataset_card",
    "model_card",
    "write_card",
    "write_dataset_card",
]
