"""Options from file and command line, one-line errors, the closing table."""

import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from medm_plm.command_line import parse_arguments, print_table, run_main
from medm_plm.errors import InputError

PROJECT = Path(__file__).parents[1]


@dataclass
class RunArguments:
    prepared: str = field(metadata={"help": "folder; 80 % of it is for training"})
    rate: float = 0.001
    top_k: int | None = 50
    balanced: bool = True
    policy: Literal["paper", "cms", "no"] = "paper"
    systems: list[str] = field(default_factory=lambda: ["ATC"])
    folder: Path = Path("out")

    def __post_init__(self):
        if self.rate < 0:
            raise InputError("rate is negative", received=self.rate, expected="a positive number")


@dataclass
class OtherArguments:
    seeds: list[int] = field(default_factory=lambda: [0])
    tf32: bool | None = None


def parse(*argv):
    return parse_arguments(RunArguments, OtherArguments, argv=argv, prog="run")


def config(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def failure(capsys, *argv):
    """Parse options that must be refused and give back the one line on the error stream."""
    with pytest.raises(SystemExit) as stop:
        parse(*argv)
    output, message = capsys.readouterr()
    assert stop.value.code == 2
    assert output == ""
    assert message.startswith("run: error: ")
    assert message.count("\n") == 1
    return message.removeprefix("run: error: ").strip()


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    path = config(tmp_path, "prepared: a\nrate: 5e-4\ntop-k: 7\nseeds: [3, 4]\n")
    run, other = parse("--config", path, "--top_k", "9")
    assert run == RunArguments(prepared="a", rate=0.0005, top_k=9)
    assert other == OtherArguments(seeds=[3, 4])


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("rate: 1e-5", "rate", 1e-5),
        ("rate: 3", "rate", 3.0),
        ("top_k: null", "top_k", None),
        ("top_k:", "top_k", None),
        ("policy: no", "policy", "no"),
        ("balanced: no", "balanced", False),
        ("balanced: false", "balanced", False),
        ("prepared: 0389", "prepared", "0389"),
        ("prepared: on", "prepared", "on"),
        ("systems: [ICD9CM, ATC]", "systems", ["ICD9CM", "ATC"]),
        ("systems: []", "systems", []),
        ("systems: ATC", "systems", ["ATC"]),
        ("folder: a/b", "folder", Path("a/b")),
        ("'rate': '2'", "rate", 2.0),
    ],
)
def test_the_type_of_the_option_reads_the_value_of_the_file(tmp_path, line, name, value):
    text = line if line.startswith("prepared") else f"prepared: x\n{line}\n"
    run, _ = parse("--config", config(tmp_path, text))
    assert getattr(run, name) == value
    assert type(getattr(run, name)) is type(value)


def test_an_optional_switch_and_an_empty_file(tmp_path):
    assert parse("--config", config(tmp_path, "tf32: true\n"), "--prepared", "x")[1].tf32 is True
    assert parse("--config", config(tmp_path, "# nothing\n"), "--prepared", "x") == parse("--prepared", "x")


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["--preparde", "x"], ["unknown option --preparde", "did you mean --prepared?"]),
        (["--rat=1", "--prepared", "x"], ["unknown option --rat", "did you mean --rate?"]),
        (["--prepared", "x", "--qqqqqq"], ["unknown option --qqqqqq", "--help"]),
        (["--prepared", "x", "--top", "3"], ["unknown option --top"]),
        (["--prepared", "x", "junk"], ["unexpected argument 'junk'"]),
        ([], ["required", "--prepared"]),
        (["--prepared", "x", "--top_k", "many"], ["--top_k", "received 'many'", "a whole number"]),
        (["--prepared", "x", "--rate", "fast"], ["--rate", "received 'fast'", "a number"]),
        (["--prepared", "x", "--rate", "nan"], ["--rate", "received 'nan'", "a number"]),
        (["--prepared", "x", "--balanced", "maybe"], ["--balanced", "'maybe'", "true or false"]),
        (["--prepared", "x", "--policy", "papre"], ["'papre'", "paper, cms, no", "did you mean paper?"]),
        (["--prepared", "x", "--seeds", "1", "b"], ["--seeds", "received 'b'", "a whole number"]),
        (
            ["--prepared", "x", "--rate", "-1"],
            ["rate is negative; received -1.0, expected a positive number"],
        ),
        (["--prepared", "x", "--config"], ["--config", "expected one argument"]),
        (["--config", "missing.yaml"], ["missing.yaml", "No such file", "check the path"]),
    ],
)
def test_wrong_options_are_refused_in_one_line(capsys, argv, parts):
    message = failure(capsys, *argv)
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("prepared: x\nrat: 1\n", ["line 2", "unknown option rat", "did you mean rate?"]),
        ("prepared: x\nconfig: y\n", ["line 2", "unknown option config"]),
        ("prepared: x\nhelp: y\n", ["line 2", "unknown option help"]),
        ("rate: 1\nprepared: x\nrate: 2\n", ["line 3", "rate is given twice"]),
        ("prepared: x\ntop_k: 1.5\n", ["line 2", "top_k", "received '1.5'", "a whole number"]),
        ("prepared: x\nrate: null\n", ["line 2", "rate", "received 'null'", "a number"]),
        ("prepared: x\npolicy: cmss\n", ["line 2", "policy", "did you mean cms?"]),
        ("prepared: x\nrate: [1]\n", ["line 2", "rate", "received a list", "a number"]),
        ("prepared: x\nrate: {a: 1}\n", ["line 2", "rate", "received a mapping"]),
        ("- a\n- b\n", ["received a sequence", "'option: value'"]),
        ("prepared: [x\n", ["no valid YAML"]),
        ("rate: 1\n", ["required", "--prepared"]),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(capsys, tmp_path, text, parts):
    message = failure(capsys, "--config", config(tmp_path, text))
    assert [part for part in parts if part not in message] == []


def test_a_file_that_is_no_text_is_refused(capsys, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8 text" in failure(capsys, "--config", str(path))


def test_help_lists_the_options_with_percent_signs(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "80 % of it" in text
    assert "--config" in text


def test_training_arguments_are_options_like_others(capsys, tmp_path):
    from transformers import TrainingArguments

    path = config(
        tmp_path,
        f"output_dir: {tmp_path}\nlearning_rate: 5e-4\neval_strategy: no\nwarmup_steps: 0.1\nseed: 3\n"
        "lr_scheduler_kwargs: {num_cycles: 2}\nreport_to: [tensorboard]\n",
    )
    arguments = parse_arguments(TrainingArguments, argv=["--config", path, "--seed", "4"], prog="run")[0]
    assert (arguments.learning_rate, arguments.eval_strategy, arguments.seed) == (5e-4, "no", 4)
    assert arguments.lr_scheduler_kwargs == {"num_cycles": 2}
    assert arguments.report_to == ["tensorboard"]
    with pytest.raises(SystemExit) as stop:
        parse_arguments(
            TrainingArguments, argv=["--output_dir", str(tmp_path), "--load_best_model_at_end"], prog="run"
        )
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_options_without_tensors_do_not_load_torch():
    code = (
        "import sys; sys.path[:0] = [sys.argv[1], sys.argv[2]]\n"
        "import test_errors_and_command_line as t\n"
        "t.parse('--prepared', 'x'); sys.exit('torch' in sys.modules)"
    )
    folders = [str(PROJECT), str(PROJECT / "tests")]
    assert subprocess.run([sys.executable, "-c", code, *folders], timeout=120, check=False).returncode == 0


def test_run_main_prints_one_line_for_mistakes_of_the_user(capsys):
    def mistake():
        raise InputError("column is missing", file="D.csv", row=1, expected="ICD9_CODE,\nSEQ_NUM")

    with pytest.raises(SystemExit) as stop:
        run_main(mistake)
    assert stop.value.code == 1
    expected = "error: D.csv, row 1: column is missing; expected ICD9_CODE, SEQ_NUM\n"
    assert capsys.readouterr().err == expected


def test_run_main_ends_with_130_after_an_interrupt_and_lets_defects_through(capsys):
    def interrupted():
        raise KeyboardInterrupt

    def defect():
        raise ValueError("ours")

    with pytest.raises(SystemExit) as stop:
        run_main(interrupted)
    assert stop.value.code == 130
    with pytest.raises(ValueError, match="ours"):
        run_main(defect)
    assert run_main(lambda: None) is None


def test_an_input_error_says_where_what_and_how_to_mend_it():
    error = InputError(
        "wrong type", file=Path("a.csv"), row=7, received=0, expected="a date", remedy="write YYYY-MM-DD"
    )
    assert str(error) == "a.csv, row 7: wrong type; received 0, expected a date; write YYYY-MM-DD"
    assert str(InputError("nothing to do")) == "nothing to do"
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.file, copy.row, copy.remedy) == (str(error), "a.csv", 7, "write YYYY-MM-DD")


def test_the_table_is_aligned_and_shows_absent_values_as_a_dash(capsys):
    print_table("Results", ["task", "auroc", "n"], [["icd", 0.5, 12], ["readmission", None, 3]])
    assert capsys.readouterr().out == (
        "\n"
        "Results\n"
        "task          auroc   n\n"
        "-----------  ------  --\n"
        "icd          0.5000  12\n"
        "readmission       -   3\n"
    )
    print_table("Empty", ["a"], [])
    print_table("Nan", ["a"], [[float("nan")]])
    assert capsys.readouterr().out == "\nEmpty\na\n-\n\nNan\na\n-\n-\n"
    with pytest.raises(ValueError, match="received a row of 1 cells, expected 2"):
        print_table("Wrong", ["a", "b"], [["x"]])
