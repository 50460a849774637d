"""Chapters and blocks of ICD-10-CM, the American classification of diseases in use since 2015.

The table is that of the public tabular list of fiscal year 2026; where the list nests blocks, the narrowest
ones stand here, so that every diagnosis has the same number of steps to the root. Codes of earlier years fall
into the same ranges, since later editions have only added blocks (`C7A`, `U00-U49`, `QA0`) or widened them
(`I10-I1A`).
"""

import re

CHAPTERS: dict[str, tuple[str, str]] = {
    "A00-B99": (
        "Infectious and parasitic diseases",
        "A00-A09 A15-A19 A20-A28 A30-A49 A50-A64 A65-A69 A70-A74 A75-A79 A80-A89 A90-A99 B00-B09 B10-B10 "
        "B15-B19 B20-B20 B25-B34 B35-B49 B50-B64 B65-B83 B85-B89 B90-B94 B95-B97 B99-B99",
    ),
    "C00-D49": (
        "Neoplasms",
        "C00-C14 C15-C26 C30-C39 C40-C41 C43-C44 C45-C49 C50-C50 C51-C58 C60-C63 C64-C68 C69-C72 C73-C75 "
        "C76-C80 C7A-C7A C7B-C7B C81-C96 D00-D09 D10-D36 D37-D48 D3A-D3A D49-D49",
    ),
    "D50-D89": (
        "Diseases of the blood and blood-forming organs and disorders of the immune mechanism",
        "D50-D53 D55-D59 D60-D64 D65-D69 D70-D77 D78-D78 D80-D89",
    ),
    "E00-E89": (
        "Endocrine, nutritional and metabolic diseases",
        "E00-E07 E08-E13 E15-E16 E20-E35 E36-E36 E40-E46 E50-E64 E65-E68 E70-E88 E89-E89",
    ),
    "F01-F99": (
        "Mental, behavioral and neurodevelopmental disorders",
        "F01-F09 F10-F19 F20-F29 F30-F39 F40-F48 F50-F59 F60-F69 F70-F79 F80-F89 F90-F98 F99-F99",
    ),
    "G00-G99": (
        "Diseases of the nervous system",
        "G00-G09 G10-G14 G20-G26 G30-G32 G35-G37 G40-G47 G50-G59 G60-G65 G70-G73 G80-G83 G89-G99",
    ),
    "H00-H59": (
        "Diseases of the eye and adnexa",
        "H00-H05 H10-H11 H15-H22 H25-H28 H30-H36 H40-H42 H43-H44 H46-H47 H49-H52 H53-H54 H55-H57 H59-H59",
    ),
    "H60-H95": ("Diseases of the ear and mastoid process", "H60-H62 H65-H75 H80-H83 H90-H94 H95-H95"),
    "I00-I99": (
        "Diseases of the circulatory system",
        "I00-I02 I05-I09 I10-I1A I20-I25 I26-I28 I30-I5A I60-I69 I70-I79 I80-I89 I95-I99",
    ),
    "J00-J99": (
        "Diseases of the respiratory system",
        "J00-J06 J09-J18 J20-J22 J30-J39 J40-J4A J60-J70 J80-J84 J85-J86 J90-J94 J95-J95 J96-J99",
    ),
    "K00-K95": (
        "Diseases of the digestive system",
        "K00-K14 K20-K31 K35-K38 K40-K46 K50-K52 K55-K64 K65-K68 K70-K77 K80-K87 K90-K95",
    ),
    "L00-L99": (
        "Diseases of the skin and subcutaneous tissue",
        "L00-L08 L10-L14 L20-L30 L40-L45 L49-L54 L55-L59 L60-L75 L76-L76 L80-L99",
    ),
    "M00-M99": (
        "Diseases of the musculoskeletal system and connective tissue",
        "M00-M02 M04-M04 M05-M14 M15-M19 M20-M25 M26-M27 M30-M36 M40-M43 M45-M49 M50-M54 M60-M63 M65-M67 "
        "M70-M79 M80-M85 M86-M90 M91-M94 M95-M95 M96-M96 M97-M97 M99-M99",
    ),
    "N00-N99": (
        "Diseases of the genitourinary system",
        "N00-N08 N10-N16 N17-N19 N20-N23 N25-N29 N30-N39 N40-N53 N60-N65 N70-N77 N80-N98 N99-N99",
    ),
    "O00-O9A": (
        "Pregnancy, childbirth and the puerperium",
        "O00-O08 O09-O09 O10-O16 O20-O29 O30-O48 O60-O77 O80-O82 O85-O92 O94-O9A",
    ),
    "P00-P96": (
        "Conditions originating in the perinatal period",
        "P00-P04 P05-P08 P09-P09 P10-P15 P19-P29 P35-P39 P50-P61 P70-P74 P76-P78 P80-P83 P84-P84 P90-P96",
    ),
    "Q00-QA0": (
        "Congenital malformations, deformations and chromosomal abnormalities",
        "Q00-Q07 Q10-Q18 Q20-Q28 Q30-Q34 Q35-Q37 Q38-Q45 Q50-Q56 Q60-Q64 Q65-Q79 Q80-Q89 Q90-Q99 QA0-QA0",
    ),
    "R00-R99": (
        "Symptoms, signs and abnormal findings, not elsewhere classified",
        "R00-R09 R10-R19 R20-R23 R25-R29 R30-R39 R40-R46 R47-R49 R50-R69 R70-R79 R80-R82 R83-R89 R90-R94 "
        "R97-R97 R99-R99",
    ),
    "S00-T88": (
        "Injury, poisoning and other consequences of external causes",
        "S00-S09 S10-S19 S20-S29 S30-S39 S40-S49 S50-S59 S60-S69 S70-S79 S80-S89 S90-S99 T07-T07 T14-T14 "
        "T15-T19 T20-T25 T26-T28 T30-T32 T33-T34 T36-T50 T51-T65 T66-T78 T79-T79 T80-T88",
    ),
    "U00-U85": ("Codes for special purposes", "U00-U49"),
    "V00-Y99": (
        "External causes of morbidity",
        "V00-V09 V10-V19 V20-V29 V30-V39 V40-V49 V50-V59 V60-V69 V70-V79 V80-V89 V90-V94 V95-V97 V98-V99 "
        "W00-W19 W20-W49 W50-W64 W65-W74 W85-W99 X00-X08 X10-X19 X30-X39 X50-X50 X52-X58 X71-X83 X92-Y09 "
        "Y21-Y33 Y35-Y38 Y62-Y69 Y70-Y82 Y83-Y84 Y90-Y99",
    ),
    "Z00-Z99": (
        "Factors influencing health status and contact with health services",
        "Z00-Z13 Z14-Z15 Z16-Z16 Z17-Z17 Z18-Z18 Z19-Z19 Z20-Z29 Z30-Z39 Z40-Z53 Z55-Z65 Z66-Z66 Z67-Z67 "
        "Z68-Z68 Z69-Z76 Z77-Z99",
    ),
}
"""Range of each chapter: its title, and the ranges of its blocks separated by blanks."""

BLOCK_OF_CATEGORY: dict[str, str] = {"C4A": "C43-C44", "M1A": "M05-M14", "Z3A": "Z30-Z39"}
"""Categories printed in a block of the tabular list although the range in its heading misses them."""

_CATEGORY = re.compile("[A-Z][0-9][0-9A-Z]|QA[0-9]")


def category(code: str) -> str | None:
    """Return the category of a normalised ICD-10-CM code: `I50` for `I509`, `C4A` for `C4A0`.

    Returns:
        The first three characters, or None if the code does not begin like that.
    """
    match = _CATEGORY.match(code)
    return match.group() if match else None
