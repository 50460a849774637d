"""Clinical notes cut into sections by their headings."""

from medm_plm.data.sections.headings import SectionName
from medm_plm.data.sections.reader import ADMISSION_SECTIONS
from medm_plm.data.sections.splitter import Section, admission_sections, admission_text, split_sections

__all__ = [
    "ADMISSION_SECTIONS",
    "Section",
    "SectionName",
    "admission_sections",
    "admission_text",
    "split_sections",
]
