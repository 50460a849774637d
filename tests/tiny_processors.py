"""Small tokenizers for tests: WordPiece over few words, and codes with the ontology nodes above them."""

from transformers import BertTokenizer

from medm_plm.data.vocabulary import CodeVocabulary
from tokenization_medm_plm import MedMPLMCodeTokenizer, MedMPLMProcessor

DIAGNOSIS_CODES = (
    "ICD9CM:0389",
    "ICD9CM:4280",
    "ICD9CM:4282",
    "ICD9CM:E8500",
    "ICD9CM:V4581",
    "ICD10CM:I509",
)
MEDICATION_CODES = ("ATC:A02B", "ATC:B01A", "ATC:N02A")
TEXT_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECES = "the patient has fever and chest pain low ##er new ##ly mask cls unk sep pad a b c 1 5 . , - [ ] < >"


def tiny_vocabulary() -> CodeVocabulary:
    """Six diagnoses of two systems, three medications and the nodes above them."""
    return CodeVocabulary.from_codes(DIAGNOSIS_CODES, MEDICATION_CODES)


def tiny_code_tokenizer(**options) -> MedMPLMCodeTokenizer:
    """A code tokenizer over the tiny vocabulary."""
    vocabulary = tiny_vocabulary()
    return MedMPLMCodeTokenizer(list(vocabulary.tokens), num_codes=vocabulary.num_codes, **options)


def tiny_text_tokenizer(**options) -> BertTokenizer:
    """An uncased BERT tokenizer that knows few words."""
    tokens = [*TEXT_SPECIAL_TOKENS, *PIECES.split()]
    return BertTokenizer(vocab={token: index for index, token in enumerate(tokens)}, **options)


def tiny_processor() -> MedMPLMProcessor:
    """A processor of both."""
    return MedMPLMProcessor(tiny_text_tokenizer(), tiny_code_tokenizer())
