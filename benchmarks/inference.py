"""Prediction by one model in five forms: fp32, bf16, compiled, ONNX and 8-bit ONNX, in one run.

    python benchmarks/inference.py --model demo-output/icd_coding --data demo-output/prepared
    python benchmarks/inference.py                           # trains a small model on invented patients
    python benchmarks/inference.py --size base --words 128   # new weights at the paper's size
    python benchmarks/inference.py --model FOLDER --data PREPARED --device cuda

Prints Markdown: latency (median and 95th percentile) and visits per second at each batch size, the forms
taking the same batch by turns, and what each form costs: the largest difference of a logit from fp32 and the
AUROC on the test split. ONNX files are made by `medm_plm.export` (extra `[onnx]`) and run on the CPU; on a
GPU they are left out.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # runs from a clone, installed or not

from configuration_medm_plm import MedMPLMConfig  # noqa: E402
from medm_plm import load_pipeline, register_auto_classes  # noqa: E402
from medm_plm.data.collators import VisitCollator  # noqa: E402
from medm_plm.data.schema import read_visits  # noqa: E402
from medm_plm.export import OnnxModel, example_inputs, export_onnx, folded_ontology, quantize_onnx  # noqa: E402
from medm_plm.export.graph import Axes  # noqa: E402
from medm_plm.metrics import METRICS_OF_TASK  # noqa: E402
from medm_plm.training.datasets import tokenize_task  # noqa: E402
from medm_plm.training.task_examples import task_examples  # noqa: E402
from modeling_medm_plm import MedMPLMForICDCoding, MedMPLMPreTrainedModel  # noqa: E402

Batch = dict[str, torch.Tensor]
Form = Callable[[Batch], np.ndarray]
FORMS = ("fp32", "bf16", "compiled", "onnx", "int8")
TASK_OF_PIPELINE = {
    "medm-plm-icd-coding": "icd_coding",
    "medm-plm-medication-prediction": "medication_prediction",
    "medm-plm-readmission": "readmission",
    "medm-plm-mortality": "mortality",
}
NUM_CODES, NUM_NODES, NUM_LABELS = 6_805, 8_500, 50
"""The paper's vocabulary, the inner nodes above it, and the labels of its ICD coding."""


@dataclass(frozen=True)
class Workload:
    """What is timed, and what the AUROC is taken from.

    Args:
        model: in single precision, in evaluation mode.
        batches: by batch size, some batches to be taken by turns.
        test: all test visits in batches with their labels, empty for a model with new weights.
        task: name of the task.
    """

    model: MedMPLMPreTrainedModel
    batches: dict[int, list[Batch]]
    test: list[tuple[Batch, np.ndarray]]
    task: str


def main() -> None:
    """Build the forms, time them by turns, and print the tables."""
    options = parse()
    torch.set_num_threads(options.threads)
    register_auto_classes()
    with tempfile.TemporaryDirectory() as folder:
        work = new_workload(options) if options.size == "base" else trained_workload(options, Path(folder))
        forms, megabytes = build_forms(work.model, options, Path(folder))
        for form in forms.values():  # the first calls compile and allocate
            for batches in work.batches.values():
                for batch in batches[:2]:
                    form(batch)
        print(f"\n{heading(work, options)}\n")
        print_times(work, forms, options.repeats)
        print_costs(work, forms, megabytes)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="folder of a fine-tuned model; trained here by default")
    parser.add_argument("--data", help="prepared folder with its test visits")
    parser.add_argument("--size", choices=("given", "base"), default="given")
    parser.add_argument("--words", type=int, default=128, help="length of notes with --size base")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    options = parser.parse_args()
    if (options.model is None) != (options.data is None):
        parser.error("--model and --data belong together")
    return options


def trained_workload(options: argparse.Namespace, folder: Path) -> Workload:
    """A fine-tuned model and the test visits of its data."""
    if options.model is None:
        options.model, options.data = train_small(folder)
    predict = load_pipeline(options.model, device="cpu", dtype="float32")
    model, processor, task = predict.model, predict.processor, TASK_OF_PIPELINE[predict.task_name]
    labels = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
    examples = task_examples(task, read_visits(options.data), "test", labels)
    visits = tokenize_task(task, processor, examples, "tokenising")
    collate = VisitCollator.from_processor(processor)
    truth = [np.atleast_1d(visit.pop("labels")) for visit in visits]
    batches = {}
    for size in options.batch_sizes:
        starts = range(0, max(1, len(visits) - size + 1), size)
        batches[size] = [collate(visits[start : start + size]) for start in starts][:16]
    test = [
        (collate(visits[start : start + 32]), np.stack(truth[start : start + 32]))
        for start in range(0, len(visits), 32)
    ]
    return Workload(model, batches, test, task)


def train_small(folder: Path) -> tuple[str, str]:
    """Prepare invented patients and fine-tune the demo's model for ICD coding on them."""
    data, model = folder / "prepared", folder / "model"
    commands = (
        ["run_preparation.py", "--source", "synthetic", "--num_patients", "1500", "--output", data],
        [
            "run_finetuning.py",
            "--config",
            ROOT / "configs/demo/icd_coding.yaml",
            "--data",
            data,
            "--model",
            "none",
        ],
    )
    for command in (commands[0], [*commands[1], "--output_dir", model, "--disable_tqdm", "true"]):
        words = [sys.executable, *map(str, command)]
        subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return str(model), str(data)


def new_workload(options: argparse.Namespace) -> Workload:
    """A model of the paper's size with new weights, and notes of one length."""
    torch.manual_seed(0)
    code_config = {"vocab_size": NUM_CODES, "num_ontology_nodes": NUM_NODES}
    model = MedMPLMForICDCoding(MedMPLMConfig(code_config=code_config, num_labels=NUM_LABELS)).eval()
    inner = NUM_NODES - NUM_CODES
    parents = [-1] * 4 + [NUM_CODES + node % (inner - 1) for node in range(NUM_CODES - 4)]
    model.model.set_ontology([*parents, *[NUM_NODES - 1] * (inner - 1), -1])
    batches = {
        size: [
            example_inputs(model, Axes(batch=size, words=options.words, codes=20), seed) for seed in range(4)
        ]
        for size in options.batch_sizes
    }
    return Workload(model, batches, [], "icd_coding")


def build_forms(
    model: MedMPLMPreTrainedModel, options: argparse.Namespace, folder: Path
) -> tuple[dict[str, Form], dict[str, float]]:
    """The forms that were asked for, and how large each is in megabytes."""
    device, size = (
        options.device,
        sum(v.numel() * v.element_size() for v in model.state_dict().values()) / 1e6,
    )
    forms: dict[str, Form] = {}
    sizes: dict[str, float] = {}
    for name in options.forms:
        if name in ("onnx", "int8"):
            if device != "cpu":
                continue
            path = folder / "model.onnx"
            if not path.exists():
                export_onnx(model, path)
            if name == "int8":
                path = quantize_onnx(path, folder / "model_int8.onnx")
            graph = OnnxModel(path, threads=options.threads)
            forms[name], sizes[name] = (
                (lambda batch, graph=graph: graph(**batch)["logits"]),
                path.stat().st_size / 1e6,
            )
            continue
        module = copy.deepcopy(model).to(device, torch.bfloat16 if name == "bf16" else torch.float32)
        if name == "compiled":
            folded_ontology(module).__enter__()  # this copy keeps the table for good
            module = torch.compile(module, dynamic=True)
        forms[name] = torch_form(module, device)
        sizes[name] = size / (2 if name == "bf16" else 1)
    return forms, sizes


def torch_form(module: torch.nn.Module, device: str) -> Form:
    """A module as a function of a batch on the CPU."""

    def form(batch: Batch) -> np.ndarray:
        with torch.inference_mode():
            logits = module(**{name: values.to(device) for name, values in batch.items()}).logits
        return logits.float().cpu().numpy()  # waits for the device

    return form


def print_times(work: Workload, forms: dict[str, Form], repeats: int) -> None:
    """Time the forms by turns on the same batches."""
    print("| visits at a time | form | median, ms | 95th percentile, ms | visits per second | times fp32 |")
    print("|---|---|---|---|---|---|")
    for size, batches in work.batches.items():
        times: dict[str, list[float]] = {name: [] for name in forms}
        order = list(forms)
        for repeat in range(repeats):
            batch = batches[repeat % len(batches)]
            for name in order[repeat % len(order) :] + order[: repeat % len(order)]:
                start = time.perf_counter()
                forms[name](batch)
                times[name].append(1000 * (time.perf_counter() - start))
        medians = {name: statistics.median(values) for name, values in times.items()}
        for name, median in medians.items():
            high = float(np.percentile(times[name], 95))
            ratio = f"{medians['fp32'] / median:.2f}" if "fp32" in medians else "-"
            print(f"| {size} | {name} | {median:.1f} | {high:.1f} | {1000 * size / median:.1f} | {ratio} |")


def print_costs(work: Workload, forms: dict[str, Form], megabytes: dict[str, float]) -> None:
    """Compare logits and AUROC of the forms."""
    batches = [batch for batch, _ in work.test] or [batch for some in work.batches.values() for batch in some]
    scores = {name: np.concatenate([form(batch) for batch in batches]) for name, form in forms.items()}
    truth = np.concatenate([labels for _, labels in work.test]) if work.test else None
    print("\n| form | megabytes | largest difference of a logit | AUROC, test | change, points |")
    print("|---|---|---|---|---|")
    reference, first = next(iter(scores.values())), None
    for name, logits in scores.items():
        auroc = change = "-"
        if truth is not None:
            value = auroc_of(work, logits, truth)
            first = value if first is None else first
            auroc, change = f"{value:.4f}", f"{100 * (value - first):+.3f}"
        difference = np.abs(logits - reference).max()
        print(f"| {name} | {megabytes[name]:.1f} | {difference:.1e} | {auroc} | {change} |")


def auroc_of(work: Workload, logits: np.ndarray, truth: np.ndarray) -> float:
    """AUROC of a task: the mean over the labels where there are several."""
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64) / work.model.config.temperature))
    found = METRICS_OF_TASK[work.task](probabilities, truth.astype(np.int64))
    return found["auroc_macro"] if "auroc_macro" in found else found["auroc"]


def heading(work: Workload, options: argparse.Namespace) -> str:
    """One line that says what was measured and where."""
    weights = sum(values.numel() for values in work.model.parameters()) / 1e6
    words = next(iter(work.batches.values()))[0]["input_ids"].shape[1]
    what = f"{len(work.test)} batches of test visits" if work.test else f"notes of {words} words"
    return (
        f"{work.task}, {weights:.1f} million weights, {what}; torch {torch.__version__}, {options.device}, "
        f"{options.threads} threads, {platform.machine()}, medians of {options.repeats}"
    )


if __name__ == "__main__":
    main()
