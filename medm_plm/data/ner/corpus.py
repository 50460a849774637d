"""One way to read a corpus, whatever its format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medm_plm.data.ner.i2b2 import CONCEPT_SUFFIX, read_i2b2
from medm_plm.data.ner.iob2 import SUFFIXES, read_iob2
from medm_plm.data.ner.sentences import Corpus
from medm_plm.errors import InputError

FORMATS = ("auto", "iob2", "i2b2")


def read_corpus(places: Sequence[str | Path], file_format: str = "auto") -> Corpus:
    """Read the sentences of some files or folders.

    Args:
        places (`Sequence[str]` or `Sequence[Path]`): files, or folders that are searched as a whole.
        file_format (`str`, defaults to `"auto"`): `iob2`, `i2b2`, or `auto`: i2b2 if there is a `.con` file.

    Returns:
        Sentences and counts.

    Raises:
        InputError: if a place does not exist, holds no corpus, or a file has another form.
    """
    paths = [Path(place) for place in places]
    for path in paths:
        if not path.exists():
            raise InputError("no such file or folder", file=path)
    if file_format == "auto":
        file_format = "i2b2" if any(_holds_annotations(path) for path in paths) else "iob2"
    if file_format == "i2b2":
        return read_i2b2(*paths)
    corpus = Corpus()
    for file in _iob2_files(paths):
        corpus.extend(read_iob2(file))
    return corpus


def _holds_annotations(path: Path) -> bool:
    files = path.rglob(f"*{CONCEPT_SUFFIX}") if path.is_dir() else [path]
    return any(file.suffix == CONCEPT_SUFFIX for file in files)


def _iob2_files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.name[0] != ".")
            if not inside:
                raise InputError("no corpus in the folder", file=path, expected=f"files {' '.join(SUFFIXES)}")
            files += inside
        else:
            files.append(path)
    if len({file.stem for file in files}) < len(files):
        raise InputError(
            "two files of one name",
            file=files[0].parent,
            remedy="rename one: predictions name sentences by file",
        )
    return files
