"""The demonstration page of MedM-PLM: `python demo/app.py --models FOLDER...`.

Research use, not for care. On a Hugging Face Space this file is what is started; see README.md beside it.
"""

import sys
from pathlib import Path

try:
    from medm_plm.command_line import run_main
except ModuleNotFoundError:  # a clone that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from medm_plm.command_line import run_main

from medm_plm.demo.serving import main

if __name__ == "__main__":
    run_main(main)
