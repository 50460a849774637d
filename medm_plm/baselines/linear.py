"""The strong simple rival: logistic regression on the words of the note and the codes of the visit.

Axes: examples, features (words, pairs of words and codes), labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from medm_plm.baselines.examples import VisitExample, stack_labels
from medm_plm.baselines.regression import choose_regularization, fit_labels, labels_to_choose_by
from medm_plm.errors import InputError

_MAX_TERMS = 50_000  # the most frequent words and pairs of words; more of them only cost time
_CODE_WEIGHT = 0.5  # length of the codes' half of a visit's vector, the note's being 1; best on the eICU demo
_SMALL_TRAINING_SET = 100


class _Setting(NamedTuple):
    """What validation visits choose: strength of regularisation, and whether pairs of words are read."""

    inverse_regularization: float
    use_pairs: bool


_DEFAULT = _Setting(inverse_regularization=3.0, use_pairs=True)
_GRID = (0.3, 1.0, 3.0, 10.0)


class LinearBaseline:
    """Predict each label by a logistic regression of its own.

    Notes are TF-IDF vectors of words and pairs of words with sublinear counts, codes are present or absent,
    and each half has a fixed length. A label that all or none of the training visits have gets its frequency.

    Args:
        use_note (`bool`, defaults to `True`): read the note.
        use_codes (`bool`, defaults to `True`): read the codes.

    Raises:
        InputError: if neither is read.
    """

    def __init__(self, use_note: bool = True, use_codes: bool = True) -> None:
        if not (use_note or use_codes):
            raise InputError("a linear baseline reads nothing", expected="the note, the codes or both")
        self.use_note = use_note
        self.use_codes = use_codes
        self.setting = _DEFAULT
        self._features = _Features(use_note, use_codes)
        self._frequencies: np.ndarray | None = None  # (labels,)
        self._learned = np.empty(0, np.int64)  # labels that have a regression
        self._coefficients = np.empty((0, 0))  # (features, learned labels)
        self._intercepts = np.empty(0)  # (learned labels,)

    def fit(self, train: Sequence[VisitExample], validation: Sequence[VisitExample] = ()) -> LinearBaseline:
        """Learn from training visits.

        Args:
            train (`Sequence[VisitExample]`): training visits.
            validation (`Sequence[VisitExample]`, *optional*): visits by whose log loss the regularisation and
                the use of pairs of words are chosen, on up to 20 labels from the frequent to the rare.

        Returns:
            The baseline itself.

        Raises:
            InputError: if there is no training visit, or visits differ in their number of labels.
        """
        labels = stack_labels(train)
        self._frequencies = labels.mean(axis=0)
        self._learned = np.flatnonzero((self._frequencies > 0) & (self._frequencies < 1))
        self._features = _Features(self.use_note, self.use_codes).fit(train)
        if self._features.size == 0:  # neither a word nor a code in training
            self._learned = self._learned[:0]
        chooses = len(validation) > 0 and self._learned.size > 0
        self.setting = self._choose(train, labels, validation) if chooses else _DEFAULT
        inputs = self._features.transform(train, self.setting.use_pairs)
        regularization = self.setting.inverse_regularization
        self._coefficients, self._intercepts = fit_labels(inputs, labels[:, self._learned], regularization)
        return self

    def predict_proba(self, examples: Sequence[VisitExample]) -> np.ndarray:
        """Predict the labels of visits.

        Args:
            examples (`Sequence[VisitExample]`): visits; their labels are not read.

        Returns:
            Probabilities `(examples, labels)`.

        Raises:
            InputError: if `fit` was not called.
        """
        if self._frequencies is None:
            raise InputError("the baseline has not been trained", remedy="call fit first")
        probabilities = np.tile(self._frequencies, (len(examples), 1))
        if examples and self._learned.size:
            inputs = self._features.transform(examples, self.setting.use_pairs)
            probabilities[:, self._learned] = _sigmoid(inputs @ self._coefficients + self._intercepts)
        return probabilities

    def _choose(
        self, train: Sequence[VisitExample], labels: np.ndarray, validation: Sequence[VisitExample]
    ) -> _Setting:
        chosen = labels_to_choose_by(labels, self._learned)
        truth = stack_labels(validation)
        if truth.shape[1] != labels.shape[1]:
            received = f"{truth.shape[1]} in validation"
            raise InputError("visits differ in their labels", received=received, expected=labels.shape[1])
        found = []
        for use_pairs in (True, False) if self.use_note else (False,):
            inputs = self._features.transform(train, use_pairs)
            held_out = self._features.transform(validation, use_pairs)
            loss, regularization = choose_regularization(
                inputs, labels[:, chosen], held_out, truth[:, chosen], _GRID
            )
            found.append((loss, _Setting(regularization, use_pairs)))
        return min(found, key=lambda one: one[0])[1]


class _Features:
    """Turn visits into vectors: the note's half and the codes' half side by side."""

    def __init__(self, use_note: bool, use_codes: bool) -> None:
        self._use_note = use_note
        self._use_codes = use_codes
        self._words: TfidfVectorizer | None = None
        self._codes: TfidfVectorizer | None = None
        self._is_single_word = np.empty(0, np.bool_)

    def fit(self, examples: Sequence[VisitExample]) -> _Features:
        """Learn the words, with their rarity, and the codes of the training visits."""
        if self._use_note:
            words = TfidfVectorizer(
                ngram_range=(1, 2),
                sublinear_tf=True,
                min_df=1 if len(examples) < _SMALL_TRAINING_SET else 2,
                max_features=_MAX_TERMS,
                dtype=np.float32,
            )
            self._words = _fit_if_anything(words, [example.note for example in examples])
        if self._words is not None:
            self._is_single_word = np.array([" " not in term for term in self._words.get_feature_names_out()])
        if self._use_codes:
            codes = TfidfVectorizer(analyzer=list, binary=True, use_idf=False, dtype=np.float32)
            self._codes = _fit_if_anything(codes, [example.codes for example in examples])
        return self

    @property
    def size(self) -> int:
        """Number of words, pairs of words and codes."""
        return sum(len(half.vocabulary_) for half in (self._words, self._codes) if half is not None)

    def transform(self, examples: Sequence[VisitExample], use_pairs: bool) -> csr_matrix:
        """Make vectors `(examples, features)`; words and codes unseen in training are left out."""
        halves = [csr_matrix((len(examples), 0), dtype=np.float32)]
        if self._words is not None:
            note = self._words.transform([example.note for example in examples])
            halves.append(note if use_pairs else normalize(note[:, self._is_single_word]))
        if self._codes is not None:
            halves.append(self._codes.transform([example.codes for example in examples]) * _CODE_WEIGHT)
        return hstack(halves, format="csr", dtype=np.float32)


def _fit_if_anything(vectorizer: TfidfVectorizer, documents: Sequence[object]) -> TfidfVectorizer | None:
    try:
        return vectorizer.fit(documents)
    except ValueError:  # no document has a term, or each term stands in one document only
        return None


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * scores))  # never overflows
