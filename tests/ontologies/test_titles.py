"""Every block and group that the trees know has a short title, and a user's titles come first."""

import pytest

from medm_plm.errors import InputError
from medm_plm.ontologies import atc, get_ontology, icd9, icd10
from medm_plm.ontologies.drug_names import packaged_table
from medm_plm.ontologies.titles import nearest_title, packaged_titles, read_titles


@pytest.mark.parametrize(("system", "module"), [("ICD9CM", icd9), ("ICD10CM", icd10)])
def test_blocks_have_titles_and_titles_belong_to_blocks(system, module):
    blocks = {f"{system}:block:{block}" for _, blocks in module.CHAPTERS.values() for block in blocks.split()}
    titled = {node for node in packaged_titles() if node.startswith(f"{system}:")}
    assert titled <= blocks
    assert blocks - titled <= {"ICD10CM:block:QA0-QA0"}  # its chapter stands for it
    assert all(nearest_title(block)[0] for block in blocks)


def test_medication_groups_have_titles_that_are_well_placed():
    nodes = [node.removeprefix("ATC:") for node in packaged_titles() if node.startswith("ATC:")]
    assert {atc.level(node) for node in nodes} == {"atc2", "atc3"}
    assert all(f"ATC:{node[:3]}" in packaged_titles() for node in nodes)
    assert nearest_title("ATC:N02A") == ("Opioids", "ATC:N02A")


def test_titles_are_short_and_plain():
    for node, title in packaged_titles().items():
        assert get_ontology(node.split(":")[0]).path(node)[0] == node
        assert 2 < len(title) < 80, node
        assert title == title.strip(), node
        assert title.isascii(), node


@pytest.mark.parametrize(
    ("code", "title", "node"),
    [
        ("ICD9CM:4019", "Hypertension", "ICD9CM:block:401-405"),
        ("ICD9CM:2800", "Diseases of the blood and blood-forming organs", "ICD9CM:chapter:280-289"),
        ("ICD10CM:I509", "Other heart disease", "ICD10CM:block:I30-I5A"),
        ("ICD9CM:NONSENSE", None, None),
        ("ATC:V09G", "Diagnostic radiopharmaceuticals", "ATC:V09"),
        ("ATC:N", "Nervous system", "ATC:N"),
    ],
)
def test_the_narrowest_title_is_found(code, title, node):
    assert nearest_title(code) == (title, node)


def test_titles_of_the_user_come_first(tmp_path):
    path = tmp_path / "titles.csv"
    path.write_text("system,code,title\nICD9CM,401.9, Hypertension NOS \nICD9CM,428,Heart failure\n", "utf-8")
    titles = read_titles(path)
    assert titles == {"ICD9CM:4019": "Hypertension NOS", "ICD9CM:428": "Heart failure"}
    assert nearest_title("ICD9CM:4019", titles) == ("Hypertension NOS", "ICD9CM:4019")
    assert nearest_title("ATC:N02A", {"ATC:N02A": "Opiates"}) == ("Opiates", "ATC:N02A")
    assert nearest_title("ICD9CM:4280", titles) == ("Heart failure", "ICD9CM:428")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b\n",
        "a,b\n1,2\n",
        "system,code,title,title\nATC,N02A,secret,x\n",
        "system,code,title\nICD8,secret,x\n",
        "system,code,title\nATC\n",
    ],
)
def test_another_file_is_refused_without_quoting_it(tmp_path, text):
    (tmp_path / "titles.csv").write_text(text, "utf-8")
    with pytest.raises(InputError, match="no list of titles") as caught:
        read_titles(tmp_path / "titles.csv")
    assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_titles(tmp_path / "missing.csv")


def test_classes_of_the_packaged_drug_names_have_titles():
    classes = {packaged_table()(name, None) for name in ("heparin", "morphine", "furosemide", "insulin")}
    assert all(nearest_title(f"ATC:{name}")[1] == f"ATC:{name}" for name in classes)
