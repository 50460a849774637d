"""What the fork server imports, so that no run has to.

A module that cannot be imported is passed over: the run that needs it will say so in its log, whereas an
error here would end the server without a word.
"""

import contextlib
import importlib
import os

PRELOADED_VARIABLE = "MEDM_PLM_PRELOADED"

for _name in filter(None, os.environ.get(PRELOADED_VARIABLE, "").split(",")):
    with contextlib.suppress(Exception):
        importlib.import_module(_name)
