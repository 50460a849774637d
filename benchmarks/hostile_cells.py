"""Hostile content of cells: what stands in real exports where it should not, and what nobody should write.

Every text carries a sentinel, every long number another, so that a cell that turns up in a message, a log
or a report is found there.
"""

from __future__ import annotations

import random

SENTINEL = "ZQX9"  # begins every generated text; looked for in any letter case
NUMBER = "70717273"  # stands in every generated number of more than a few digits
LONGEST_CODE, LONGEST_DRUG, LONGEST_NOTE = 10_000, 1_000_000, 5_000_000  # characters

ROLE_OF_COLUMN = {
    **dict.fromkeys(("subject_id", "hadm_id", "uniquepid", "patientunitstayid"), "id"),
    **dict.fromkeys(
        ("dob", "admittime", "dischtime", "deathtime", "startdate", "starttime", "chartdate", "charttime",
         "admission_time", "discharge_time", "start_time", "note_time", "time"),
        "time",
    ),
    **dict.fromkeys(
        ("seq_num", "row_id", "anchor_age", "anchor_year", "position", "age", "note_seq", "unitvisitnumber",
         "patienthealthsystemstayid", "hospitaldischargeyear", "diagnosisoffset", "drugstartoffset",
         "admitdxenteredoffset", "pasthistoryoffset", "allergyoffset", "noteoffset", "physicalexamoffset"),
        "number",
    ),
    **dict.fromkeys(("icd9_code", "icd_code", "icd9code", "code", "atc", "drughiclseqno"), "code"),
    **dict.fromkeys(("drug", "drugname"), "drug"),
    "ndc": "ndc",
    **dict.fromkeys(("text", "text_value", "notetext", "physicalexamtext", "pasthistoryvaluetext"), "note"),
    **dict.fromkeys(("iserror", "hospital_expire_flag", "died_in_hospital", "icd_version", "system"), "flag"),
}  # fmt: skip


class Cells:
    """Makes hostile cells, each with a sentinel that no other cell has.

    Args:
        random_numbers (`random.Random`): chooses; the same state gives the same cells.
    """

    def __init__(self, random_numbers: random.Random) -> None:
        self._random = random_numbers
        self._number = 0

    def mark(self) -> str:
        """Give a new sentinel."""
        self._number += 1
        return f"{SENTINEL}{self._number}E"

    def of(self, role: str) -> str:
        """Give a cell for a column.

        Args:
            role (`str`): a value of `ROLE_OF_COLUMN`; any other for a column of short texts.

        Returns:
            Its text.
        """
        makers = {
            "id": self.identifier,
            "time": self.time,
            "number": self.number,
            "code": self.code,
            "ndc": self.ndc,
            "drug": self.drug,
            "note": self.note,
        }
        return makers.get(role, self.text)()

    def wrong(self) -> str:
        """Give a cell of any other kind."""
        return self._random.choice(
            (self.identifier, self.time, self.number, self.code, self.ndc, self.text)
        )()

    def identifier(self) -> str:
        """Give a number of a patient or visit."""
        mark = self.mark()
        return self._random.choice((
            "", "  ", mark, f" {mark} ", f"../../{mark}", f"{mark}/{mark}\\{mark}", f"/{mark}", f"é{mark}ß",
            f"\u202e{mark}", f"\u200b{mark}\u200b", f"{mark}😀", f"{NUMBER}.0", f"{NUMBER * 5}", "1e308",
            "NaN",
            "inf", f"-{NUMBER}", "null", "None", "0", f"{mark}\x1f", f"{mark}\t", mark * 300,
            f"{mark},{mark}",
            f'{mark}"{mark}', f"{mark}\n{mark}", f"\ufeff{mark}", f"{mark}\u2028", f"%s{mark}{{0}}",
        ))  # fmt: skip

    def time(self) -> str:
        """Give a time that is none, is ambiguous or lies beyond every calendar."""
        mark = self.mark()
        year = self._random.choice(("0000", "0001", "1677", "1900", "2100", "2262", "9999"))
        return self._random.choice((
            "", f"{year}-02-29", f"{year}-01-01 00:00:00", f"{year}-12-31 23:59:59", "2100-01-01 24:00:00",
            "2100-06-01 23:59:60", "2100-13-45", "01/02/2103", "2100-01-01T00:00:00+05:00",
            "2100-01-01 00:00:00Z", "-0001-01-01", "-9999-01-01 00:00:00", "+262142-01-01", "99999-01-01",
            "262143-12-31 23:59:59", "-262143-01-01", "\uff12\uff11\uff10\uff10-01-01", "2100-1-1",
            f"2100-01-01 {mark}",
            mark, "1e308", "NaN", NUMBER, "2100-01-01 00:00:00.999999999", "0", "2100-06-31",
        ))  # fmt: skip

    def number(self) -> str:
        """Give a number that does not fit, or none."""
        return self._random.choice((
            "", "1e308", "-1e308", "1e309", "NaN", "-nan", "inf", "-inf", "1e-320", NUMBER * 5,
            f"-{NUMBER * 5}",
            "9223372036854775807", "9223372036854775808", "-9223372036854775808", "1.0", "-1", "0x10", "1,5",
            "\uff11\uff12", "1_000", "+5", "1e19", "9.3e18", "> 89", ">89", "-0.0", f"{NUMBER}.5",
            self.mark(),
        ))  # fmt: skip

    def code(self) -> str:
        """Give a code of any shape."""
        mark = self.mark()
        return self._random.choice((
            "", " . ", "..", "428.0", "v10", "e850.4", f"😀{mark}", f"=1+1{mark}", mark, mark.lower(), ":",
            f"ICD9CM:{mark}", f"a:b:{mark}", "[PAD]", "[UNK]", f"[CLS]{mark}", f"\u202e{mark}", f"\n{mark}",
            f'"{mark}', f"-{mark}", "0", "000", "00000000",
            f"ß{mark}", f"İ{mark}", f"ŉ{mark}", f"{mark}.{mark}",
            f"{mark}, 401.9", "401.9, I10", "I10", "A" * 40, f"\x00{mark}", f"N02A{mark}", "N02A", "n02be01",
            f"@SUM({mark})", f"\u0345{mark}", f"{mark}\u3000", mark + "x" * LONGEST_CODE, f"//{mark}",
            f"{mark}//",
        ))  # fmt: skip

    def ndc(self) -> str:
        """Give a package number of any shape."""
        return self._random.choice((
            "", "0", "00000000000", "12345-6789-01", "1234-5678-90", "12345678901", "1234567890",
            "12345-678-9",
            "1-2-3", "-", "--", "1e10", f"{NUMBER}901", f"{NUMBER * 9}", f"{NUMBER}.0", f"-{NUMBER}", "NaN",
            "\uff11\uff12\uff13" * 4, self.mark(), "*" * 11, f"{NUMBER}*01", "1234 5678 901",
        ))  # fmt: skip

    def drug(self) -> str:
        """Give a drug string."""
        mark = self.mark()
        return self._random.choice((
            "", "Heparin", f"Heparin {mark}", f"heparin\n{mark}", f"{mark} 5,000 UNIT/ML *NF*", "0.9% NaCl",
            f"({mark}", f"[{mark}", f"{mark})*+?", f"=cmd|'{mark}'!A0", f"<script>{mark}</script>", "/",
            "-", "\\",
            f"{mark}" * 40, f"{'(' * 500}{mark}", f"{'a ' * 2000}{mark}", f"é{mark}", "NULL", "&nbsp;", "%",
            f"{mark}\x00", f"\u202eniraperin{mark}", f"😀{mark}", "Insulin", "furosemide 40 mg tab",
        ))  # fmt: skip

    def note(self) -> str:
        """Give a note."""
        mark = self.mark()
        return self._random.choice((
            "", f"[**{mark}", f"[**{mark}**", f"**]{mark}[**", "[**" * 3000 + mark,
            f"[PAD] [CLS] [MASK] [SEP] {mark}",
            f"\u05d0\u05d1\u05d2 \u202e{mark}\u202c \u0627\u0644", f"{mark}\x00\x01\x02\x7f\x85",
            f"\n\n\n{mark}\r\n\r",
            f"=HYPERLINK({mark})", f"</td><script>{mark}</script>", f"{mark} " * 3000, "1. " * 3000 + mark,
            f"Admission Date: {mark}\nDischarge Medications:\n1. {mark}", f"{mark}:\n" * 500,
            "-" * 20_000 + mark,
            f"HISTORY OF PRESENT ILLNESS: {mark}\n\nDISCHARGE DIAGNOSIS: {mark}", f"\u0301{mark}\u0301" * 50,
            f'"{mark}" said, "well"', f"😀{mark}", "\u2028" + mark, "a" * 60_000 + mark, " ", f"ŉİß{mark}",
        ))  # fmt: skip

    def text(self) -> str:
        """Give the content of a short column, such as a kind of admission or a flag."""
        mark = self.mark()
        return self._random.choice((
            "", mark, "1", "0", "yes", "No", "1.0", "9", "10", "11", "ICD9CM", "icd-10-cm", f"é{mark}",
            "\u202e" + mark,
            f"{mark}\n{mark}", f"{mark}|{mark}", "EMERGENCY", "discharge summary", "DS", "AD", "expired",
            "NaN",
            f"{NUMBER * 5}", f"<b>{mark}</b>", f"{mark};" * 30, "notes/Progress Notes/" + mark,
            "|" * 200 + mark,
        ))  # fmt: skip
