"""MedM-PLM outside PyTorch: ONNX files of every head, checked against the model, and their 8-bit form.

Needs the extra `[onnx]` (onnx, onnxscript, onnxruntime).
"""

from medm_plm.export.checking import MAX_DIFFERENCE, ParityReport, check_parity
from medm_plm.export.exporting import EXPORT_RECORD, ONNX_FILE, QUANTIZED_FILE, export_folder, export_onnx
from medm_plm.export.graph import Axes, example_inputs, folded_ontology
from medm_plm.export.onnx_model import OnnxModel
from medm_plm.export.quantization import quantize_onnx

__all__ = [
    "EXPORT_RECORD",
    "MAX_DIFFERENCE",
    "ONNX_FILE",
    "QUANTIZED_FILE",
    "Axes",
    "OnnxModel",
    "ParityReport",
    "check_parity",
    "example_inputs",
    "export_folder",
    "export_onnx",
    "folded_ontology",
    "quantize_onnx",
]
