"""Write a model as an ONNX file with free axes, and check it."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from medm_plm.data.files import write_json
from medm_plm.errors import InputError
from medm_plm.export.checking import MAX_DIFFERENCE, check_parity
from medm_plm.export.graph import (
    Axes,
    OnnxGraph,
    axis_names,
    example_inputs,
    folded_ontology,
    graph_inputs,
    least_words,
    output_names,
)
from medm_plm.export.onnx_model import OnnxModel
from medm_plm.export.quantization import quantize_onnx
from medm_plm.export.requirements import require
from modeling_medm_plm import MedMPLMPreTrainedModel

ONNX_FILE = "model.onnx"
QUANTIZED_FILE = "model_int8.onnx"
EXPORT_RECORD = "export.json"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_BYTES_OF_ONE_FILE = 2**31 - 2**20  # what a protobuf file holds


def export_onnx(model: MedMPLMPreTrainedModel, path: str | Path) -> Path:
    """Write the graph of a model; its axes batch, visits, words and codes are free.

    Args:
        model (`MedMPLMPreTrainedModel`): any head, with weights in single precision on a CPU.
        path (`str` or `Path`): the file; written completely or not at all.

    Returns:
        The file.

    Raises:
        InputError: if the extra `[onnx]` is not installed, or the model has more weights than one file holds.
    """
    for name in PACKAGES:
        require(name)
    size = sum(values.numel() * values.element_size() for values in model.state_dict().values())
    if size > _BYTES_OF_ONE_FILE:
        raise InputError("the model is too large for one ONNX file", received=f"{size} bytes")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{uuid4().hex}.staging")
    was_training = model.training
    try:
        with folded_ontology(model.eval()), torch.no_grad(), _quiet():
            program = _trace(model)
        forget_origin(program.model)
        program.model.metadata_props["least_words"] = str(least_words(model))
        program.save(staging, external_data=False)
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
        model.train(was_training)
    return path


def forget_origin(graph_model: Any) -> None:
    """Take out of a graph what the tracer notes of its origin: folders and lines of the source, call stacks.

    Args:
        graph_model (`onnx_ir.Model`): the graph; what it computes stays.
    """
    parts = [graph_model, *graph_model.functions.values()]
    for part in (graph_model.graph, *graph_model.functions.values()):
        graphs = [part, *part.subgraphs()]
        nodes = list(part.all_nodes())
        values = [value for node in nodes for value in node.outputs]
        values += [value for graph in graphs for value in graph.inputs]
        values += [value for graph in graphs for value in getattr(graph, "initializers", {}).values()]
        tensors = [value.const_value for value in values if value.const_value is not None]
        attributes = [attribute for node in nodes for attribute in node.attributes.values()]
        parts += [*graphs, *nodes, *values, *tensors, *attributes]
    for part in parts:
        part.doc_string = None
        if hasattr(part, "metadata_props"):
            part.metadata_props.clear()


def _trace(model: MedMPLMPreTrainedModel) -> Any:
    names = axis_names(model)
    words = max(Axes.words, least_words(model) + 2)
    inputs = graph_inputs(names, example_inputs(model, Axes(words=words)))
    axes = tuple(dict(enumerate(of_input)) for of_input in names.values())
    return torch.onnx.export(
        OnnxGraph(model, list(names)).eval(),
        tuple(inputs.values()),
        input_names=list(names),
        output_names=output_names(model),
        dynamic_shapes=(axes,),
        dynamo=True,
        verbose=False,
        external_data=False,
    )


def export_folder(
    model: MedMPLMPreTrainedModel, processor: Any, folder: str | Path, int8: bool = True
) -> dict[str, Any]:
    """Export a model with its processor and its configuration, and check the file against the model.

    Args:
        model (`MedMPLMPreTrainedModel`): the model.
        processor (`MedMPLMProcessor`): saved beside it.
        folder (`str` or `Path`): the folder to be written, made if it does not exist.
        int8 (`bool`, defaults to True): write the 8-bit form too.

    Returns:
        What is written to `export.json` as well: sizes and the largest differences.

    Raises:
        InputError: if the file does not agree with the model; it is removed then.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = export_onnx(model, folder / ONNX_FILE)
    found = check_parity(model, OnnxModel(path))
    if not found.holds:
        path.unlink()
        raise InputError(
            "the exported graph does not agree with the model, and was removed",
            received=f"a difference of {found.difference:.1e}",
            expected=f"at most {MAX_DIFFERENCE:.0e}",
        )
    record: dict[str, Any] = {
        "class": type(model).__name__,
        "inputs": {name: list(axes) for name, axes in axis_names(model).items()},
        "outputs": output_names(model),
        "shapes_compared": found.shapes,
        "largest_difference": {ONNX_FILE: found.difference},
        "bytes": {ONNX_FILE: path.stat().st_size},
    }
    if int8:
        small = quantize_onnx(path, folder / QUANTIZED_FILE)
        record["largest_difference"][QUANTIZED_FILE] = check_parity(model, OnnxModel(small)).difference
        record["bytes"][QUANTIZED_FILE] = small.stat().st_size
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    write_json(folder / EXPORT_RECORD, record)
    return record


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the exporter says of packages that are not needed and of its own deprecations."""
    exporter = logging.getLogger("torch.onnx")
    before = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(before)
