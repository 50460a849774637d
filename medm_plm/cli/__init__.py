"""The command `medm-plm`: one name for all scripts, loaded only when one of them is asked for."""

from __future__ import annotations

from medm_plm.cli.commands import COMMANDS, Command, load_main
from medm_plm.cli.dispatch import main

__all__ = ["COMMANDS", "Command", "load_main", "main"]
