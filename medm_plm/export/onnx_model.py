"""An exported model that predicts, by onnxruntime on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from medm_plm.errors import InputError
from medm_plm.export.requirements import require


class OnnxModel:
    """A file that `export_onnx` or `quantize_onnx` wrote.

    Args:
        path (`str` or `Path`): the file.
        threads (`int`, *optional*): processor cores to use; onnxruntime chooses by default.

    Raises:
        InputError: if the file is missing or is no ONNX model, or the extra is not installed.

    Example:
        >>> model = OnnxModel("exported/model.onnx")
        >>> logits = model(**processor("a note", diagnosis_codes=["428.0"], return_tensors="pt"))["logits"]
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        onnxruntime = require("onnxruntime")
        if not Path(path).is_file():
            raise InputError("no exported model", file=path, remedy="give a file that run_export.py wrote")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors alone
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # onnxruntime raises classes of its own, which have no base but this one.
            raise InputError("is no ONNX model", file=path, received=type(error).__name__) from None
        self.inputs = tuple(item.name for item in self._session.get_inputs())
        self.outputs = tuple(item.name for item in self._session.get_outputs())
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.least_words = int(metadata.get("least_words", 1))

    def __call__(self, **inputs: torch.Tensor | np.ndarray) -> dict[str, np.ndarray]:
        """Compute the scores of a batch.

        Args:
            inputs: tensors as the model itself takes them; those that the graph does not take (the token
                types of the words) are passed over.

        Returns:
            The scores by name, `logits` of shape `(batch, labels)` for instance.

        Raises:
            InputError: if an input is missing.
        """
        if missing := sorted(set(self.inputs) - set(inputs)):
            raise InputError("inputs are missing", received=", ".join(missing), expected="as the model takes")
        arrays = {name: np.asarray(inputs[name], dtype=np.int64) for name in self.inputs}
        scores = self._session.run(list(self.outputs), self._widened(arrays))
        return dict(zip(self.outputs, scores, strict=True))

    def _widened(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Give short notes the padding that a graph over several chunks needs."""
        widened = dict(arrays)
        for name in ("input_ids", "attention_mask"):
            missing = self.least_words - widened[name].shape[-1]
            if missing > 0:
                widths = [(0, 0)] * (widened[name].ndim - 1) + [(0, missing)]
                widened[name] = np.pad(widened[name], widths)
        return widened
