"""`medm-plm`: a list of commands at once, the script behind each, and a hint for every typing error."""

import os
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

from medm_plm.cli import COMMANDS, main
from medm_plm.errors import InputError
from shipped_code import PROJECT_ROOT

REQUIRED = (
    *("prepare", "pretrain", "finetune", "evaluate", "predict", "explain"),
    *("export", "card", "push", "demo", "doctor"),
)
HEAVY = ("torch", "transformers", "polars", "numpy", "pyarrow")


def refusal(capsys, *words: str, status: int = 2) -> str:
    """The one line on the error stream of a command that must be refused."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    output, message = capsys.readouterr()
    assert stop.value.code == status, message
    assert output == ""
    assert message.count("\n") == 1, message
    return message


def test_all_commands_are_there_and_installed():
    assert set(REQUIRED) <= set(COMMANDS)
    missing = [name for name, command in COMMANDS.items() if find_spec(command.module) is None]
    assert missing == []


def test_help_imports_nothing_heavy_and_names_every_command():
    code = (
        "import sys\nfrom medm_plm.cli import main\nmain(['--help'])\n"
        f"print(sorted(set({HEAVY!r}) & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"
    assert all(f"\n  {name} " in run.stdout for name in COMMANDS)


def test_help_takes_less_than_a_second_of_computing():
    """Measured as processor time, so that a busy machine does not fail it."""
    before = os.times()
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "medm_plm.cli", "--help"],
        cwd=PROJECT_ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < 1.0, f"{used:.2f} s of processor time, {time.monotonic() - start:.2f} s of waiting"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["pretrian"], "did you mean pretrain?"),
        (["evalute"], "did you mean evaluate?"),
        (["--hepl"], "did you mean --help?"),
        (["xyzzy"], "see medm-plm --help"),
        ([], "a command is missing"),
        (["doctor", "--modell", "x"], "did you mean --model?"),
        (["card", "folder", "--develper", "x"], "did you mean --developer?"),
        (["privacy", "plan", "--dta", "x"], "did you mean --data?"),
        (["export", "--modle", "x"], "did you mean --model?"),
        (["prepare", "--surce", "mimic3"], "did you mean --source?"),
        (["push", "--reposiory", "a/b"], "did you mean --repository?"),
        (["evaluate", "--prediction", "x"], "did you mean --predictions?"),
        (["completion", "fish"], "invalid choice"),
    ],
)
def test_a_typing_error_is_one_line_with_the_right_name(words, hint, capsys):
    message = refusal(capsys, *words)
    assert hint in message
    assert message.startswith("medm-plm")


@pytest.mark.parametrize("name", ["predict", "doctor", "card"])
def test_help_of_a_command_is_that_of_its_script(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["help", name])
    assert stop.value.code == 0
    assert f"usage: medm-plm {name}" in capsys.readouterr().out


def test_the_words_of_the_process_are_given_back(capsys):
    before = list(sys.argv)
    refusal(capsys, "doctor", "--no")
    assert sys.argv == before


def test_an_error_of_the_users_is_one_line_with_status_1(tmp_path, capsys):
    message = refusal(capsys, "card", str(tmp_path / "nothing"), status=1)
    assert "the folder does not exist" in message


def test_a_yaml_file_is_read_and_the_command_line_wins(tmp_path, monkeypatch):
    """The number written as `5e-4` is a number; the options arrive in the script."""
    seen = {}
    import run_pretraining

    def stop(*classes, **kwargs):
        from medm_plm.command_line import parse_arguments

        seen["options"] = parse_arguments(*classes, **kwargs)
        raise InputError("enough")

    monkeypatch.setattr(run_pretraining, "parse_arguments", stop)
    path = tmp_path / "run.yaml"
    path.write_text(f"data: prepared\nlearning_rate: 5e-4\nnum_train_epochs: 3\noutput_dir: {tmp_path}/out\n")
    with pytest.raises(SystemExit):
        main(["pretrain", "--config", str(path), "--num_train_epochs", "7"])
    args = seen["options"][-1]
    assert (args.learning_rate, args.num_train_epochs) == (0.0005, 7.0)


def test_the_installed_command_is_named_in_setup():
    assert '"medm-plm = medm_plm.cli:main"' in (PROJECT_ROOT / "setup.py").read_text(encoding="utf-8")
