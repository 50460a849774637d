"""Wordings of the invented discharge summaries that belong to no single condition, drug or fact."""

from collections.abc import Mapping

HEADINGS: Mapping[str, tuple[str, ...]] = {
    "allergies": ("Allergies:", "ALLERGIES:", "Allergies/Intolerances:"),
    "complaint": ("Chief Complaint:", "CHIEF COMPLAINT:", "Reason for Admission:"),
    "present": ("History of Present Illness:", "HISTORY OF PRESENT ILLNESS:", "HPI:"),
    "past": ("Past Medical History:", "PAST MEDICAL HISTORY:", "PMH:"),
    "social": ("Social History:", "SOCIAL HISTORY:"),
    "family": ("Family History:", "FAMILY HISTORY:"),
    "home": ("Medications on Admission:", "MEDICATIONS ON ADMISSION:", "Home Medications:"),
    "results": ("Pertinent Results:", "LABORATORY DATA:"),
    "course": ("Brief Hospital Course:", "HOSPITAL COURSE:", "Hospital Course:"),
    "condition": ("Discharge Condition:", "CONDITION ON DISCHARGE:"),
    "followup": ("Followup Instructions:", "FOLLOW-UP:", "Discharge Instructions:"),
}

# Orders of the sections between the header and the end; MIMIC's vary by author and year.
SECTION_ORDERS: tuple[tuple[str, ...], ...] = (
    (
        "allergies",
        "complaint",
        "present",
        "past",
        "social",
        "family",
        "home",
        "results",
        "course",
        "condition",
        "followup",
    ),
    (
        "complaint",
        "present",
        "past",
        "home",
        "allergies",
        "social",
        "family",
        "course",
        "results",
        "condition",
        "followup",
    ),
    ("allergies", "complaint", "present", "past", "home", "course", "social", "condition", "followup"),
    ("complaint", "present", "course", "past", "allergies", "social", "home", "condition", "followup"),
    (
        "condition",
        "followup",
        "allergies",
        "complaint",
        "present",
        "past",
        "social",
        "home",
        "family",
        "course",
    ),
)

COMPLAINTS: Mapping[str, tuple[str, ...]] = {
    "cardiac": (
        "chest pain",
        "dyspnea on exertion",
        "shortness of breath",
        "lower extremity edema",
        "lightheadedness",
    ),
    "pulmonary": ("cough", "shortness of breath", "dyspnea", "hypoxia", "fever and cough"),
    "infection": ("fever", "chills", "malaise", "fever and hypotension"),
    "renal": ("decreased urine output", "weakness", "abnormal labs", "malaise"),
    "hematologic": ("fatigue", "weakness", "abnormal labs"),
    "endocrine": ("fatigue", "weakness", "nausea", "abnormal labs"),
    "psychiatric": ("altered mental status", "agitation", "found down"),
    "neurologic": ("weakness", "altered mental status", "slurred speech", "found down"),
    "gastrointestinal": ("abdominal pain", "nausea and vomiting", "diarrhea", "dark stools"),
    "musculoskeletal": ("pain", "fall", "leg pain", "difficulty walking"),
    "oncologic": ("fatigue", "weight loss", "pain", "fever"),
}

DENIALS = (
    "No evidence of {}.",
    "Ruled out for {}.",
    "{} was considered but excluded.",
    "Denies any history of {}.",
    "Workup was negative for {}.",
    "No {}.",
    "Never had {}.",
)
RELATIVES = (
    "Father with {}.",
    "Mother with {}.",
    "Brother has {}.",
    "Sister had {}.",
    "Father died of {}.",
    "Several relatives with {}.",
)
NO_FAMILY = ("Noncontributory.", "No family history of note.", "Unknown.", "NC")
NO_ALLERGIES = (
    "No Known Allergies / Adverse Drug Reactions",
    "NKDA",
    "Patient recorded as having no known allergies",
)
TOLERATED = (
    "tolerated penicillins without reaction",
    "no problems with ACE inhibitors",
    "takes NSAIDs safely",
    "no reaction to sulfa in the past",
    "statin well tolerated",
    "never had trouble with beta blockers",
    "cough on lisinopril was ruled out",
    "benzodiazepines were tolerated before",
)

PRESENTED = (
    "{age} year old {person} who presents with {complaint}.",
    "This is a {age} y/o {sex} presenting with {complaint} for {days} days.",
    "Pt is a {age}yo {sex} with {complaint} over the past {days} days.",
    "The patient is a {age} year-old {person} admitted from home with {complaint}.",
    "{age} {sex} transferred from [**Hospital 1459**] with {complaint}.",
)
BACKGROUND = ("Background of {}.", "Known for {}.", "History significant for {}.", "PMH of {}.")
TREATED = (
    "Treated for {}.",
    "Found to have {}.",
    "The stay was notable for {}.",
    "Course complicated by {}.",
    "Admitted with {}.",
    "Imaging and labs were consistent with {}.",
    "Managed for {} per protocol.",
)
HINTED = (
    "Concern for {}, treated as ordered.",
    "Evaluated for {}.",
    "Therapy was given for {}.",
    "Noted to have {}.",
    "Symptoms attributed to {}.",
)
FILLERS = (
    "Vital signs remained stable.",
    "Seen by physical therapy.",
    "Tolerated a regular diet.",
    "Code status was discussed with the patient.",
    "The patient was transferred to the floor in good order.",
    "Electrolytes were followed daily.",
    "Remained afebrile before discharge.",
    "Home regimen reviewed with pharmacy.",
    "The case was discussed with Dr. [**Last Name (STitle) 2819**].",
)
RESULTS = (
    "WBC-{a:.1f} Hgb-{b:.1f} Plt-{c}",
    "Na-{d} K-{e:.1f} Creat-{f:.1f}",
    "CXR: no change from prior.",
    "ECG: sinus rhythm, rate {g}.",
    "UA negative.",
    "Lactate-{h:.1f}",
)
CONDITIONS_AT_DISCHARGE = ("Stable.", "Fair.", "Good.", "Alert and oriented, stable.")
FOLLOWUPS = (
    "Follow up with Dr. [**Name (NI) 1022**] in {weeks} weeks.",
    "Call [**Telephone/Fax (1) 3201**] for an appointment.",
    "Return for worsening symptoms.",
    "Appointment with the PCP on [**{month}-{day}**].",
)
DEATHS = ("Expired.", "The patient was made comfortable and expired.", "Deceased.")
SEE_LIST = ("See attached list.", "As per OMR.", "Unable to obtain.")
REPORTS = (
    "CHEST (PORTABLE AP) FINAL REPORT. Lines and tubes in expected position.",
    "CT HEAD W/O CONTRAST. No acute process. Stable appearance.",
    "ABDOMEN U.S. Limited study, unchanged.",
)
# What the discharge changes; nothing but the next visit's prescriptions shows it elsewhere.
STARTS = ("Start {new} after discharge.", "Will begin {new}.", "{new} to be added by the PCP.")
STOPS = ("Stop {old}.", "{old} discontinued.", "Do not resume {old}.")
EXCHANGES = ("Stop {old}, start {new}.", "{old} replaced by {new}.", "Switched from {old} to {new}.")
