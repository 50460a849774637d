"""Passages of a model card: who it is for, what it was trained on, what it may not be used for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from medm_plm.cards.metadata import fingerprint, test_results
from medm_plm.cards.reading import Emissions, FinishedRun
from medm_plm.cards.tables import counts_table, markdown_table, not_applicable, privacy_table, sentence
from medm_plm.cards.wording import TASKS

CHANCE_AUC, TOLERATED_AUC = 0.5, 0.55

PAPER = (
    "Liu, Wang, Hou, Li, Wang, Xu, Xiang and Tang: Multimodal data matters: language model pre-training over "
    "structured and unstructured electronic health records. IEEE Journal of Biomedical and Health "
    "Informatics, 2022."
)
BIBTEX = """\
@article{liu2022multimodal,
  title   = {Multimodal data matters: language model pre-training over structured and unstructured
             electronic health records},
  author  = {Liu, Sicen and Wang, Xiaolong and Hou, Yongshuai and Li, Ge and Wang, Hui and Xu, Hui and
             Xiang, Yang and Tang, Buzhou},
  journal = {IEEE Journal of Biomedical and Health Informatics},
  year    = {2022}
}"""
OUT_OF_SCOPE = """\
- Any decision about the care of a patient, with or without a clinician in between: the model has not been
  examined as a medical device and no benefit to patients has been shown.
- Triage, billing, insurance, staffing or research conclusions without a validation on the data at hand.
- Hospitals, countries, years, languages, age groups and coding systems other than those of the training data.
- Attempts to identify patients or to extract training data."""
LIMITS = """\
- Codes are assigned for billing and differ between hospitals and years; the model learns these habits with
  the medicine.
- Notes are copied, templated and incomplete; documentation differs between groups of patients, and with it
  what the model can know of them.
- What was done is not what should have been done: predicted medications and codes repeat past practice, its
  mistakes and its inequities.
- Text beyond the note length that the model reads, codes that are not in its vocabulary, and rare labels are
  predicted worse or not at all.
- De-identification of the source is no promise of anonymity, and weights can hold traces of single records
  (see Privacy)."""
RECOMMENDATIONS = """\
Validate on local data before any use, by sex, age, ethnicity, language and insurance where these are known;
look at calibration and not at ranking alone; choose thresholds for the purpose; measure again after each
change of documentation or coding; keep a person responsible for each decision."""


def data_passage(run: FinishedRun) -> str:
    """Tell what the run was trained on, with the counts and the fingerprint of its preparation."""
    lines = [f"{sentence(run.source.title)}: {run.source.description}."]
    preparation = run.metrics.get("preparation")
    if preparation is None:
        reason = "a corpus of sentences is not prepared" if run.task == "ner" else "the folder had no report"
        lines.append(f"Counts of the preparation: {not_applicable(reason)}.")
    else:
        lines.append(counts_table(preparation))
        checks = preparation.get("leakage") or {}
        lines.append(
            f"Patients are split, never visits; {checks.get('checks')} checks for leakage between the splits "
            f"found {checks.get('violations')} violations."
        )
        lines.append(f"- Fingerprint of the preparation: `{preparation.get('fingerprint')}`")
    name = "sentences" if run.task == "ner" else "prepared visits"
    lines.append(f"- SHA-256 of the {name}: `{fingerprint(run)}`")
    share = run.metrics.get("training_ratio")
    if share is not None:
        lines.append(f"- Share of the training examples that was used: {share}")
    targets = run.metrics.get("num_targets") or run.metrics.get("visits") or run.metrics.get("num_sentences")
    if targets:
        lines.append("- Examples: " + ", ".join(f"{count} {split}" for split, count in targets.items()))
    before = run.metrics.get("pretraining")
    if before is not None:
        same = before.get("data_sha256") == fingerprint(run)
        where = "the training visits of the same folder" if same else "another prepared folder"
        lines.append(
            f"- Pre-trained on {where} (`{before.get('data_sha256') or 'not known'}`), whose test patients "
            f"{'it has' if same else 'it should have'} not seen."
        )
    before_list = [line for line in lines if not line.startswith("- ")]
    listed = [line for line in lines if line.startswith("- ")]
    return "\n\n".join([*before_list, "\n".join(listed)])


def limits_passage(run: FinishedRun) -> str:
    """Tell what the model cannot do, and what its vocabulary may hold."""
    parts = [LIMITS, f"- Population: {run.source.population}."]
    if run.text_encoder is None:
        parts.append(
            "- The word pieces of the text encoder were learnt from the training notes; rare words of these "
            "notes can stand among them, readable in `tokenizer.json`."
        )
    if run.config.get("classifier_token_weights"):
        parts.append(
            "- `classifier_token_weights` is on: the rows of its table that are not zero are the word pieces "
            "and codes of the training visits, so whoever has the weights can read off which occurred."
        )
    return "\n".join(parts)


def preprocessing_passage(run: FinishedRun) -> str:
    """Tell which rules made visits of records, and how long what the model reads may be."""
    preparation: Mapping[str, Any] = run.metrics.get("preparation") or {}
    parts = []
    if preparation:
        cohort = preparation.get("cohort") or {}
        rules = ", ".join(f"{name} {_plain(value)}" for name, value in cohort.items())
        parts.append(
            f"- Cohort: {rules or 'all visits'}; readmission by the policy "
            f"`{preparation.get('readmission_policy')}`; diagnoses in {preparation.get('diagnosis_system')}."
        )
        rows = sum((preparation.get("rows_read") or {}).values())
        dropped = sum((preparation.get("rows_dropped") or {}).values())
        parts.append(f"- {rows} rows of the tables were read, {dropped} left out for stated reasons.")
    length = run.config.get("chunk_length")
    chunks = run.config.get("max_note_chunks", 1)
    if length:
        parts.append(f"- Notes are cut to {chunks} x {length} word pieces.")
    codes = (run.config.get("code_config") or {}).get("max_code_length")
    if codes and run.task != "ner":
        parts.append(
            f"- Codes are cut to {codes}; a code outside the vocabulary becomes the nearest known node."
        )
    settings = run.metrics.get("settings") or {}
    if settings:
        chosen = ", ".join(f"`{name}` {_plain(value)}" for name, value in settings.items())
        parts.append(f"- Settings of the task: {chosen}.")
    return "\n".join(parts) if parts else not_applicable("the run noted no preparation")


def calibration_passage(run: FinishedRun) -> str:
    """Tell from which probability a label counts, and how far probabilities can be believed."""
    decision = (run.metrics.get("decision") or {}).get("model")
    calibration = run.metrics.get("calibration")
    if decision is None or calibration is None:
        return not_applicable("the model decides nothing by a probability")
    lines = [
        f"A label counts as predicted from probability {decision['threshold']:.4g} on; logits are divided by "
        f"{decision['temperature']:.4g} first. Both stand in `config.json` (`decision_threshold`, "
        "`temperature`)."
    ]
    rows = []
    for split in ("validation", "test"):
        errors = calibration.get(split)
        if errors:
            raw, scaled = (errors[kind]["expected_calibration_error"] for kind in ("raw", "scaled"))
            rows.append([split, raw, scaled])
    lines.append(markdown_table(["split", "calibration error", "after temperature scaling"], rows))
    lines.append(f"The temperature fitted on validation is {calibration['fitted_temperature']:.4g}.")
    points = ((calibration.get("test") or {}).get("raw") or {}).get("reliability") or []
    if points:
        columns = ["mean predicted", "observed share", "count"]
        cells = [[point["mean_predicted"], point["observed_share"], point["count"]] for point in points]
        lines.append(markdown_table(columns, cells))
    return "\n\n".join(lines)


def speeds_passage(run: FinishedRun) -> str:
    """Tell how long the training took, how much memory it needed and how large the model is."""
    resources = run.metrics.get("resources") or {}
    parts = []
    if run.seconds is not None:
        parts.append(f"- Training time: {run.seconds:.0f} s (of the last start, if the run was interrupted)")
    if "peak_memory_gb" in resources:
        parts.append(f"- Largest resident memory of a process: {resources['peak_memory_gb']} GB")
    if "peak_gpu_memory_gb" in resources:
        parts.append(f"- Largest memory on the GPU: {resources['peak_gpu_memory_gb']} GB")
    if run.num_parameters is not None:
        parts.append(f"- Parameters: {run.num_parameters:,}")
    if run.metrics.get("finished"):
        parts.append(f"- Finished: {run.metrics['finished']}")
    return "\n".join(parts) if parts else not_applicable("the run noted neither time nor memory")


def summary_of_results(run: FinishedRun) -> str:
    """Say in a sentence how the main metrics compare with the label frequency."""
    results = {result.name: result for result in test_results(run)}
    parts = []
    for name in TASKS[run.task].main_metrics:
        result = results.get(name)
        if result is None:
            continue
        interval = (
            "" if result.interval is None else f" ({result.interval[0]:.3f} to {result.interval[1]:.3f})"
        )
        beside = "" if result.frequency is None else f", label frequency {result.frequency:.3f}"
        parts.append(f"`{name}` {result.value:.3f}{interval}{beside}")
    return "; ".join(parts) + "." if parts else not_applicable("the run had no test data")


def privacy_passage(run: FinishedRun) -> str:
    """Print the privacy report, or say that there is none."""
    if run.has_other_privacy:
        return not_applicable("the privacy report in the folder is that of another model; it is not shown")
    if run.privacy is None:
        return not_applicable(
            "no privacy report was made; `run_privacy.py` measures membership inference and the exposure of "
            "planted canaries, and `run_card.py --privacy` prints them here"
        )
    parts = [run.privacy.get("loss", "Loss of each visit."), privacy_table(run.privacy)]
    attacks = list((run.privacy.get("attacks") or {}).values())
    if attacks:
        parts.append(_verdict(attacks))
    if run.privacy.get("references"):
        parts.append("Whether a reference model has seen these patients was not checked.")
    return "\n\n".join(parts)


def _verdict(attacks: Sequence[Mapping[str, Any]]) -> str:
    """Judge by the ends of the intervals: few patients prove nothing in either direction."""
    strongest = max(attack["auc"] for attack in attacks)
    lows, highs = zip(*(attack["interval"] for attack in attacks), strict=True)
    if any(low is not None and low > CHANCE_AUC for low in lows):
        judgement = "An interval lies above 0.5: the model remembers its patients."
    elif all(high is not None and high <= TOLERATED_AUC for high in highs):
        judgement = f"Every interval ends at {TOLERATED_AUC} or below."
    else:
        judgement = "Too few patients were measured to tell whether the model remembers them."
    return (
        f"The strongest attack tells a training patient from another with AUC {strongest:.3f}; 0.5 is "
        f"chance. {judgement}"
    )


def carbon_fields(run: FinishedRun, emissions: Emissions | None) -> dict[str, str]:
    """Estimate emissions from stated assumptions, or say that nobody stated any."""
    hours = None if run.seconds is None else run.seconds / 3600
    fields = {
        "hours": not_applicable("the run noted no time") if hours is None else f"{hours:.3f}",
        "cloud": not_applicable("the run does not look at where it runs"),
        "region": not_applicable("the run does not look at where it runs"),
        "carbon": not_applicable("no power and grid intensity were stated (`run_card.py --watts`)"),
    }
    if emissions is not None and emissions.region:
        fields["region"] = emissions.region
    if emissions is not None and hours is not None:
        fields["carbon"] = (
            f"about {emissions.grams(hours):.1f} g CO2eq, if the machine drew {emissions.watts:g} W on "
            f"average and its grid emits {emissions.grams_per_kwh:g} g/kWh (both stated by the publisher, "
            "not measured)"
        )
    return fields


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
