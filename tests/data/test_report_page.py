"""The page shows every entry, loads nothing, runs nothing, and its markup is whole."""

import json
import re

import polars as pl
import pytest

from html_pages import MarkupReader
from medm_plm.data.report import accounts
from medm_plm.data.report import entries as reporting
from medm_plm.data.report import page as report_page
from medm_plm.data.report import tables as report_tables
from medm_plm.data.report.page_parts import bars, flow, percent, table, text
from medm_plm.data.schema import RowLedger
from medm_plm.data.vocabulary import CodeVocabulary
from prepared_cohort import invent_visits

EVIL = "<script>alert('x')</script>"


class Page(MarkupReader):
    """Elements, attributes, words in headings, cells and pictures."""

    void = frozenset({"meta", "br", "rect", "path"})

    def __init__(self, html):
        self.rows, self.words = [], {}
        super().__init__(html)

    def handle_starttag(self, tag, attributes):
        super().handle_starttag(tag, attributes)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        if not self.open:
            return
        self.words.setdefault(self.open[-1][0], []).append(data)
        if {"td", "th"} & {tag for tag, _ in self.open}:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def report():
    """A whole report of invented visits, with a drug string and a file name that are markup."""
    visits = invent_visits(60)
    steps = [("age unknown", 70, 58), ("below the minimum age", 70, 58), (EVIL, 60, 50)]
    flow_steps = pl.DataFrame([(accounts.VISITS_READ, 75, 60), *steps], accounts.STEP_SCHEMA, orient="row")
    ledger = RowLedger(80, {"repeated row": 5, "age unknown": 5, EVIL: 10})
    drug = {"drug": EVIL, "rows": 9, "rows_mapped": 0, "patients": 6}
    counts = [{"drug": "heparin", "rows": 20, "rows_mapped": 19, "patients": 7}, drug]
    drugs = pl.DataFrame(counts, accounts.DRUG_SCHEMA)
    codes = ["ICD9CM:4280"], ["ATC:N02A"]
    labels = {"positive": 3, "negative": 9, "none": 1}
    return {
        "warnings": ["split test is empty"],
        "source": {
            "name": "table",
            "files": {f"{EVIL}.csv": {"rows": 80, "sha256": "ab" * 32}},
            "remarks": {"kept": 3},
        },
        "rules": {"cohort": {"minimum_age": 16.0, "require": ["note", "diagnoses"]}, "meds_codes": None},
        "tables": {"VISITS": reporting.ledger_entry(ledger)},
        "visits": reporting.visits_entry(reporting.visits_read_entry(visits), visits, "cms"),
        "medications": {"mapping": EVIL, "rows": 29, "mapping_sha256": None},
        "codes": reporting.codes_entry([*codes[0], *codes[1]]),
        "lengths": reporting.lengths_entry(visits),
        "splits": reporting.splits_entry(visits),
        "vocabulary": reporting.vocabulary_entry(CodeVocabulary.from_codes(*codes)),
        "leakage": {"patient in two splits": {"examined": 60, "violations": 0}},
        "paper_tables": report_tables.paper_tables_entry(visits),
        "exclusions": accounts.exclusions_entry(ledger, flow_steps),
        "histograms": report_tables.histograms_entry(visits),
        "top_codes": report_tables.top_codes_entry(visits),
        "medication_coverage": accounts.medication_coverage_entry([drugs]),
        "repeated_codes": {
            "diagnosis_codes": {"rows": 7, "codes": 5, "rows_merged": 2, "visits_with_repeats": 1}
        },
        "readmission_policies": {"cms": {"visits_read": labels, "visits_prepared": labels}},
        "output": {"visits.parquet": "cd" * 32},
        "fingerprint": "ef" * 32,
        "engine": {"shards": 4},
    }


@pytest.fixture(scope="module")
def html(report):
    return report_page.to_html(json.loads(reporting.to_json(report)))


def test_every_section_is_there_and_listed(html):
    page = Page(html)
    headings = [name for name, _, _ in report_page.SECTIONS] + ["Further entries"]
    assert page.words["h2"] == page.words["a"] == headings
    targets = {value for name, value in page.attributes if name == "id"}
    assert {value for name, value in page.attributes if name == "href"} == {f"#{id}" for id in targets}


def test_nothing_is_loaded_or_run(html):
    page = Page(html)
    assert not set(page.elements) & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "image",
        "use",
        "form",
    }
    assert not {name for name, _ in page.attributes if name.startswith("on") or name in ("src", "xlink:href")}
    assert "://" not in html
    assert "url(" not in html
    assert "@import" not in html


def test_values_are_shown_and_never_markup(html):
    assert "<script" not in html.lower()
    page = Page(html)
    cells = [row[0] for row in page.rows]
    assert [EVIL, "9", "9", "6"] in page.rows
    assert f"{EVIL}.csv" in cells
    assert [EVIL, "10", "60", "50"] in page.rows


def test_numbers_of_the_report_stand_in_the_tables(html, report):
    rows = Page(html).rows
    assert ["Multi-visit patients", "5,159", "45"] in [row[:3] for row in rows]
    assert ["ICD coding", "8,066"] in [row[:2] for row in rows]
    assert ["Total patients", "35,164", "60", "patients with a prepared visit"] in rows
    assert ["VISITS", "80", "60", "20"] in [row[:4] for row in rows]
    assert ["age unknown", "5", "70", "58"] in rows
    assert ["repeated row", "5", "75", "-"] in rows
    assert ["Rows that name a drug", "29", "19", "65.5 %"] in rows
    assert ["cms", "visits read", "3", "9", "1", "25.0 %"] in rows
    assert ["patient in two splits", "60", "0"] in rows
    assert ["cohort: require", "notediagnoses"] in rows
    assert ["diagnosis codes", "7", "5", "2", "1"] in rows
    assert ["visits.parquet", "cd" * 32] in rows
    assert ["the inputs and every choice", "ef" * 32] in rows
    assert ["engine: shards", "4"] in rows
    first = report["top_codes"]["medication_codes"][0]
    assert [first["code"], first["title"]] in [row[:2] for row in rows]
    assert any(row[1:2] == ["Hypertension (block 401-405)"] for row in rows)


def test_every_table_has_a_caption_and_every_picture_a_title(html):
    page = Page(html)
    assert page.elements.count("caption") == page.elements.count("table") > 10
    assert page.elements.count("svg") == page.elements.count("title") - 1 == page.elements.count("desc")
    assert page.elements.count("svg") == len(report_tables.histograms_entry(invent_visits(4))) + 1
    assert page.elements.count("svg") == page.elements.count("figcaption")
    assert page.attributes.count(("role", "img")) == page.elements.count("svg")
    assert page.attributes.count(("scope", "row")) > 50


def test_the_flow_tells_what_went_and_what_is_left(html):
    words = "".join(Page(html).words["tspan"])
    assert "80 rows of the visit table" in words
    for part in ("5 left out: repeated row", "75 visits60 patients", "5 left out: age unknown", "60 visits"):
        assert part in words
    assert "below the minimum age" not in words  # nothing was left out for it
    assert EVIL in words


def test_bars_are_as_long_as_their_counts():
    picture = bars("Ages", {"0 to 9": 50, "10 to 19": 200, "20 or more": 0})
    widths = [float(width) for width in re.findall(r'class="bar"[^>]* width="([0-9.]+)"', picture)]
    assert widths == [100.0, 400.0, 0.0]
    assert Page(picture).words["tspan"] == ["0 to 9", "50", "10 to 19", "200", "20 or more", "0"]
    assert Page(bars("Ages", {})).words["title"] == ["Ages"]
    assert Page(flow("Flow", "3 visits", [])).words["tspan"] == ["3 visits"]


def test_a_report_without_an_entry_has_a_page_without_it(report):
    full = set(Page(report_page.to_html(report)).words["h2"])
    for name in report:
        rest = {key: value for key, value in report.items() if key != name}
        assert set(Page(report_page.to_html(rest)).words["h2"]) <= full, name
    for name in ("lengths", "histograms", "medication_coverage", "repeated_codes", "vocabulary", "output"):
        (heading,) = [title for title, entries, _ in report_page.SECTIONS if name in entries]
        assert Page(report_page.to_html({name: report[name]})).words["h2"] == [heading]
    only = report_page.to_html({"warnings": []})
    assert Page(only).words["h2"] == ["Warnings"]
    assert "None." in only
    Page(report_page.to_html({}))


def test_the_page_is_the_same_for_the_same_report(report, html):
    assert report_page.to_html(report) == html


def test_how_values_are_written():
    assert [text(value) for value in (None, "", [], True, 1234567, 0.5, 1234.25)] == [
        "-", "-", "-", "yes", "1,234,567", "0.5", "1,234.25",
    ]  # fmt: skip
    assert text('a"b&<c>\u202e') == "a&quot;b&amp;&lt;c&gt;\N{REPLACEMENT CHARACTER}"
    assert text(["<a>", 2]) == "&lt;a&gt;<br>2"
    assert (percent(1, 3), percent(0.25), percent(None), percent(1, 0)) == ("33.3 %", "25.0 %", None, None)


def test_columns_of_numbers_stand_right_and_long_words_may_break():
    written = table("T", ("a", "b", "c", "d"), [("x", 1, "word", "f" * 64), ("y", None, 2, "short")])
    assert re.findall(r'<th scope="col"( class="\w+")?>', written) == [
        "",
        ' class="number"',
        "",
        ' class="long"',
    ]
    assert '<th scope="row" class="long">' in table("T", ("a",), [("w" * 40,)])
    with pytest.raises(ValueError, match="a row of 1 cells, expected 2"):
        table("T", ("a", "b"), [("x",)])
