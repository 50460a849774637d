"""The page is whole, escapes everything, loads nothing, and says in words what its shades say."""

import re

import numpy as np
import pytest
from explained_models import VISITS, lively_model

import medm_plm
from html_pages import MarkupReader
from medm_plm.errors import InputError
from medm_plm.explanations.page import code_title, shade, shaded_note
from medm_plm.explanations.visits import EncodedVisit, VisitInputs, Word

EVIL = "<script>alert('x')</script>"
VISIT = {
    "hadm_id": f'7"{EVIL}',
    "note": f'heart pain {EVIL} & "clot"\nhttp sugar',
    "diagnosis_codes": ["ICD9CM:4280", "ICD9CM:99999", '<b>"'],
    "medication_codes": ["ATC:C03C"],
}
TITLES = {"ICD9CM:4280": f'the "failing" heart {EVIL}'}


class Page(MarkupReader):
    """Elements, attributes and shaded words."""

    def __init__(self, html):
        self.shaded, self.words = {}, []
        super().__init__(html)

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1][0] == "span":
            self.shaded.setdefault(self.open[-1][1]["class"], []).append(data)


@pytest.fixture(scope="module")
def html():
    model, processor = lively_model(text_max_length=80)
    methods = ["attention"]
    return medm_plm.explain_visit(model, processor, VISIT, methods=methods, titles=TITLES).to_html()


def test_nothing_is_loaded_or_run(html):
    page = Page(html)
    assert not set(page.elements) & {"script", "link", "img", "iframe", "object", "a", "b", "form"}
    assert not {name for name, _ in page.attributes} & {"src", "href", "action", "style", "onclick"}
    assert not re.search(r"https?:|//|url\(|@import", html)
    assert "default-src 'none'" in html


def test_markup_of_the_visit_stays_text(html):
    assert "<script" not in html
    assert '<b>"' not in html
    text = "".join(Page(html).words)
    assert text.count(EVIL) >= 2, "in the title of the code and in the name of the visit"
    assert "<script>alert('x')</script> & \"clot\" http sugar" in text, "the note reads as it was written"
    assert 'the "failing" heart' in text


def test_prediction_legend_and_caution_are_there(html):
    text = "".join(Page(html).words)
    assert re.search(r"readmission.*\d+\.\d %", text, re.DOTALL)
    assert text.count("Shades: from ") == 2
    assert "treat it as you treat the record" in text
    assert "(read as " in text, "a code outside the vocabulary"


@pytest.mark.parametrize(
    ("weight", "expected"), [(0.0, 0), (0.09, 0), (0.1, 1), (-0.25, 2), (0.5, 3), (0.75, 4), (-1.0, 4)]
)
def test_shades(weight, expected):
    assert shade(weight, 1.0) == expected


def test_no_weight_is_no_shade():
    assert shade(0.0, 0.0) == 0


def test_each_word_has_the_shade_of_its_weight():
    visit = EncodedVisit(
        VisitInputs("one two\nthree four"), {}, (Word(0, 3, (1,)), Word(4, 7, (2,)), Word(8, 13, (3,))), ()
    )
    page = Page(shaded_note(visit, np.array([0.05, -0.8, 0.3])))
    assert page.shaded == {"w4 against": ["two"], "w2": ["three"]}
    assert "".join(page.words) == "one two three", "what the model does not read is not shown as read"


def test_titles():
    assert code_title("ATC:C09A") == "ACE inhibitors"
    assert code_title("ICD9CM:4280").startswith("of the group: ")
    assert code_title("ICD9CM:4280", {"ICD9CM:4280": "heart failure"}) == "heart failure"
    assert code_title("readmission") is None
    assert code_title("XX:1") is None


def test_without_note_and_codes_there_still_is_a_page():
    model, processor = lively_model()
    page = medm_plm.explain_visit(model, processor, {"note": None}, task="readmission").to_html()
    assert "No note." in page
    assert "No codes." in page


def test_unread_words_are_counted():
    model, processor = lively_model(max_note_chunks=1, chunk_length=6)
    page = medm_plm.explain_visit(model, processor, VISITS.row(0, named=True)).to_html()
    assert "does not read the last 4 words" in page


def test_another_task_is_refused():
    model, processor = lively_model()
    with pytest.raises(InputError, match="received mortality, expected readmission"):
        medm_plm.explain_visit(model, processor, VISIT, task="mortality")
    with pytest.raises(InputError, match="integrated_gradients"):
        medm_plm.explain_visit(*lively_model(use_cross_modal=False), VISIT)
