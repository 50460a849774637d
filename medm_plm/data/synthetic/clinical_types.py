"""The vocabulary in which the invented cohort's clinical knowledge is written down."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Condition:
    """One illness of the invented cohort: how common, how it is coded, and how a doctor writes it.

    Args:
        key (`str`): name used by the other knowledge tables.
        system (`str`): organ system; chooses the presenting complaint.
        codes (`tuple[str, ...]`): ICD-9-CM codes of the (mild) condition; one of them is recorded.
        prevalence (`float`): chance in a patient of 65, at baseline (chronic) or per admission (acute).
        wordings (`tuple[str, ...]`): how a note names it, abbreviations included.
        explicit (`float`): chance that a note names it.
        vague (`float`): chance that a note only hints at it; the rest of the time it is silent.
        hint (`str`): key into `HINTS`, the words of a hint.
        severe_codes (`tuple[str, ...]`): codes of the severe form; empty if severity is not told apart,
            equal to `codes` if only the note tells.
        age_effect (`float`): change of the log-odds per decade above 65.
        causes (`Mapping[str, float]`): log-odds added by other conditions, each listed earlier.
        burden (`float`): what the recorded code adds to the log-odds of readmission.
        severe_burden (`float`): the same for a severe code.
        death (`float`): what it adds to the log-odds of dying in hospital.
        recorded (`float`): chance that the coder records it.
        sex (`str`): "F" or "M" where only one sex can have it, else "".
        priority (`int`): the higher, the earlier in the list of diagnoses.
    """

    key: str
    system: str
    codes: tuple[str, ...]
    prevalence: float
    wordings: tuple[str, ...]
    explicit: float = 0.6
    vague: float = 0.2
    hint: str = ""
    severe_codes: tuple[str, ...] = ()
    age_effect: float = 0.2
    causes: Mapping[str, float] = field(default_factory=dict)
    burden: float = 0.0
    severe_burden: float = 0.0
    death: float = 0.0
    recorded: float = 0.95
    sex: str = ""
    priority: int = 3


@dataclass(frozen=True)
class Drug:
    """One product as MIMIC's PRESCRIPTIONS would show it, with its ATC third-level class.

    Args:
        key (`str`): name used by the treatment table.
        name (`str`): the DRUG column.
        route (`str`): the ROUTE column.
        atc (`str`): ATC third level, four characters.
        strength (`str`): the PROD_STRENGTH column.
        dose (`str`): amount per administration in `unit`.
        unit (`str`): the DOSE_UNIT_RX column.
    """

    key: str
    name: str
    route: str
    atc: str
    strength: str
    dose: str
    unit: str

    @property
    def spoken(self) -> str:
        """The name as a note has it: lower case, without the route."""
        return self.key.removesuffix("_iv").removesuffix("_po").replace("_", " ")


@dataclass(frozen=True)
class Treatment:
    """One therapeutic decision: with what chance something is given, and which drug.

    Args:
        condition (`str`): key of the condition treated, "" for what any inpatient may get.
        probability (`float`): chance that a patient with the (mild) condition is given one of the options.
        options (`tuple[tuple[str, float], ...]`): drug keys and their relative weights.
        severe_probability (`float`): the same chance in the severe form.
    """

    condition: str
    probability: float
    options: tuple[tuple[str, float], ...]
    severe_probability: float


@dataclass(frozen=True)
class Trait:
    """Something only the note tells that decides between drugs: allergy, intolerance, earlier response.

    Args:
        key (`str`): its name.
        prevalence (`float`): share of patients who have it at the first visit.
        effects (`Mapping[str, float]`): ATC class or drug key to the factor on its weight.
        history (`tuple[str, ...]`): how a note states it afterwards.
        section (`str`): where: "allergies" or "history".
        event (`tuple[str, ...]`): how the hospital course tells its first appearance; empty if it
            never appears later.
        event_probability (`float`): chance that it appears in a visit in which an affected drug is given.
    """

    key: str
    prevalence: float
    effects: Mapping[str, float]
    history: tuple[str, ...]
    section: str
    event: tuple[str, ...] = ()
    event_probability: float = 0.0


@dataclass(frozen=True)
class Circumstance:
    """A fact of a patient's life or stay that only the note tells and that bears on readmission.

    Args:
        key (`str`): its name.
        prevalence (`float`): chance in a patient of 65.
        effect (`float`): what it adds to the log-odds of readmission.
        section (`str`): "social", "history" or "discharge".
        present (`tuple[str, ...]`): wordings where it holds; one of them is always written.
        absent (`tuple[str, ...]`): wordings where it does not hold.
        absent_stated (`float`): chance that its absence is written.
        age_effect (`float`): change of the log-odds per decade above 65.
        lasting (`bool`): whether it stays the same over a patient's visits.
    """

    key: str
    prevalence: float
    effect: float
    section: str
    present: tuple[str, ...]
    absent: tuple[str, ...]
    absent_stated: float = 0.5
    age_effect: float = 0.0
    lasting: bool = False
