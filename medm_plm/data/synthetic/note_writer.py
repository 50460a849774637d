"""Discharge summaries of invented visits: what each says, in varied words and order."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import numpy as np

from medm_plm.data.synthetic import note_phrases as words
from medm_plm.data.synthetic.acute_conditions import HINTS
from medm_plm.data.synthetic.drugs import DRUGS
from medm_plm.data.synthetic.knowledge import CONDITIONS, NUM_CHRONIC, OPTION_DRUG, PRIORITY
from medm_plm.data.synthetic.patient_facts import CIRCUMSTANCES, SEVERITY_WORDINGS, TRAITS
from medm_plm.data.synthetic.prescribing import update_last_option
from medm_plm.data.synthetic.visit_block import NAMED, STOPPED, UNCHANGED, VisitBlock

_TRAIT_STATED = 0.94
_SEVERITY_STATED = 0.85
_ADDENDUM = 0.07
_HOME_LISTED = 0.7
_PRIORITY: list[float] = PRIORITY.tolist()

Item = TypeVar("Item")


@dataclass(frozen=True)
class WrittenNote:
    """One discharge summary and, now and then, an addendum to it.

    Args:
        summary (`str`): the report.
        addendum (`str`): a later addition, "" if there is none.
    """

    summary: str
    addendum: str


class Chance:
    """Draws from Python's own generator, whose sequence for a seed never changes between versions."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def happens(self, probability: float) -> bool:
        """Return true with the given probability."""
        return self._random() < probability

    def number(self, low: float, high: float) -> float:
        """Return a number between two bounds."""
        return low + (high - low) * self._random()

    def integer(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return low + int(self._random() * (high - low + 1))

    def pick(self, items: Sequence[Item]) -> Item:
        """Return one item."""
        return items[int(self._random() * len(items))]

    def mix(self, items: Sequence[Item]) -> list[Item]:
        """Return all items in a new order."""
        return sorted(items, key=lambda _: self._random())


class NoteWriter:
    """Write the discharge summary of one row of a block.

    Args:
        block (`VisitBlock`): the visits.
        sex (`np.ndarray` of shape `(patients,)`): "F" or "M".
        chance (`Chance`): source of chance.
    """

    def __init__(self, block: VisitBlock, sex: np.ndarray, chance: Chance) -> None:
        self._block = block
        self._sex = sex[block.patient].tolist()
        self._chance = chance
        # Plain lists: a note asks for single values many times, which arrays answer slowly.
        self._active = [np.flatnonzero(row).tolist() for row in block.active]
        self._mention = [row.tolist() for row in block.mention]
        self._traits, self._events = block.traits.tolist(), block.events.tolist()
        self._circumstances = block.circumstances.tolist()
        self._taken = update_last_option(block.home, block.given)

    def write(self, row: int, admitted: datetime, discharged: datetime, born: datetime) -> WrittenNote:
        """Write one note.

        Args:
            row (`int`): row of the block.
            admitted (`datetime`): time of admission.
            discharged (`datetime`): time of discharge.
            born (`datetime`): date of birth as the source gives it.

        Returns:
            The summary, and the addendum if there is one.
        """
        sex = self._sex[row]
        facts = self._life(row)
        late = []
        if self._chance.happens(_ADDENDUM) and facts["discharge"]:
            late = [facts["discharge"].pop()]
        sections = self._sections(row, sex, facts)
        header = (
            f"Admission Date:  [**{_day(admitted)}**]"
            f"              Discharge Date:   [**{_day(discharged)}**]\n\n"
            f"Date of Birth:  [**{_day(born)}**]             Sex:   {sex}\n\n"
        )
        order = self._chance.pick(words.SECTION_ORDERS)
        told = [key for key in order if sections[key]]
        parts = [f"{self._chance.pick(words.HEADINGS[key])}\n{sections[key]}" for key in told]
        addendum = f"Addendum:\n{_sentences(late)}\n" if late else ""
        return WrittenNote(header + "\n\n".join(parts) + "\n", addendum)

    def _sections(self, row: int, sex: str, facts: dict[str, list[str]]) -> dict[str, str]:
        chronic, background = self._chronic(row)
        history = self._known_traits(row, "history") + facts["history"]
        allergies = self._known_traits(row, "allergies")
        ending = words.DEATHS if self._block.died[row] else words.CONDITIONS_AT_DISCHARGE
        condition = [self._chance.pick(ending)]
        if not self._block.died[row]:
            condition.append(_sentences(facts["discharge"]))
        return {
            "allergies": "; ".join(allergies) if allergies else self._chance.pick(words.NO_ALLERGIES),
            "complaint": self._complaint(row),
            "present": " ".join([self._presentation(row, sex), background, *self._denials(row)]).strip(),
            "past": _numbered(self._chance.mix(chronic + history)),
            "social": _sentences(facts["social"]),
            "family": self._family(row),
            "home": self._home(row),
            "results": self._results(),
            "course": self._course(row),
            "condition": " ".join(condition).strip(),
            "followup": self._followup(row),
        }

    def _conditions(self, row: int, chronic: bool) -> list[int]:
        return [index for index in self._active[row] if (index < NUM_CHRONIC) == chronic]

    def _name(self, row: int, index: int) -> str:
        """Name, hint at or withhold a condition; "" if the note is silent."""
        condition = CONDITIONS[index]
        mention = self._mention[row][index]
        if mention == NAMED:
            return self._chance.pick(condition.wordings)
        return self._chance.pick(HINTS[condition.hint]) if mention and condition.hint else ""

    def _chronic(self, row: int) -> tuple[list[str], str]:
        """Items of the past history, and a sentence that brings some of them forward."""
        items, forward = [], []
        for index in self._conditions(row, chronic=True):
            name = self._name(row, index)
            severity = self._severity(row, index) if name or self._chance.happens(0.3) else ""
            if name and not severity and self._chance.happens(0.25):
                forward.append(name)
            elif name or severity:
                items.append(", ".join(part for part in (name, severity) if part))
        return items, self._chance.pick(words.BACKGROUND).format(" and ".join(forward)) if forward else ""

    def _severity(self, row: int, index: int) -> str:
        wordings = SEVERITY_WORDINGS.get(CONDITIONS[index].key)
        if wordings is None or not self._chance.happens(_SEVERITY_STATED):
            return ""
        return self._chance.pick(wordings[0] if self._block.severe[row, index] else wordings[1])

    def _known_traits(self, row: int, section: str) -> list[str]:
        stated = [
            self._chance.pick(trait.history)
            for trait, present in zip(TRAITS, self._traits[row], strict=True)
            if present and trait.section == section and self._chance.happens(_TRAIT_STATED)
        ]
        if section == "history" and self._chance.happens(0.12):
            stated.append(self._chance.pick(words.TOLERATED))
        return stated

    def _life(self, row: int) -> dict[str, list[str]]:
        said: dict[str, list[str]] = {"social": [], "history": [], "discharge": []}
        for fact, present in zip(CIRCUMSTANCES, self._circumstances[row], strict=True):
            if present:
                said[fact.section].append(self._chance.pick(fact.present))
            elif self._chance.happens(fact.absent_stated):
                said[fact.section].append(self._chance.pick(fact.absent))
        return {section: self._chance.mix(facts) for section, facts in said.items()}

    def _complaint(self, row: int) -> str:
        main = max(self._active[row], key=_PRIORITY.__getitem__)
        return self._chance.pick(words.COMPLAINTS[CONDITIONS[main].system])

    def _presentation(self, row: int, sex: str) -> str:
        person = "woman" if sex == "F" else "man"
        age = min(int(self._block.age[row]), 91)
        sentence = self._chance.pick(words.PRESENTED)
        days = self._chance.integer(1, 9)
        return sentence.format(age=age, person=person, sex=sex, complaint=self._complaint(row), days=days)

    def _absent(self, row: int, low: int, high: int) -> str:
        """A wording of a condition the patient does not have, or "" if the draw hits one that is there."""
        index = self._chance.integer(low, high - 1)
        return "" if self._block.active[row, index] else self._chance.pick(CONDITIONS[index].wordings)

    def _denials(self, row: int) -> list[str]:
        names = [self._absent(row, 0, len(CONDITIONS)) for _ in range(self._chance.integer(1, 3))]
        return [self._chance.pick(words.DENIALS).format(name) for name in names if name]

    def _family(self, row: int) -> str:
        name = self._absent(row, 0, NUM_CHRONIC) if self._chance.happens(0.6) else ""
        return self._chance.pick(words.RELATIVES).format(name) if name else self._chance.pick(words.NO_FAMILY)

    def _home(self, row: int) -> str:
        options = self._block.home[row]
        drugs = sorted(set(OPTION_DRUG[options[options >= 0]].tolist()))
        if not drugs or not self._chance.happens(_HOME_LISTED):
            return self._chance.pick(words.SEE_LIST)
        listed = [DRUGS[drug] for drug in self._chance.mix(drugs)[: self._chance.integer(1, 3)]]
        return _numbered([f"{drug.name} {drug.dose} {drug.unit} {drug.route}" for drug in listed])

    def _results(self) -> str:
        chosen = self._chance.mix(words.RESULTS)[:2]
        draw = self._chance.number
        bounds = {"a": (4, 16), "b": (8, 15), "e": (3.2, 5.2), "f": (0.6, 2.4), "h": (0.8, 3.9)}
        values = {name: draw(*limits) for name, limits in bounds.items()}
        whole = {"c": int(draw(80, 400)), "d": int(draw(128, 146)), "g": int(draw(58, 112))}
        return " ".join(result.format(**values, **whole) for result in chosen)

    def _course(self, row: int) -> str:
        sentences = []
        for index in self._conditions(row, chronic=False):
            name = self._name(row, index)
            if name:
                frame = words.TREATED if self._mention[row][index] == NAMED else words.HINTED
                sentences.append(self._chance.pick(frame).format(name))
        for trait, new in zip(TRAITS, self._events[row], strict=True):
            if new:
                sentences.append(f"The patient {self._chance.pick(trait.event)}.")
        sentences += self._chance.mix(words.FILLERS)[: self._chance.integer(1, 3)]
        return " ".join(self._chance.mix(sentences))

    def _changes(self, row: int) -> list[str]:
        """Say what the discharge starts, stops and exchanges."""
        said = []
        for decision in np.flatnonzero(self._block.changes[row] != UNCHANGED).tolist():
            new, old = self._block.changes[row, decision], self._taken[row, decision]
            frames = words.STOPS if new == STOPPED else words.EXCHANGES if old >= 0 else words.STARTS
            said.append(self._chance.pick(frames).format(new=_spoken(new), old=_spoken(old)))
        return said

    def _followup(self, row: int) -> str:
        if self._block.died[row]:
            return ""
        values = {
            name: self._chance.integer(1, high) for name, high in (("weeks", 6), ("month", 12), ("day", 28))
        }
        sentences = self._chance.mix(words.FOLLOWUPS)[: self._chance.integer(1, 2)]
        advice = [sentence.format(**values) for sentence in sentences]
        return " ".join(self._chance.mix(advice + self._changes(row)))


def _day(moment: datetime) -> str:
    return f"{moment.year}-{moment.month}-{moment.day}"


def _spoken(option: int) -> str:
    return DRUGS[OPTION_DRUG[option]].spoken if option >= 0 else ""


def _numbered(items: list[str]) -> str:
    return "\n".join(f"{number}. {item}" for number, item in enumerate(items, start=1))


def _sentences(facts: list[str]) -> str:
    return " ".join(f"{fact[0].upper()}{fact[1:]}." for fact in facts)
