"""`medm-plm completion`: a static script that knows commands, options and choices."""

import shutil
import subprocess

import pytest

from medm_plm.cli import COMMANDS, main
from medm_plm.cli.completion import SHELLS

pytest.importorskip("shtab")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_knows_commands_options_and_choices(shell, tmp_path, capsys):
    main(["completion", shell])
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS)
    assert all(word in script for word in ("--learning_rate", "--faithfulness", "medication_recommendation"))
    path = tmp_path / "script"
    path.write_text(script, encoding="utf-8")
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(path)], check=True)


def test_bash_completes_a_command_and_an_option(tmp_path, capsys):
    """The script is loaded into a shell and asked as TAB would ask it."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    main(["completion", "bash"])
    path = tmp_path / "script"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    for words, expected in (
        (("medm-plm", "pret"), "pretrain"),
        (("medm-plm", "finetune", "--train"), "--training_ratio"),
    ):
        line = " ".join(words)
        asked = (
            f"source {path}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; "
            f"COMP_POINT={len(line)}; "
            f"$(complete -p medm-plm | sed 's/.*-F \\([^ ]*\\).*/\\1/') medm-plm {words[-1]}; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        run = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False)
        assert expected in run.stdout.split(), run.stderr
