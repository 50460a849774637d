"""Readers of corpora for named entity recognition: sentences of words, each with an IOB2 label."""

from medm_plm.data.ner.corpus import FORMATS, read_corpus
from medm_plm.data.ner.sentences import Corpus, Sentence, label_names, split_off_documents

__all__ = ["FORMATS", "Corpus", "Sentence", "label_names", "read_corpus", "split_off_documents"]
