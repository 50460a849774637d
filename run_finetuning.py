"""Fine-tune MedM-PLM, or fit a baseline, for one task with one seed.

    python run_finetuning.py --config configs/readmission.yaml --data prepared --model pretrained --output_dir
    out

Tasks: `medication_recommendation`, `readmission`, `icd_coding`, `medication_prediction`, `mortality`, and
`ner`, which reads labelled sentences (`--ner_train`, `--ner_test`) in place of `--data`.
`--model none` builds a model without pre-training; `--architecture gbert` trains a rival and `--baseline
linear_text` fits a baseline on the same inputs instead. The output folder becomes the finished model with
its processor, `metrics.json` (validation and test, beside the label frequency) and
`predictions_validation.parquet`, `predictions_test.parquet`. Runs in several processes under `accelerate
launch` or `torchrun`. Every option of the library's `TrainingArguments` is an option here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medm_plm import register_auto_classes, rivals
from medm_plm.baselines import build_baseline
from medm_plm.cards import write_card
from medm_plm.command_line import parse_arguments, print_table, run_main
from medm_plm.data.collators import PatientCollator, VisitCollator
from medm_plm.data.files import fingerprint, write_json
from medm_plm.data.schema import (
    ADMISSION_NOTE,
    HADM_ID,
    NOTE,
    SPLIT,
    SPLITS,
    SUBJECT_ID,
    VISITS_FILE,
    VOCABULARY_FILE,
    read_visits,
)
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.metrics.interactions import read_interactions
from medm_plm.publishing import publish_run
from medm_plm.training.arguments import (
    NER_TASK,
    FinetuningArguments,
    ModelArguments,
    NerArguments,
    RunArguments,
)
from medm_plm.training.datasets import ExampleDataset, tokenize_task
from medm_plm.training.evaluation import (
    METRICS_FILE,
    metrics_function,
    run_facts,
    target_rows,
    write_predictions,
)
from medm_plm.training.feature_cache import CacheOptions, add_prefix_states
from medm_plm.training.idle_options import refuse_idle_options
from medm_plm.training.linear_part import join_linear_part
from medm_plm.training.models import label_shares, load_model, new_model
from medm_plm.training.ner import run_ner
from medm_plm.training.processors import require_same_codes, shared_processor
from medm_plm.training.results import measure, store_decision, take_statistics
from medm_plm.training.resuming import resume_folder
from medm_plm.training.run_record import run_record
from medm_plm.training.task_data import TaskData, check_run_examples, run_examples, task_data
from medm_plm.training.task_examples import (
    TaskExamples,
    baseline_examples,
    training_share,
)
from medm_plm.training.trainer import MedMPLMTrainer, start_run

Predictions = dict[str, tuple[np.ndarray, np.ndarray]]
"""Probabilities and labels, both `(targets, labels)`, by split."""


def main(argv: Sequence[str] | None = None) -> None:
    """Fine-tune or fit, evaluate, save and print a table.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.
    """
    register_auto_classes()
    options, ner_options, model_options, args = parse_arguments(
        FinetuningArguments, NerArguments, ModelArguments, RunArguments, argv=argv, description=__doc__
    )
    _check_options(options, model_options)
    _check_linear_part(options, model_options, args)
    if options.baseline is not None and args.publish_to is not None:
        raise InputError("options --baseline and --push_to_hub exclude each other: a baseline is not saved")
    refuse_idle_options(argv, options, model_options)
    if options.task == NER_TASK:
        run_ner(options, ner_options, model_options, args)
        if args.process_index == 0:
            write_card(args.run_dir)
            publish_run(args)
        return
    ner_options.refuse_for(options.task)
    visits = read_visits(options.data)
    data = task_data(options, visits, CodeVocabulary.load(Path(options.data) / VOCABULARY_FILE))
    interactions = None
    if options.ddi_pairs is not None:
        interactions, data.facts["ddi_pairs"] = read_interactions(options.ddi_pairs, data.labels)
    _check_pretraining_data(options)
    examples = {split: run_examples(options, data, split, args.seed) for split in SPLITS}
    check_run_examples(options, visits, examples)
    by = SUBJECT_ID if options.task == "medication_recommendation" else HADM_ID
    examples["train"] = training_share(examples["train"], options.training_ratio, args.seed, by)

    if options.baseline is None:
        train_notes = visits.filter(visits[SPLIT] == "train")[NOTE]
        predictions, training = _finetune(options, model_options, args, examples, data.labels, train_notes)
    else:
        predictions, training = _fit_baseline(options.baseline, options.task, examples), {"history": []}
    if args.process_index == 0:
        # The label frequency is that of all training visits, also where the model learns from a 1:1 sample.
        natural = run_examples(options, data, "train", balanced=False)
        frequency = _fit_baseline("frequency", options.task, {**examples, "train": natural})
        both = {"model": predictions, "frequency": frequency}
        measured = measure(options, args.seed, data.visits, examples, both, interactions)
        predictor = {"predictor": options.baseline or model_options.architecture}
        started_from = None if options.model == "none" else options.model
        record = run_record(args, options.data, started_from, model_options.text_model)
        results = {**predictor, **record, **measured.record, **training}
        _write(options, args, examples, data, measured.predictions, results)
        if options.baseline is None:
            store_decision(args.run_dir, measured.decision)
            write_card(args.run_dir)
        _print_results(options, model_options, data, measured.record)
        publish_run(args)


def _check_options(options: FinetuningArguments, model_options: ModelArguments) -> None:
    """Refuse combinations that would silently do something else than asked."""
    if options.model != "none" and options.baseline is not None:
        raise InputError("options --model and --baseline exclude each other", remedy="leave one of them out")
    architecture = model_options.architecture
    if architecture != rivals.OWN_ARCHITECTURE:
        rivals.model_class_of(architecture, options.task)
        if options.baseline is not None:
            raise InputError(
                "options --architecture and --baseline exclude each other", remedy="leave one of them out"
            )
        if options.current_note != "none" and not rivals.reads_text(architecture):
            raise InputError(
                f"option --current_note has no place with architecture {architecture}, which reads no notes"
            )
    is_pair = options.model != "none" and rivals.is_code_half(architecture, options.model)
    is_pair = is_pair and rivals.reads_text(architecture)
    if options.model != "none" and model_options.text_model is not None and not is_pair:
        raise InputError(
            "option --text_model has no place beside --model, whose text encoder is used",
            remedy="leave --text_model out, or set --model none",
        )


def _check_linear_part(
    options: FinetuningArguments, model_options: ModelArguments, args: RunArguments
) -> None:
    if not options.join_linear:
        return
    if options.baseline or model_options.architecture != rivals.OWN_ARCHITECTURE:
        received = options.baseline or model_options.architecture
        raise InputError("option --join_linear is for MedM-PLM", received=received, remedy="leave it out")
    if args.uses_fsdp:
        raise InputError("option --join_linear needs whole weights", received="FSDP", remedy="train with DDP")


def _check_pretraining_data(options: FinetuningArguments) -> None:
    """Refuse a model that may have been pre-trained on the patients it is to be tested on."""
    report = Path(options.model) / METRICS_FILE
    if options.model == "none" or options.pretrained_on_other_data or not report.is_file():
        return
    seen = json.loads(report.read_text(encoding="utf-8")).get("data_sha256")
    if seen != fingerprint(Path(options.data) / VISITS_FILE):
        raise InputError(
            "the model was pre-trained on another prepared folder, which may hold test patients of this one",
            file=options.model,
            remedy="use one prepared folder for both, or, if its patients are others for certain, say so by "
            "--pretrained_on_other_data true",
        )


def _finetune(
    options: FinetuningArguments,
    model_options: ModelArguments,
    args: RunArguments,
    examples: dict[str, TaskExamples],
    labels: list[str],
    train_notes: pl.Series,
) -> tuple[Predictions, dict[str, Any]]:
    """Train and save a model; return its predictions on validation and test, and what the run counted."""
    architecture = model_options.architecture
    examples = {
        split: replace(part, visits=rivals.visible_visits(part.visits, architecture))
        for split, part in examples.items()
    }
    checkpoint = resume_folder(args, options, model_options)
    pretrained = None if options.model == "none" else options.model
    vocabulary = CodeVocabulary.load(Path(options.data) / VOCABULARY_FILE)
    start_run(args)
    code_folder = None
    if pretrained is not None and rivals.is_code_half(architecture, pretrained):
        code_folder = pretrained
    needs_words = code_folder is not None and rivals.reads_text(architecture)
    saved = checkpoint or (None if needs_words else pretrained)
    notes = train_notes if rivals.reads_text(architecture) else train_notes.clear()
    processor = shared_processor(args, model_options, vocabulary, notes, saved)
    if code_folder is not None:
        require_same_codes(processor, code_folder)
    names = _head_fields(options, model_options, examples["train"], labels)
    if pretrained is None or code_folder is not None:
        model = new_model(options.task, vocabulary, processor, model_options, code_folder, **names)
    else:
        model = load_model(options.task, pretrained, model_options, **names)

    if options.join_linear and not model_options.classifier_token_weights:
        model.token_weights.requires_grad_(False)  # not asked for beside the head

    tokenized, statistics = {}, {}
    for split, part in examples.items():
        tokenized[split] = tokenize_task(options.task, processor, part, f"tokenising {split}")
        statistics[split] = take_statistics(processor)
    if args.frozen_text_cache is not None and rivals.has_frozen_text(architecture):
        all_examples = [example for part in tokenized.values() for example in part]
        single_visits = [visit for example in all_examples for visit in example.get("visits", [example])]
        cache = CacheOptions.from_arguments(args)
        add_prefix_states(model.model, single_visits, cache, processor.tokenizer.pad_token_id)
    collator = PatientCollator if options.task == "medication_recommendation" else VisitCollator
    trainer = MedMPLMTrainer(
        model=model,
        args=args,
        train_examples=tokenized["train"],
        eval_examples=tokenized["validation"],
        data_collator=collator.from_processor(processor),
        processing_class=processor,
        compute_metrics=metrics_function(options.task),
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    facts = {}
    if options.join_linear:
        logits = trainer.predict(ExampleDataset(tokenized["validation"])).predictions
        parts = tokenized["train"], tokenized["validation"]
        facts["linear_part"] = join_linear_part(trainer.accelerator.unwrap_model(model), *parts, logits)
    trainer.save_model(str(args.run_dir))
    predictions = {}
    for split in ("validation", "test"):
        output = trainer.predict(ExampleDataset(tokenized[split]))
        predictions[split] = target_rows(output.predictions, output.label_ids)
    return predictions, {"tokenizer": statistics, "history": trainer.state.log_history, **facts}


def _head_fields(
    options: FinetuningArguments, model_options: ModelArguments, train: TaskExamples, labels: list[str]
) -> dict[str, Any]:
    """Fields of the configuration that the task and its labels give."""
    fields = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
        "use_current_note": options.current_note != "none",
        "note_field": _note_field(options),
    }
    if options.join_linear:
        fields["classifier_token_weights"] = True  # where the regression will be kept
    if model_options.classifier == "label_attention":
        fields["label_prior"] = label_shares(train.target_labels)
    return fields


def _note_field(options: FinetuningArguments) -> str | None:
    """Field of a visit that the task reads as text, where it is not the usual one of the task's pipeline."""
    if options.task == "medication_prediction" and options.medication_window == "first_day":
        return ADMISSION_NOTE
    return NOTE if options.current_note == "full" else None


def _fit_baseline(name: str, task: str, examples: dict[str, TaskExamples]) -> Predictions:
    """Fit a baseline on the training examples and return its predictions on validation and test."""
    baseline = build_baseline(name)
    baseline.fit(baseline_examples(task, examples["train"]), baseline_examples(task, examples["validation"]))
    predictions = {}
    for split in ("validation", "test"):
        probabilities = baseline.predict_proba(baseline_examples(task, examples[split]))
        predictions[split] = (probabilities.astype(np.float32), examples[split].target_labels)
    return predictions


def _write(
    options: FinetuningArguments,
    args: RunArguments,
    examples: dict[str, TaskExamples],
    data: TaskData,
    predictions: Predictions,
    results: dict[str, Any],
) -> None:
    """Write metrics and predictions into the folder of the run."""
    for split, (probabilities, truth) in predictions.items():
        path = args.run_dir / f"predictions_{split}.parquet"
        write_predictions(path, examples[split].targets, probabilities, truth, data.labels)
    content = {
        "task": options.task,
        "pretrained": options.model != "none",
        "training_ratio": options.training_ratio,
        **run_facts(Path(options.data) / VISITS_FILE, args.seed),
        "settings": {name: getattr(options, name) for name in ("medication_window", "current_note")},
        **data.facts,
        "num_labels": len(data.labels),
        "num_targets": {split: int(part.is_target.sum()) for split, part in examples.items()},
    }
    write_json(args.run_dir / METRICS_FILE, {**content, **results})


def _print_results(
    options: FinetuningArguments,
    model_options: ModelArguments,
    data: TaskData,
    record: dict[str, Any],
) -> None:
    is_own = model_options.architecture == rivals.OWN_ARCHITECTURE
    model_name = "MedM-PLM" if is_own else model_options.architecture
    columns = [options.baseline or model_name, "95 % interval", "label frequency"]
    model, frequency = record["test"]["model"], record["test"]["frequency"]
    ends = record["test_intervals"]["model"]
    intervals = {name: f"{low:.4f} to {high:.4f}" for name, (low, high) in ends.items()}
    rows = [[name, value, intervals.get(name), frequency[name]] for name, value in model.items()]
    print_table(f"{options.task}, test split", ["metric", *columns], rows)
    for option, counts in data.facts.items():
        facts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
        print(f"--{option}: {facts}")
    if options.current_note == "full":
        print(
            "warning: --current_note full leaks the answer: the note of the visit is written after its "
            "prescriptions and lists them"
        )


if __name__ == "__main__":
    run_main(main)
