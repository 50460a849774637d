"""The fields of the applied model card of the Coalition for Health AI (schema 0.2)."""

from __future__ import annotations

from collections.abc import Mapping

from medm_plm.cards.metadata import TAGS
from medm_plm.cards.reading import FinishedRun, Publisher
from medm_plm.cards.tables import not_applicable
from medm_plm.cards.wording import TASKS

GROUPS = {
    "Basic information": ("Model name", "Model developer", "Developer contact"),
    "Release": (
        *("Release stage", "Release date", "Release version", "Global availability"),
        *("EHR compatibility", "Regulatory approval"),
    ),
    "Model summary": ("Summary", "Keywords"),
    "Uses and directions": (
        *("Intended use and workflow", "Primary intended users", "How to use"),
        *("Targeted patient population", "Cautioned out-of-scope settings"),
    ),
    "Warnings": (
        *("Known risks and limitations", "Known biases or ethical considerations", "Clinical risk level"),
    ),
    "AI system facts": (
        *("Outcomes and outputs", "Model type", "Foundation models", "Input data source"),
        *("Output and input data types", "Development data characterization", "Bias mitigation approaches"),
        *("Ongoing maintenance", "Security", "Transparency"),
    ),
    "Transparency information": ("Funding source", "Third-party information", "Stakeholders consulted"),
    "Key metrics: usefulness, usability and efficacy": (),
    "Key metrics: fairness and equity": (),
    "Key metrics: safety and reliability": (),
    "Resources": (
        *("Evaluation references", "Clinical trial", "Peer-reviewed publications"),
        *("Reimbursement status", "Patient consent or disclosure", "Bibliography"),
    ),
}
METRIC_FIELDS = (
    *("Metric goal", "Results", "Interpretation", "Test type", "Testing data description"),
    "Validation process and justification",
)


def applied_model_card(run: FinishedRun, publisher: Publisher, fields: Mapping[str, str]) -> str:
    """Fill the fields of the applied model card.

    Args:
        run (`FinishedRun`): the run.
        publisher (`Publisher`): who stands for the model.
        fields (`Mapping[str, str]`): the fields of the card around it.

    Returns:
        A list of fields under a heading for each group.
    """
    values = {**_facts(run, fields), **_warnings(run, fields), **_resources(run, fields)}
    metrics = _key_metrics(run, fields)
    parts = []
    for group, names in GROUPS.items():
        own = metrics[group] if group in metrics else {name: values[name] for name in names}
        lines = "\n".join(f"- **{name}:** {_one_line(value)}" for name, value in own.items())
        parts.append(f"### {group}\n\n{lines}")
    return "\n\n".join(parts)


def _facts(run: FinishedRun, fields: Mapping[str, str]) -> dict[str, str]:
    wording = TASKS[run.task]
    restricted = run.restricted
    availability = "may be shared openly" if restricted is None else "private or gated, see the data-use rule"
    return {
        "Model name": fields["name"],
        "Model developer": fields["developer"],
        "Developer contact": fields["contact"],
        "Release stage": "research model, not released for care",
        "Release date": str(run.metrics.get("finished") or not_applicable("the run noted no date")),
        "Release version": f"weights of the run with seed {run.metrics.get('seed')}",
        "Global availability": availability,
        "EHR compatibility": not_applicable("it is connected to no record system"),
        "Regulatory approval": not_applicable("none was sought for a research model"),
        "Summary": fields["summary"],
        "Keywords": ", ".join(TAGS),
        "Intended use and workflow": (
            f"{wording.use}, outside of any workflow of care; inputs: {wording.moment}"
        ),
        "Primary intended users": "researchers in medical informatics with access to such records",
        "How to use": "see How to Get Started with the Model",
        "Targeted patient population": run.source.population,
        "Cautioned out-of-scope settings": "see Out-of-Scope Use",
    }


def _warnings(run: FinishedRun, fields: Mapping[str, str]) -> dict[str, str]:
    wording = TASKS[run.task]
    encoder = fields["base_model"]
    return {
        "Known risks and limitations": "see Bias, Risks, and Limitations",
        "Known biases or ethical considerations": (
            "past practice and documentation are repeated with their inequities; see Bias, Risks, and "
            "Limitations"
        ),
        "Clinical risk level": not_applicable("it must not inform care, so no level was assessed"),
        "Outcomes and outputs": wording.outputs,
        "Model type": fields["model_type"],
        "Foundation models": encoder,
        "Input data source": run.source.title,
        "Output and input data types": f"text and lists of codes; out: {wording.outputs}",
        "Development data characterization": "see Training Data; counts of sex and ethnicity: "
        + not_applicable("prepared visits hold neither"),
        "Bias mitigation approaches": not_applicable("none was taken in the run"),
        "Ongoing maintenance": not_applicable("the publisher stated no plan; measure again on local data"),
        "Security": "weights are safetensors, no pickle; pin a revision before running a repository's code",
        "Transparency": "settings, versions, data fingerprint and seed are stated; see Training Details",
    }


def _resources(run: FinishedRun, fields: Mapping[str, str]) -> dict[str, str]:
    consent = not_applicable("invented patients need none")
    if run.restricted is not None:
        consent = "that of the source; its use is bound to the agreement named in the data-use rule"
    return {
        "Funding source": fields["funding"],
        "Third-party information": f"data: {run.source.title}; text encoder: {fields['base_model']}",
        "Stakeholders consulted": not_applicable("none in the run"),
        "Evaluation references": "see Evaluation",
        "Clinical trial": not_applicable("there is none"),
        "Peer-reviewed publications": "the method, not these weights: see Citation",
        "Reimbursement status": not_applicable("a research model is not reimbursed"),
        "Patient consent or disclosure": consent,
        "Bibliography": "see Citation",
    }


def _key_metrics(run: FinishedRun, fields: Mapping[str, str]) -> dict[str, dict[str, str]]:
    usefulness = (
        "to predict better than the label frequency does",
        fields["results_summary"],
        "the ranking and decisions of this table hold for these test patients; usefulness in care is not "
        "shown",
        "retrospective, internal",
        fields["testing_data"],
        "one split of patients, thresholds chosen without the test patients; see Evaluation",
    )
    unmeasured = not_applicable(
        "the run measures no subgroups, since prepared visits hold neither sex nor ethnicity"
    )
    fairness = ("equal performance across groups of patients", *[unmeasured] * 5)
    safety = (
        "probabilities that can be believed, and weights that do not give records away",
        "see Thresholds and calibration, and Privacy",
        "a calibration error near 0 and attacks near AUC 0.5 are wanted",
        "retrospective, internal; attacks on the finished model where a privacy report was made",
        fields["testing_data"],
        "temperature fitted on validation, measured on test; see Thresholds and calibration",
    )
    groups = [name for name in GROUPS if name.startswith("Key metrics")]
    return {
        group: dict(zip(METRIC_FIELDS, values, strict=True))
        for group, values in zip(groups, (usefulness, fairness, safety), strict=True)
    }


def _one_line(text: str) -> str:
    return " ".join(text.split())
