"""From a file of visits to a file of predictions, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from medm_plm.data.files import write_private
from medm_plm.errors import InputError
from medm_plm.prediction.reading import ID_FIELDS, Example
from medm_plm.prediction.writing import open_writer
from pipeline_medm_plm import MedMPLMVisitPipeline

EXAMPLES_AT_A_TIME = 1024
"""So many are sorted by length before they are cut into batches."""
OUTCOME_COLUMNS = {"probability": float, "decision": bool}
CODE_COLUMNS = {"code": str, "title": str, "title_of": str, **OUTCOME_COLUMNS}


@dataclass
class Summary:
    """What was predicted.

    Args:
        examples (`int`): visits or patients.
        rows (`int`): rows of the file.
        counts (`dict[str, int]`): what the code tokenizer counted, see its `statistics`.
    """

    examples: int
    rows: int
    counts: dict[str, int]


def predict_file(
    pipeline: MedMPLMVisitPipeline,
    examples: Iterable[Example],
    output: Path,
    *,
    source: str | Path,
    batch_size: int = 32,
    top_k: int | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> Summary:
    """Predict and write; the file is there completely or not at all, for its owner alone.

    Args:
        pipeline (`MedMPLMVisitPipeline`): a fine-tuned model.
        examples (`Iterable[Example]`): what it reads.
        output (`Path`): `.parquet` or `.csv`.
        source (`str` or `Path`): the file of the examples, named in errors.
        batch_size (`int`, defaults to 32): examples at a time; changes no result beyond rounding.
        top_k (`int`, *optional*): the most probable codes alone.
        progress (`Callable`, *optional*): told how many examples are done.

    Returns:
        How many there were.

    Raises:
        InputError: if a row is no visit; it names the row and nothing that stands in it.
    """
    tokenizer = pipeline.processor.code_tokenizer
    tokenizer.reset_statistics()
    summary = Summary(0, 0, {})
    examples = iter(examples)
    first = list(islice(examples, EXAMPLES_AT_A_TIME))
    by_code = not isinstance(pipeline.postprocess(_zeros(pipeline)), dict)
    # Both ids whatever the first rows have: a later line of a JSON-lines file may be the first with one.
    columns = {"row": int, **dict.fromkeys(ID_FIELDS, str), **(CODE_COLUMNS if by_code else OUTCOME_COLUMNS)}

    def write(path: Path) -> None:
        with _removed_on_failure(path), open_writer(path, output.suffix, columns) as writer:
            window = first
            while window:
                rows = list(_rows(pipeline, window, source, batch_size, top_k))
                writer.write(rows)
                summary.examples += len(window)
                summary.rows += len(rows)
                progress(summary.examples)
                window = list(islice(examples, EXAMPLES_AT_A_TIME))

    write_private(output, write)
    summary.counts = dict(tokenizer.statistics)
    return summary


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    """A bad row in the middle must not leave half a file of patients behind."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _zeros(pipeline: MedMPLMVisitPipeline) -> Any:
    return torch.zeros(pipeline.model.config.num_labels, dtype=torch.double)


def _rows(
    pipeline: MedMPLMVisitPipeline,
    window: list[Example],
    source: str | Path,
    batch_size: int,
    top_k: int | None,
) -> Iterator[Mapping[str, Any]]:
    encoded = [_encode(pipeline, example, source) for example in window]
    options = {} if top_k is None else {"top_k": top_k}
    for example, row in zip(window, pipeline.probabilities(encoded, batch_size), strict=True):
        result = pipeline.postprocess(row, **options)
        head = {"row": example.row, **dict.fromkeys(ID_FIELDS), **example.ids}
        for entry in [result] if isinstance(result, dict) else result:
            yield {**head, **entry}


def _encode(pipeline: MedMPLMVisitPipeline, example: Example, source: str | Path) -> dict[str, Any]:
    try:
        return pipeline.preprocess(example.content)
    except (TypeError, ValueError) as error:
        raise InputError(str(error), file=source, row=example.line) from None
