"""Corpora of named entity recognition: the i2b2 layout with its traps, IOB2 files, splits by document."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medm_plm.data.ner import Sentence, label_names, read_corpus, split_off_documents
from medm_plm.data.ner.i2b2 import read_i2b2
from medm_plm.data.ner.iob2 import read_iob2
from medm_plm.data.ner.sentences import labels_of_spans
from medm_plm.errors import InputError

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "ner"
I2B2 = FIXTURES / "i2b2"


def entities(sentences: list[Sentence]) -> list[tuple[str, int, str, str]]:
    """Document, line, kind and words of each entity."""
    found = []
    for sentence in sentences:
        for token, label in zip(sentence.tokens, sentence.labels, strict=True):
            if label[0] == "B":
                found.append([sentence.document_id, sentence.number, label[2:], token])
            elif label[0] == "I":
                found[-1][-1] += f" {token}"
    return [tuple(entity) for entity in found]


@pytest.fixture
def corpus_copy(tmp_path) -> Path:
    return Path(shutil.copytree(I2B2, tmp_path / "i2b2"))


def test_entities_of_the_i2b2_layout():
    """Upper case, quotation marks, an entity over two lines, double blanks, a form feed, two sites."""
    corpus = read_i2b2(I2B2)
    assert entities(corpus.sentences) == [
        ("hill/txt/note-1", 3, "problem", "a Mild Fever"),
        ("hill/txt/note-1", 3, "problem", 'a "dry" cough'),
        ("hill/txt/note-1", 3, "problem", "severe chest pain"),
        ("hill/txt/note-1", 3, "treatment", "aspirin 81 mg"),
        ("lake/txt/note-1", 1, "test", "Chest x-ray"),
        ("lake/txt/note-1", 1, "problem", "acute disease"),
    ]
    assert corpus.counts == {
        "entities_not_at_their_place": 2,
        "entities_overlapping_a_longer_one": 1,
        "lines_joined_by_an_entity": 1,
        "texts_without_annotations": 1,
    }
    numbers = [(sentence.document_id[:4], sentence.number) for sentence in corpus.sentences]
    assert numbers == [("hill", 1), ("hill", 3), ("lake", 1), ("lake", 2)]
    words = [word for sentence in corpus.sentences for word in sentence.tokens]
    texts = [(I2B2 / site / "txt" / "note-1.txt").read_text() for site in ("hill", "lake")]
    assert words == " ".join(texts).split()


def test_texts_and_annotations_may_lie_in_two_folders(corpus_copy):
    annotations = corpus_copy.parent / "annotations"
    (corpus_copy / "hill" / "concept").rename(annotations)
    corpus = read_i2b2(corpus_copy / "hill", annotations)
    assert len(entities(corpus.sentences)) == 4


def test_annotations_without_their_text_stop_the_reading(corpus_copy):
    (corpus_copy / "hill" / "txt" / "note-1.txt").rename(corpus_copy / "hill" / "txt" / "other.txt")
    (corpus_copy / "lake" / "txt" / "note-1.txt").unlink()
    with pytest.raises(InputError, match=r"note-1\.con: annotations without their text"):
        read_i2b2(corpus_copy)


def test_texts_that_cannot_be_told_apart_stop_the_reading(corpus_copy):
    (corpus_copy / "lake" / "concept").rename(corpus_copy / "concept")
    with pytest.raises(InputError, match=r"not clear|two annotation files"):
        read_i2b2(corpus_copy)


def test_texts_of_another_release_stop_the_reading(corpus_copy):
    (corpus_copy / "hill" / "txt" / "note-1.txt").write_text("quite another text\n")
    with pytest.raises(InputError, match="no entity stands where its annotation says"):
        read_i2b2(corpus_copy / "hill")


def test_a_line_that_cannot_be_understood_is_named_and_not_shown(corpus_copy):
    path = corpus_copy / "hill" / "concept" / "note-1.con"
    path.write_text('c="fine" 1:0 1:0||t="problem"\n\nc="secret words" 3:x||t="problem"\n')
    with pytest.raises(InputError, match="row 3: the line cannot be understood") as refusal:
        read_i2b2(corpus_copy)
    assert "secret" not in str(refusal.value)


def test_a_folder_without_annotations_is_no_corpus():
    with pytest.raises(InputError, match=r"no annotated document; received 1 \.txt files"):
        read_i2b2(I2B2 / "unannotated")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=6))
def test_of_overlapping_spans_the_longer_ones_stay(pairs):
    spans = [(first, min(9, first + more), "k") for first, more in pairs]
    labels, left_out = labels_of_spans(10, spans)
    kept, free = [], set(range(10))  # slow reference
    for first, last, _ in sorted(set(spans), key=lambda s: (s[0] - s[1], s[0])):
        if set(range(first, last + 1)) <= free:
            free -= set(range(first, last + 1))
            kept.append((first, last))
    expected = ["O"] * 10
    for first, last in kept:
        for index in range(first, last + 1):
            expected[index] = "B-k" if index == first else "I-k"
    assert list(labels) == expected
    assert left_out == len(set(spans)) - len(kept)


def test_iob2_files_with_documents():
    corpus = read_iob2(FIXTURES / "sentences.tsv")
    assert [(s.document_id, s.number, len(s.tokens)) for s in corpus.sentences] == [
        ("sentences:1", 1, 5),
        ("sentences:1", 2, 2),
        ("sentences:2", 3, 4),
    ]
    assert corpus.sentences[2].labels == ("B-Chemical", "I-Chemical", "O", "B-Disease")
    assert corpus.counts == {"labels_i_without_b": 1}
    assert label_names(corpus.sentences) == ["O", "B-Chemical", "I-Chemical", "B-Disease", "I-Disease"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("a O\nb B-x\n", [("a", "b")]),
        ("\ufeffa\tO\r\n\r\nb\tO\r\n", [("a",), ("b",)]),
        ("a\tNN\tx\tO\n\n\n\nb\tNN\ty\tB-x", [("a",), ("b",)]),
        ("a\x0cb\tO\n\u00a0\tO\n", [("a\x0cb", "\u00a0")]),
    ],
)
def test_forms_of_iob2_files(text, sentences, tmp_path):
    path = tmp_path / "some.conll"
    path.write_bytes(text.encode())
    found = read_iob2(path).sentences
    assert [sentence.tokens for sentence in found] == sentences
    assert {sentence.document_id for sentence in found} == {"some"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tO\nsecret\n", "row 2: a word or its label is missing; received 1 columns"),
        ("a\tO\n\tO\n", "row 2: a word or its label is missing"),
        ("a\tO\nsecret\tS-x\n", "row 2: the label is none of the IOB2 scheme"),
        ("a\tO\nsecret\tB-\n", "row 2: the label is none of the IOB2 scheme"),
        ("\n \n", "holds no sentence"),
    ],
)
def test_mistakes_in_iob2_files_are_named_and_not_shown(text, message, tmp_path):
    path = tmp_path / "some.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as refusal:
        read_iob2(path)
    assert "secret" not in str(refusal.value)


def test_bytes_that_are_no_text_are_found(tmp_path):
    path = tmp_path / "some.tsv"
    path.write_bytes(b"a\tO\n\xe9\tO\n")
    with pytest.raises(InputError, match="row 2: no UTF-8 text"):
        read_iob2(path)


def test_the_format_is_found_out():
    assert read_corpus([I2B2]).counts == read_i2b2(I2B2).counts
    assert len(read_corpus([FIXTURES / "sentences.tsv"]).sentences) == 3
    with pytest.raises(InputError, match="no such file"):
        read_corpus([FIXTURES / "nowhere"])
    with pytest.raises(InputError, match="no annotated document"):
        read_corpus([FIXTURES / "sentences.tsv"], "i2b2")
    with pytest.raises(InputError, match="two files of one name"):
        read_corpus([FIXTURES / "sentences.tsv", FIXTURES / "sentences.tsv"])


def invent(documents: int, sentences: int) -> list[Sentence]:
    return [
        Sentence(f"d{document}", number, ("a",), ("O",))
        for document in range(documents)
        for number in range(sentences)
    ]


def test_documents_are_split_as_a_whole():
    sentences = invent(200, 3)
    kept, split_off = split_off_documents(sentences, 0.1, seed=0)
    assert not {s.document_id for s in kept} & {s.document_id for s in split_off}
    assert sorted(kept + split_off, key=sentences.index) == sentences
    assert 10 <= len(split_off) / 3 <= 35
    again = split_off_documents(sentences[::-1], 0.1, seed=0)[1]
    assert {s.document_id for s in again} == {s.document_id for s in split_off}
    assert split_off_documents(sentences, 0.1, seed=1)[1] != split_off


def test_a_file_without_documents_is_cut_once():
    sentences = invent(1, 50)
    kept, split_off = split_off_documents(sentences, 0.1, seed=0)
    assert kept + split_off == sentences
    assert len(split_off) == 5
    with pytest.raises(InputError, match="--ner_validation"):
        split_off_documents(sentences[:3], 0.1, seed=0)


@pytest.mark.parametrize(
    ("file", "sentences", "tokens", "kinds"),
    [
        ("ner-bc5cdr/train.tsv", 4560, 118170, {"Chemical": 5203, "Disease": 4182}),
        ("ner-bc5cdr/devel.tsv", 4581, 117453, {"Chemical": 5347, "Disease": 4246}),
        ("ner-ncbi-disease/train.tsv", 5424, 135701, {"Disease": 5134}),
        ("ner-ncbi-disease/devel.tsv", 923, 23969, {"Disease": 787}),
    ],
)
def test_published_corpora_are_read_as_counted(file, sentences, tokens, kinds, test_data_folder):
    corpus = read_corpus([test_data_folder / file])
    labels = [label for sentence in corpus.sentences for label in sentence.labels]
    assert (len(corpus.sentences), len(labels)) == (sentences, tokens)
    assert {kind: labels.count(f"B-{kind}") for kind in kinds} == kinds
    assert not corpus.counts


def test_the_layout_of_the_licensed_corpus_is_read_as_a_whole(test_data_folder):
    folder = test_data_folder / "i2b2-2010-synthetic"
    train = read_corpus([folder / "concept_assertion_relation_training_data"])
    test = read_corpus([folder / "test_data", folder / "reference_standard_for_test_data"])
    assert {s.document_id for s in train.sentences} == {"beth/txt/record-901", "partners/txt/record-902"}
    assert (len(entities(train.sentences)), len(entities(test.sentences))) == (14, 5)
    assert not train.counts
    assert not test.counts


def test_an_entity_without_its_beginning_gets_one(tmp_path):
    path = tmp_path / "some.tsv"
    path.write_text("a\tB-x\nb\tI-y\nc\tI-y\nd\tO\ne\tI-y\n")
    corpus = read_iob2(path)
    assert corpus.sentences[0].labels == ("B-x", "B-y", "I-y", "O", "B-y")
    assert corpus.counts == {"labels_i_without_b": 2}
