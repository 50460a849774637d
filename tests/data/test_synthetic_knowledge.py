"""The clinical tables of the invented cohort agree with each other and with the ontologies."""

import numpy as np
import polars as pl
import pytest

from medm_plm.data.synthetic import knowledge as k
from medm_plm.data.synthetic.acute_conditions import HINTS
from medm_plm.data.synthetic.drugs import DRUGS, MEDICATION_CLASSES, pseudo_ndc
from medm_plm.data.synthetic.note_phrases import COMPLAINTS
from medm_plm.data.synthetic.patient_facts import SEVERITY_WORDINGS, TRAITS
from medm_plm.data.synthetic.treatments import TREATMENTS
from medm_plm.ontologies import get_ontology
from medm_plm.ontologies.mappings import MedicationMapper


def test_the_cohort_is_rich_enough():
    assert len(k.CONDITIONS) >= 60
    assert len(DRUGS) >= 60
    assert len(MEDICATION_CLASSES) >= 50


def test_no_code_belongs_to_two_conditions():
    codes = [code for c in k.CONDITIONS for code in dict.fromkeys(c.codes + c.severe_codes)]
    assert len(codes) == len(set(codes))
    assert {code[0] for code in codes} >= {"E", "V", "0"}  # the three shapes that careless readers break


def test_every_code_and_class_has_its_place_in_the_trees():
    diagnoses, medications = get_ontology("ICD9CM"), get_ontology("ATC")
    for condition in k.CONDITIONS:
        for code in condition.codes + condition.severe_codes:
            assert len(diagnoses.path(code)) >= 3, code
    assert all(len(medications.path(name)) == 4 for name in MEDICATION_CLASSES)


def test_the_tables_name_only_what_exists():
    assert {c.hint for c in k.CONDITIONS} - {""} <= set(HINTS)
    assert {c.system for c in k.CONDITIONS} <= set(COMPLAINTS)
    assert {t.condition for t in TREATMENTS} - {""} <= set(k.CONDITION_INDEX)
    with_severity = {c.key for c in k.CONDITIONS if c.severe_codes}
    assert set(SEVERITY_WORDINGS) == with_severity
    known = {drug.key for drug in DRUGS} | set(MEDICATION_CLASSES)
    for trait in TRAITS:
        assert set(trait.effects) <= known, trait.key


def test_every_drug_is_used_and_has_one_class_for_its_name_and_route():
    assert set(k.OPTION_DRUG) == set(range(len(DRUGS)))
    classes = {}
    for drug in DRUGS:
        assert classes.setdefault((drug.name, drug.route), drug.atc) == drug.atc
    assert len({pseudo_ndc(index) for index in range(len(DRUGS))}) == len(DRUGS)
    assert all(len(pseudo_ndc(index)) == 11 for index in range(len(DRUGS)))


def test_a_hint_shared_by_conditions_with_different_drugs_leaves_the_kind_open():
    pneumonias = [c for c in k.CONDITIONS if c.hint == "pneumonia"]
    assert len(pneumonias) >= 4
    assert all(c.vague > 1.5 * c.explicit for c in pneumonias)


def test_the_packaged_drug_names_agree_with_the_drug_map():
    drugs = pl.DataFrame(
        {"drug": [d.name for d in DRUGS], "route": [d.route for d in DRUGS]},
    ).with_columns(ndc=pl.lit(None, dtype=pl.String))
    mapped = MedicationMapper.default().map_table(drugs)
    agree = np.mean([name == drug.atc for name, drug in zip(mapped, DRUGS, strict=True)])
    assert agree >= 0.97


def test_a_cause_must_stand_before_its_effect(monkeypatch):
    monkeypatch.setattr(k, "CONDITIONS", k.CONDITIONS[::-1])
    monkeypatch.setattr(k, "CONDITION_INDEX", {c.key: i for i, c in enumerate(k.CONDITIONS)})
    with pytest.raises(ValueError, match="must be listed before it"):
        k._cause_matrix()
