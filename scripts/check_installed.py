"""Check an installed MedM-PLM from outside the checkout: the wheel is whole and a saved folder opens.

cd ELSEWHERE && python CHECKOUT/scripts/check_installed.py SAVED_MODEL [FINE_TUNED_MODEL]

With a second folder, the first prediction of a fine-tuned model must come within a minute.
"""

from __future__ import annotations

import subprocess
import sys
import time
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SECONDS_TO_FIRST_PREDICTION = 60


def main() -> None:
    """Import everything, read the packaged tables, and open the folder without remote code."""
    installed = distribution("medm-plm")
    modules = installed.read_text("top_level.txt").split()
    for name in modules:
        place = Path(import_module(name).__file__)
        if CHECKOUT in place.parents:
            sys.exit(f"{name} was imported from the checkout ({place}), not from the installed package")

    from transformers import AutoConfig, AutoModel

    from medm_plm import register_auto_classes
    from medm_plm.ontologies.mappings import MedicationMapper

    MedicationMapper.default()
    register_auto_classes()
    model = AutoModel.from_pretrained(sys.argv[1], config=AutoConfig.from_pretrained(sys.argv[1]))
    if type(model).__module__ not in modules:
        sys.exit(f"{type(model)} does not come from the installed package")
    print(f"medm-plm {installed.version}: {', '.join(modules)}, their tables and {type(model).__name__} work")
    if len(sys.argv) > 2:
        check_first_prediction(sys.argv[2])


def check_first_prediction(folder: str) -> None:
    """Run the quick start in a process of its own, imports included."""
    code = "from medm_plm import load_pipeline; print(load_pipeline(sys.argv[1])([{'note': 'pain'}] * 2))"
    start = time.monotonic()
    command = [sys.executable, "-c", f"import sys; {code}", folder]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds = time.monotonic() - start
    if seconds > SECONDS_TO_FIRST_PREDICTION or "probability" not in printed:
        sys.exit(f"the first prediction took {seconds:.0f} seconds")
    print(f"first prediction after {seconds:.0f} seconds")


if __name__ == "__main__":
    main()
