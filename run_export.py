"""Write a model as an ONNX file with free axes, and its 8-bit form, and check both against the model.

    python run_export.py --model icd_coding --output icd_coding_onnx

Needs the extra `[onnx]`. The folder holds `model.onnx`, `model_int8.onnx`, the processor, the configuration
and `export.json` with the largest differences found. Any head can be exported, also that of pre-training and
the tagger.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import AutoProcessor, AutoTokenizer

import modeling_medm_plm
from medm_plm import register_auto_classes
from medm_plm.command_line import parse_arguments, print_table, quiet_library, run_main
from medm_plm.errors import InputError
from medm_plm.export import export_folder
from modeling_medm_plm import MedMPLMPreTrainedModel

HEADS = (
    "MedMPLMForPreTraining",
    "MedMPLMForMedicationRecommendation",
    "MedMPLMForReadmissionPrediction",
    "MedMPLMForICDCoding",
    "MedMPLMForTokenClassification",
)


@dataclass
class ExportArguments:
    """What is exported, and where to.

    Args:
        model (`str`): folder of a saved model.
        output (`str`): folder to write.
        int8 (`bool`, defaults to True): write the 8-bit form too.
        overwrite (`bool`, defaults to False): write into a folder that is not empty.
    """

    model: str = field(metadata={"help": "folder of a saved model"})
    output: str = field(metadata={"help": "folder to write"})
    int8: bool = field(default=True, metadata={"help": "write the 8-bit form too"})
    overwrite: bool = field(default=False, metadata={"help": "write into a folder that is not empty"})

    def __post_init__(self) -> None:
        output = Path(self.output)
        if output.is_file() or (output.is_dir() and any(output.iterdir()) and not self.overwrite):
            raise InputError(
                "output is not an empty folder", file=output, remedy="name another, or say --overwrite true"
            )
        if Path(self.model).resolve() == output.resolve():
            raise InputError("model and output are one folder", file=output)


def main(argv: Sequence[str] | None = None) -> None:
    """Export a folder and print a table.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.
    """
    register_auto_classes()
    (options,) = parse_arguments(ExportArguments, argv=argv, description=__doc__)
    model = _load(options.model)
    reads_codes = type(model).__name__ != "MedMPLMForTokenClassification"
    opener = AutoProcessor if reads_codes else AutoTokenizer
    processor = opener.from_pretrained(options.model, trust_remote_code=False)
    record = export_folder(model, processor, options.output, options.int8)
    rows = [
        [name, record["bytes"][name] / 1e6, f"{difference:.1e}"]
        for name, difference in record["largest_difference"].items()
    ]
    title = f"{record['class']}: {options.output}, compared over {record['shapes_compared']} shapes"
    print_table(title, ["file", "megabytes", "largest difference of a score"], rows)


def _load(folder: str) -> MedMPLMPreTrainedModel:
    """Open a folder by the class it was saved from, with no code but ours."""
    path = Path(folder) / "config.json"
    try:
        name = (json.loads(path.read_text(encoding="utf-8")).get("architectures") or ["none"])[0]
    except (OSError, ValueError, AttributeError):
        raise InputError("no saved model", file=folder, expected="a folder with config.json") from None
    if name not in HEADS:
        raise InputError("cannot be exported", file=folder, received=name, expected=" or ".join(HEADS))
    with quiet_library():
        return getattr(modeling_medm_plm, name).from_pretrained(folder).float().eval()


if __name__ == "__main__":
    run_main(main)
