"""The page itself: fields above, answers below, nothing loaded from elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import gradio as gr

from medm_plm.demo import results
from medm_plm.demo.codes import CodeList, code_list
from medm_plm.demo.entries import MAX_CODES, MAX_NOTE_CHARACTERS, Entry, checked_entry
from medm_plm.demo.examples import Example
from medm_plm.demo.predicting import Predictors
from medm_plm.demo.requests import LimitedRequests
from medm_plm.errors import InputError
from tokenization_medm_plm import DIAGNOSIS_TYPE, MEDICATION_TYPE

logger = logging.getLogger(__name__)

TITLE = "MedM-PLM"
BANNER = (
    "**Research use only, not for care.** These models were not tested for any clinical use, and no decision "
    "about a person may rest on them. What you enter is computed on the machine that runs this page, is not "
    "kept, and is sent nowhere else."
)
EXPLANATION = (
    "Paste the discharge summary of a visit, pick its codes, and press *Predict*. Medications are "
    "recommended for the **next** visit, whose diagnoses are picked apart: the pasted visit is the earlier "
    "one. Attention tells where a model looked, not that its answer hangs on it."
)
_FAILURE = "The prediction failed. Nothing of what you entered was written down."
_FONTS = ("system-ui", "sans-serif")
_MONOSPACED = ("ui-monospace", "monospace")

STYLE = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important }
#banner { border: 2px solid #b45309; border-radius: 8px; padding: .6rem 1rem; background: #fffbeb }
#banner * { color: #422006 !important }
.picker .token { font-size: .75rem; line-height: 1.3; padding: .1rem .4rem }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(21rem, 1fr)); gap: 1rem }
.answer { border: 1px solid #cbd5e1; border-radius: 8px; padding: 1rem; min-width: 0; background: #fff;
  font-size: .85rem; line-height: 1.4 }
.answer, .answer * { color: #111 }
.answer h3 { font-size: 1.15rem !important; font-weight: 700; margin: 0 !important }
.answer .reads, .answer .remark, .answer .group { color: #555; font-size: .75rem; margin: .2rem 0 .6rem }
.answer table { border-collapse: collapse; width: 100%; margin: 0 !important; border: 0 !important }
.answer tr, .answer thead, .answer tbody { border: 0 !important }
.answer th, .answer td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0;
  font-weight: 400; border: 0 !important; border-bottom: 1px solid #ddd !important }
.answer thead th { border-bottom: 2px solid #111 !important; font-size: .75rem }
.answer tr.predicted th, .answer tr.predicted td { font-weight: 700 }
.answer tbody th b { display: block; font-weight: inherit }
.answer .number { font-variant-numeric: tabular-nums; white-space: nowrap; width: 5.5rem }
.answer .bar { display: block; position: relative; height: 6px; background: #e5e7eb; border-radius: 3px;
  margin-top: 2px }
.answer .bar span { display: block; height: 100%; background: #334155; border-radius: 3px }
.answer .bar i { position: absolute; top: -3px; height: 12px; width: 2px; background: #b45309 }
.answer .outcome { font-size: 1.6rem; margin: .4rem 0 } .answer .outcome strong { font-weight: 700 }
.answer .decision { font-size: 1rem; border: 2px solid #111; border-radius: 6px; padding: .1rem .6rem;
  vertical-align: middle } .answer .decision.yes { background: #111; color: #fff }
.answer summary { cursor: pointer; font-weight: 700; margin: .8rem 0 .3rem }
.answer p.note { line-height: 1.8; max-height: 13rem; overflow-y: auto; overflow-wrap: anywhere;
  border-left: 3px solid #bbb; padding-left: .7rem; margin: .5rem 0 }
.answer ul.codes { list-style: none; margin: .5rem 0 0; padding: 0; max-height: 9rem; overflow-y: auto }
.answer ul.codes li { margin: .15rem 0 }
.answer .w1, .answer .w2, .answer .w3, .answer .w4 { padding: .05rem .15rem; border-bottom: 1px solid #111 }
.answer .w1 { background: #eee } .answer .w2 { background: #d6d6d6; border-bottom-width: 2px }
.answer .w3 { background: #b4b4b4; border-bottom-width: 3px }
.answer .w4 { background: #999; border-bottom-width: 4px; font-weight: 700 }
.message { border: 2px solid #111; border-radius: 8px; padding: .6rem 1rem; background: #fff; color: #111 }
"""


class QuietBlocks(gr.Blocks):
    """Blocks whose errors, wherever in gradio they arise, quote nothing of what was sent.

    Gradio prints tracebacks, and some of its messages hold the values it received.
    """

    async def process_api(self, *args: Any, **kwargs: Any) -> Any:
        """As gradio's, with one sentence for whatever goes wrong."""
        try:
            return await super().process_api(*args, **kwargs)
        except Exception as error:
            logger.error("a request failed: %s", type(error).__name__)
            raise gr.Error(_FAILURE, print_exception=False) from None


class Demonstration:
    """Models, codes and examples, and the function behind the button.

    Args:
        predictors (`Predictors`): the models.
    """

    def __init__(self, predictors: Predictors) -> None:
        self.predictors = predictors
        self.diagnoses: CodeList = code_list(predictors.code_tokenizers, DIAGNOSIS_TYPE)
        self.medications: CodeList = code_list(predictors.code_tokenizers, MEDICATION_TYPE)

    def predict(
        self, note: object, diagnosis_codes: object, medication_codes: object, next_diagnosis_codes: object
    ) -> str:
        """Answer one press of the button; whatever is sent, nothing of it is logged or raised.

        Args:
            note, diagnosis_codes, medication_codes, next_diagnosis_codes (`object`): what the fields hold.

        Returns:
            HTML: the answers, or one sentence that says what to change.
        """
        try:
            entry = checked_entry(
                note,
                diagnosis_codes,
                medication_codes,
                next_diagnosis_codes,
                self.diagnoses,
                self.medications,
            )
            return results.results(self.predictors.answers(entry))
        except InputError as error:
            return results.message(str(error))
        except Exception as error:
            logger.error("a prediction failed: %s", type(error).__name__)
            return results.message(_FAILURE)


def build_page(demonstration: Demonstration, examples: Sequence[Example] = ()) -> gr.Blocks:
    """Lay out the page.

    Args:
        demonstration (`Demonstration`): what it shows.
        examples (`Sequence[Example]`): invented visits, each behind a button.

    Returns:
        The page, ready to be launched with `launch_options`.
    """
    with QuietBlocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}: notes and codes of a hospital visit, read together")
        gr.Markdown(BANNER, elem_id="banner")
        gr.Markdown(EXPLANATION)
        example_buttons = _example_buttons(examples)
        fields = _fields(demonstration)
        with gr.Row():
            predict = gr.Button("Predict", variant="primary", elem_id="predict", scale=3)
            clear = gr.Button("Clear", elem_id="clear", scale=1)
        answer = gr.HTML(elem_id="answer", label="Predictions")
        hidden = {"api_visibility": "private"}
        predict.click(demonstration.predict, fields, answer, **hidden)
        clear.click(lambda: (*_values(Entry()), ""), None, [*fields, answer], queue=False, **hidden)
        for button, example in zip(example_buttons, examples, strict=True):
            values = _values(example.entry)
            button.click(lambda values=values: (*values, ""), None, [*fields, answer], queue=False, **hidden)
    return page.queue(max_size=32, default_concurrency_limit=1, api_open=False)


def launch_options() -> dict[str, Any]:
    """What `launch` must be told so that nothing leaves the machine and nothing is kept.

    Returns:
        Arguments of `gradio.Blocks.launch`.
    """
    return {
        "share": False,
        "show_error": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "ssr_mode": False,
        "pwa": False,
        "strict_cors": True,
        "footer_links": [],
        "max_file_size": 1,
        "allowed_paths": [],
        "app_kwargs": {"middleware": [(LimitedRequests, (), {})]},
        "theme": gr.themes.Default(font=_system(_FONTS), font_mono=_system(_MONOSPACED)),
        "css": STYLE,
    }


def _system(names: Sequence[str]) -> list[gr.themes.Font]:
    return [gr.themes.Font(name) for name in names]


def _example_buttons(examples: Sequence[Example]) -> list[gr.Button]:
    if not examples:
        return []
    gr.Markdown("**Examples**: invented patients from a random generator, nobody's records.")
    with gr.Row():
        return [
            gr.Button(example.name, size="sm", elem_id=f"example-{number}")
            for number, example in enumerate(examples, start=1)
        ]


def _fields(demonstration: Demonstration) -> list[gr.components.Component]:
    note = gr.Textbox(
        label="Note: discharge summary of the visit",
        info=f"Up to {MAX_NOTE_CHARACTERS:,} characters; a model reads the beginning.",
        lines=9,
        max_lines=9,
        max_length=MAX_NOTE_CHARACTERS,
        elem_id="note",
    )
    with gr.Row():
        diagnoses = _picker("Diagnoses of the visit", demonstration.diagnoses, "diagnoses")
        medications = _picker("Medications of the visit", demonstration.medications, "medications")
        following = _picker("Diagnoses of the next visit", demonstration.diagnoses, "next_diagnoses")
    return [note, diagnoses, medications, following]


def _picker(label: str, codes: CodeList, name: str) -> gr.Dropdown:
    return gr.Dropdown(
        codes.choices,
        value=[],
        multiselect=True,
        max_choices=MAX_CODES,
        filterable=True,
        label=label,
        info=f"Type a part of a code or of a title; {len(codes):,} codes.",
        elem_id=name,
        elem_classes="picker",
    )


def _values(entry: Entry) -> tuple[str, list[str], list[str], list[str]]:
    codes = (entry.diagnosis_codes, entry.medication_codes, entry.next_diagnosis_codes)
    return (entry.note, *map(list, codes))
