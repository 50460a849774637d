"""Sentences of invented notes, many thousands of each kind, for `full_size_tables.py`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from medm_plm.data.synthetic import note_phrases as phrases
from medm_plm.data.synthetic.knowledge import CONDITIONS


def listed(text: str, separator: str = ",") -> tuple[str, ...]:
    """Cut a list of words that is easier to read on one line."""
    return tuple(text.split(separator))


_CONDITIONS = tuple(wording for condition in CONDITIONS for wording in condition.wordings)
_SITES = listed(
    "left lower lobe,right upper lobe,left hilum,right atrium,mitral valve,proximal LAD,sigmoid colon,"
    "gallbladder fossa,left kidney,right hip,lumbar spine,left frontal lobe,basal ganglia,right groin,"
    "left forearm,both lower extremities,abdominal aorta,pancreatic head,terminal ileum,sacrum,right heel,"
    "left pleural space,carotid bifurcation,posterior fossa,retroperitoneum,tricuspid valve,thyroid bed"
)
_FINDINGS = listed(
    "opacity,effusion,thickening,atelectasis,edema,stenosis,mass,hematoma,fluid collection,calcification,"
    "erythema,tenderness,stranding,infarct,fracture,lucency,enlargement,perforation,lymphadenopathy,nodule,"
    "regurgitation,hypokinesis,dilatation,ulceration,drainage,induration,consolidation,pneumothorax"
)
_DEGREES = listed(
    "mild,moderate,severe,trace,small,large,stable,increasing,resolving,minimal,extensive,unchanged,new,"
    "worsening,subtle,persistent,interval,bibasilar,focal,diffuse,patchy,chronic,likely,questionable"
)
_STUDIES = listed(
    "CT of the chest,CXR,repeat CXR,MRI brain,TTE,TEE,abdominal ultrasound,EGD,colonoscopy,head CT,ERCP,"
    "cardiac catheterization,dopplers of both legs,bronchoscopy,KUB,CT angiogram,EEG,V/Q scan,swallow study"
)
_TEAMS = listed(
    "Cardiology,Renal,ID,Neurology,Surgery,GI,Pulmonary,Psychiatry,Hematology,Social work,Nutrition,Ortho,"
    "Physical therapy,Pain service,Vascular,Endocrine,Palliative care,Wound nurse,Speech and swallow"
)
_DRUGS = listed(
    "lasix,metoprolol,vancomycin,heparin gtt,insulin,propofol,levophed,zosyn,coumadin,ativan,morphine,"
    "fentanyl,amiodarone,lisinopril,protonix,dilaudid,prednisone,levofloxacin,ceftriaxone,aspirin,plavix,"
    "simvastatin,albuterol nebs,dilantin,haldol,flagyl,neo gtt,mucomyst,lactulose,colace,epogen,digoxin"
)
_WAYS = listed(
    "tolerated well,continued overnight,titrated to effect,held for low BP,weaned as tolerated,given x1,"
    "started empirically,discontinued on transfer,increased without incident,changed to PO,given with good "
    "effect,restarted this morning,dosed by level,refused by pt,given per protocol"
)
_COMPLAINTS = tuple(complaint for group in phrases.COMPLAINTS.values() for complaint in group)
_SECTIONS = listed(
    "NEURO,RESP,CV,GI,GU,ID,SKIN,SOCIAL,PLAN,ASSESSMENT,ENDO,HEME,ACCESS,PAIN,NEURO/MS,F/E/N,DISPO"
)
_TESTS = listed(
    "WBC RBC Hgb Hct MCV MCH MCHC RDW Plt-Ct Neuts Lymphs Monos PT PTT INR(PT) Glucose UreaN Creat Na K Cl "
    "HCO3 AnGap ALT AST LD(LDH) AlkPhos TotBili Lipase Albumin Calcium Phos Mg CK(CPK) cTropnT Lactate pO2 "
    "pCO2 pH TSH Ferritn Folate Vanco Digoxin",
    " ",
)
_WORDS = {
    "study": _STUDIES,
    "degree": _DEGREES,
    "finding": _FINDINGS,
    "site": _SITES,
    "drug": _DRUGS,
    "way": _WAYS,
    "team": _TEAMS,
    "condition": _CONDITIONS,
    "complaint": _COMPLAINTS,
    "test": _TESTS,
}
# Lowest and highest whole number, and what it is divided by.
_RANGES = {
    "small": (1, 30, 2),
    "rate": (40, 180, 1),
    "volume": (100, 4000, 1),
    "temperature": (960, 1035, 10),
}
_FREQUENCIES = listed(
    "DAILY (Daily),BID (2 times a day),TID (3 times a day),Q6H (every 6 hours) as needed,HS (at bedtime),"
    "QID (4 times a day),Q4H (every 4 hours) as needed for pain,once a day,EVERY OTHER DAY (Every Other Day)"
)
_FORMS = ("Tablet", "Capsule", "Tablet, Delayed Release (E.C.)", "Tablet Sustained Release 24 hr", "Solution")
_NUMBERS = ("One (1)", "Two (2)", "0.5", "Three (3)", "1.5")
_MARKERS = ("Last Name (STitle)", "Name (NI)", "First Name3 (LF)", "Doctor Last Name", "Hospital1")


class Phrasebook:
    """Draws the parts of sentences.

    Args:
        seed (`int`): seed of chance.
        drugs (`Sequence[str]`): names of drugs for the lists of medications.
    """

    def __init__(self, seed: int, drugs: Sequence[str]) -> None:
        self._random = random.Random(seed)
        self._drugs = drugs

    def pool(self, write: Callable[[Phrasebook], str], size: int) -> list[str]:
        """Write sentences, ready for a quoted CSV field and with the blank or line break behind them."""
        return [write(self).replace('"', '""') for _ in range(size)]

    def pick(self, options: Sequence[str]) -> str:
        return options[int(self._random.random() * len(options))]

    def number(self, low: int, high: int) -> int:
        return low + int(self._random.random() * (high - low + 1))

    def date(self) -> str:
        """A marker of a shifted date."""
        if self._random.random() < 0.5:
            return f"[**{self.number(2101, 2199)}-{self.number(1, 12)}-{self.number(1, 28)}**]"
        return f"[**{self.number(1, 12)}-{self.number(1, 28)}**]"

    def name(self) -> str:
        """A marker of a removed name."""
        return f"[**{self.pick(_MARKERS)} {self.number(1, 9999)}**]"

    def value(self) -> str:
        """A number as a laboratory writes it."""
        return f"{self.number(1, 999) / (1, 10, 100)[self.number(0, 2)]:g}"

    def prose(self) -> str:
        """A sentence of a history or a course."""
        return self._sentence() + self.pick((" ", " ", " ", "\n", "\n\n"))

    def nursing(self) -> str:
        """A line in the shorthand of the ward."""
        start = f"{self.pick(_SECTIONS)}: " if self._random.random() < 0.35 else ""
        return start + self._sentence() + self.pick((" ", "  ", "\n", "\n   "))

    def laboratory(self) -> str:
        """A line of results."""
        half = self.pick(("AM", "PM"))
        words = [f"{self.date()} {self.number(1, 12):02d}:{self.number(0, 59):02d}{half} BLOOD"]
        for _ in range(self.number(2, 9)):
            words.append(f"{self.pick(_TESTS)}-{self.value()}{self.pick(('', '', '*'))}")
        return " ".join(words) + "\n"

    def order(self) -> str:
        """A line of a list of medications, with its number."""
        dose = (5, 10, 12.5, 20, 25, 40, 50, 81, 100, 250, 325, 500)[self.number(0, 11)]
        form = self.pick(_FORMS)
        dispensed = f"Disp:*{self.number(1, 90)} {form}(s)* Refills:*{self.number(0, 5)}*\n"
        return (
            f"{self.number(1, 24)}. {self.pick(self._drugs)} {dose} mg {form} Sig: {self.pick(_NUMBERS)}\n"
            f"{form} PO {self.pick(_FREQUENCIES)}.\n{self.pick(('', dispensed))}"
        )

    def _sentence(self) -> str:
        if self._random.random() < _PLAIN_SHARE:
            if self._random.random() < 0.15:
                return self.pick(phrases.FILLERS)
            return self.pick(_CONDITION_PHRASES).format(self.pick(_CONDITIONS))
        parts = _PARTS[int(self._random.random() * len(_PARTS))].copy()
        parts[1::2] = [self._fill(name) for name in parts[1::2]]
        text = "".join(parts)
        return text[0].upper() + text[1:] if self._random.random() < 0.5 else text

    def _fill(self, name: str) -> str:
        """Draw what stands for a name of a template."""
        if name in _WORDS:
            return self.pick(_WORDS[name])
        if name in _RANGES:
            low, high, scale = _RANGES[name]
            return f"{self.number(low, high) / scale:g}"
        return {"date": self.date, "name": self.name, "value": self.value}[name]()


# `{}` of the phrases is a condition; of the others, each name in braces is drawn anew.
_CONDITION_PHRASES = (
    *phrases.TREATED,
    *phrases.HINTED,
    *phrases.DENIALS,
    *phrases.BACKGROUND,
    *phrases.RELATIVES,
)
_TEMPLATES = (
    "{study} on {date} showed {degree} {finding} of the {site}.",
    "There is {degree} {finding} in the {site}, {degree} since {date}.",
    "No {finding} or {finding} of the {site}.",
    "{drug} {small} mg {way}.",
    "{drug} and {drug} {way}, plan to reassess in {small} hours.",
    "{team} was consulted (Dr. {name}) and recommended {drug} for {condition}.",
    "{team} following, {study} planned for {date}.",
    'Pt states "{complaint} is {degree}", rates it {small}/10.',
    "T {temperature} HR {rate} BP {rate}/{rate} RR {small} O2 sat {rate}% on {small}L.",
    "{test} {value}, {test} {value}, repleted with {drug}.",
    "Given the {degree} {finding}, {drug} was {way} and {study} was obtained.",
    "Transferred to {name} on {date} for {condition}; seen by {name}, M.D.",
    "The {site} with {degree} {finding}, dressing changed x{small}.",
    "I/O {volume}/{volume} cc, foley draining {rate} cc/hr, {degree} {finding}.",
)


def _parts(template: str) -> list[str]:
    """Cut a template into text and names: text, name, text, name, ..."""
    return template.replace("{", "\0").replace("}", "\0").split("\0")


_PARTS = tuple(map(_parts, _TEMPLATES))
_PLAIN_SHARE = 0.3  # of the sentences: those of the phrases
