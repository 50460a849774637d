"""Write the card of a finished model, or of a prepared folder.

    python run_card.py readmission
    python run_card.py readmission --privacy privacy.json --developer "Some Hospital"
    python run_card.py readmission --watts 65 --grams_per_kwh 380
    python run_card.py prepared

`run_pretraining.py` and `run_finetuning.py` write the card of their folder by themselves; here it is written
again with what only the publisher knows, or with a privacy report of `run_privacy.py`. Writes `README.md`
and, for a model, `.eval_results/*.yaml`. `--watts` and `--grams_per_kwh` together give an estimate of carbon
emissions; nothing is measured, and nothing leaves the machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from medm_plm.cards import Emissions, Publisher, write_card, write_dataset_card
from medm_plm.command_line import PlainParser, run_main
from medm_plm.data.schema import REPORT_FILE
from medm_plm.errors import InputError


def main(argv: Sequence[str] | None = None) -> None:
    """Write the card and say where it lies.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.
    """
    options = _parser().parse_args(argv)
    folder = Path(options.folder)
    if not folder.is_dir():
        raise InputError(
            "the folder does not exist", file=folder, expected="a finished model or prepared data"
        )
    publisher = Publisher(options.developer, options.contact, options.funding, options.language)
    if (folder / REPORT_FILE).is_file():
        if options.privacy is not None:
            raise InputError("option --privacy has no place with prepared data", file=folder)
        path = write_dataset_card(folder, publisher=publisher)
    else:
        emissions = _emissions(options)
        path = write_card(folder, privacy=options.privacy, publisher=publisher, emissions=emissions)
    print(f"wrote {path}")


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", help="a finished model, or a prepared folder")
    parser.add_argument("--privacy", metavar="FILE", help="report of run_privacy.py")
    parser.add_argument("--developer", metavar="TEXT", help="who stands for it")
    parser.add_argument("--contact", metavar="TEXT", help="where questions and reports of harm go")
    parser.add_argument("--funding", metavar="TEXT", help="who paid")
    parser.add_argument("--language", metavar="CODE", help="ISO 639 code of the notes")
    parser.add_argument("--watts", type=float, metavar="W", help="mean power of the machine during the run")
    parser.add_argument("--grams_per_kwh", type=float, metavar="G", help="grams of CO2eq a kWh of its grid")
    parser.add_argument("--region", metavar="TEXT", help="where the machine stood")
    return parser


def _emissions(options: argparse.Namespace) -> Emissions | None:
    if (options.watts is None) != (options.grams_per_kwh is None):
        raise InputError("options --watts and --grams_per_kwh belong together", remedy="give both or none")
    if options.watts is None:
        return None
    return Emissions(options.watts, options.grams_per_kwh, options.region)


if __name__ == "__main__":
    run_main(main)
