"""Check an installed MedM-PLM from outside the checkout: the wheel is whole and a saved folder opens.

cd ELSEWHERE && python CHECKOUT/scripts/check_installed.py SAVED_MODEL
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


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


if __name__ == "__main__":
    main()
