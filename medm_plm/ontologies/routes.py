"""Routes of administration: hospital spellings brought to the few groups that can decide an ATC class."""

import re
from collections.abc import Iterable

# Group -> words that mean it in a route column. Where words of several groups meet ("Per NG tube (oral)",
# "Tracheal Tube"), the group listed first wins: a place on the body says more than the way of getting there.
ROUTE_WORDS: dict[str, str] = {
    "eye": "EYE EYES OU OD OS OP OPH OPT",
    "ear": "EAR EARS OT AU AD AS",
    "nose": "NASAL NAS NASL NU NARE NARES NOSTRIL NOSTRILS INTRANASAL",
    "mouth": "SWISH RINSE MT MM MTHW MOUTH THROAT ORALTOP MUCOSA MUCOUS DENTAL GARGLE SWAB GUMS",
    "vagina": "VG VA PV",
    "rectum": "PR RE RC REC RTL ENEMA",
    "lung": "IH IN INH NEB NEBS SVN ET ETT HHN MDI IPV RESP AEROSOL TRACHEAL",
    "spine": "ED EPI IT PERIPHNERVE NERVE CAUDAL",
    "patch": "TD PATCH TDERM",
    "lock": "DWELL FLUSH LOCK LOK DIAL CATHETER INTERCATHETER REPLACE CRRT MACHINE",
    "irrigation": "IR BLADDER IVES INTRAVESICAL",
    "skin": "TP TOP EX EXT EXTERNAL SKIN CUTANEOUS",
    "vein": "IV PB PCA IO CVC PICC CENTRAL PERIPH",
    "injection": "IM SC SQ SUB-Q SUBQ IJ INJ ID IDRM IA IART INFILTRATION PARENTERAL",
    "oral": "PO ORAL ORALLY NG NGT OG OGT SL PEG GT FT TF JT DHT TUBE GASTRIC ENTERIC FEEDING CHEWED",
}
# Beginnings are enough for the long words, which sources cut at ten or twelve letters.
ROUTE_STEMS: dict[str, str] = {
    "eye": "OPHTH OPTH",
    "vagina": "VAG",
    "rectum": "RECT",
    "lung": "INH NEBUL",
    "spine": "INTRATHEC EPID",
    "patch": "TRANSD",
    "lock": "DIALYS HEMODIAL INTRACATH INTRALUM",
    "irrigation": "IRR",
    "skin": "TOP",
    "vein": "IV INTRAVEN INTRAOSS",
    "injection": "SUBCU INTRAMUS INTRADERM INTRAART INJ",
    "oral": "SUBLING BUCC NASOGAST GTUB JTUB NGTUB PEGTUB CHEW",
}
# Group -> words that mean it inside a drug string: dosage forms and the two-letter routes of order names.
FORM_WORDS: dict[str, str] = {
    "eye": "OPHTH OPTH OPHT OPHTHALMIC OP EYE",
    "ear": "OTIC EAR OT",
    "nose": "NASAL NOSE",
    "mouth": "MOUTHWASH MWSH RINSE SWISH TROCHE LOZENGE LOZENGES MT MM MOUTH",
    "vagina": "VAG VAGINAL VA",
    "rectum": "RECTAL RECT RE SUPP SUPPS SUPPOSITORY ENEMA ENEM",
    "lung": "NEB NEBU NEBULIZER INHALER INHALATION INHALED INHL INH HFA MDI AERS AEPB DISKUS RESPULE NEBS",
    "spine": "EPIDURAL INTRATHECAL",
    "patch": "PATCH PTCH PTMD PT24 PT72 TRANSDERMAL TD",
    "lock": "DWELL",
    "irrigation": "IRRIGATION IRRIG",
    "skin": "CREAM CREA OINT OINTMENT LOTION LOTN TOPICAL TOP EX EXTERNAL SHAMPOO",
    "vein": "IV IVPB PGBK PIGGYBACK PIGGY INTRAVENOUS INFUSION DRIP BOLUS",
    "injection": "INJ IJ INJECTION SOLR SDV MDV AMP AMPUL AMPULE SC SUBQ SUBCUTANEOUS IM VIAL",
    "oral": "TAB TABS TABLET TABLETS CAP CAPS CAPSULE CAPSULES PO ORAL SYRUP ELIXIR CHEW CHEWABLE "
    "TBEC TBCR TB24 TB12 TBDP SL SUBL",
}
ROUTE_GROUPS = tuple(ROUTE_WORDS)
# A group without a class of its own is looked up as the wider one.
WIDER_GROUP = {
    "vein": "injection",
    "spine": "injection",
    "lock": "injection",
    "patch": "skin",
    "mouth": "oral",
}

_WORD = re.compile(r"[A-Z]+(?:-[A-Z]\b)?")
_RANK = {group: rank for rank, group in enumerate(ROUTE_GROUPS)}


def _invert(words_of_group: dict[str, str]) -> dict[str, str]:
    return {word: group for group, words in words_of_group.items() for word in words.split()}


_GROUP_OF_ROUTE_WORD = _invert(ROUTE_WORDS)
_GROUP_OF_STEM = _invert(ROUTE_STEMS)
_GROUP_OF_FORM_WORD = _invert(FORM_WORDS)


def route_group(route: str | None) -> str | None:
    """Tell by which door a medication entered the body, as far as ATC cares.

    Args:
        route (`str`, *optional*): route as recorded, such as `"PO/NG"`, `"IVPB"` or `"LEFT EYE"`.

    Returns:
        One of `ROUTE_GROUPS`, or `None` for a missing or unknown route.
    """
    words = _WORD.findall((route or "").upper().replace("INTRA-", "INTRA"))
    return _first_group(_group_of_route_word(word) for word in words)


def form_group(words: Iterable[str]) -> str | None:
    """Tell the route group from the upper-case words of a drug string, such as `OPHTH`, `PTCH` or `TBEC`."""
    return _first_group(_GROUP_OF_FORM_WORD.get(word) for word in words)


def _group_of_route_word(word: str) -> str | None:
    if word in _GROUP_OF_ROUTE_WORD:
        return _GROUP_OF_ROUTE_WORD[word]
    return next((group for stem, group in _GROUP_OF_STEM.items() if word.startswith(stem)), None)


def _first_group(groups: Iterable[str | None]) -> str | None:
    return min((group for group in groups if group), key=_RANK.__getitem__, default=None)
