"""An invented cohort in the shape of MIMIC-III, for demonstrations, tests and benchmarks.

`write_synthetic_tables` writes the tables; the `mimic3` reader reads them. `read_truth` gives the generator's
own probabilities, from which the best possible score of a task follows. Nothing here describes a real person.
"""

from medm_plm.data.synthetic.truth import TRUTH_FOLDER, read_truth, truth_matrix
from medm_plm.data.synthetic.writing import DRUG_MAP_FILE, SyntheticSummary, write_synthetic_tables

__all__ = [
    "DRUG_MAP_FILE",
    "TRUTH_FOLDER",
    "SyntheticSummary",
    "read_truth",
    "truth_matrix",
    "write_synthetic_tables",
]
