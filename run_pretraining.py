"""Pre-train MedM-PLM on a prepared folder: Text-to-Code and Code-to-Code prediction of hidden codes.

    python run_preparation.py --source synthetic --output prepared
    python run_pretraining.py --config configs/pretraining.yaml --data prepared --output_dir pretrained

Without `--text_model` a small BERT starts from random weights; with a folder or a Hub id the published
encoder and its tokenizer go into the text tower. The output folder becomes the finished model: configuration,
weights, processor, code files and `metrics.json`; checkpoints lie in its folder `checkpoints`. With
`--architecture gbert` or `med_bert` a rival is pre-trained by its own objectives on the codes of the same
visits. Runs in
several processes under `accelerate launch` or `torchrun`. Every option of the library's `TrainingArguments`
is an option here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medm_plm import register_auto_classes, rivals
from medm_plm.cards import write_card
from medm_plm.command_line import parse_arguments, print_table, run_main
from medm_plm.data.checking import check_before_training
from medm_plm.data.collators import CodeMasker, PretrainingCollator
from medm_plm.data.files import write_json
from medm_plm.data.schema import NOTE, VISITS_FILE, VOCABULARY_FILE, read_visits
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.publishing import publish_run
from medm_plm.training.arguments import ModelArguments, PretrainingArguments, RunArguments
from medm_plm.training.datasets import ExampleDataset, tokenize_visits
from medm_plm.training.evaluation import (
    METRICS_FILE,
    keep_places,
    pretraining_metrics,
    prior_metrics,
    run_facts,
)
from medm_plm.training.feature_cache import CacheOptions, add_prefix_states
from medm_plm.training.models import new_model
from medm_plm.training.pretraining_examples import (
    CODE_FIELDS,
    NOTE_FIELDS,
    code_counts,
    exchange_modality,
    fixed_masks,
    pretraining_visits,
)
from medm_plm.training.processors import shared_processor
from medm_plm.training.results import take_statistics
from medm_plm.training.resuming import resume_folder
from medm_plm.training.rival_trainer import RivalPretrainingTrainer
from medm_plm.training.run_record import run_record
from medm_plm.training.trainer import MedMPLMTrainer, start_run

METRIC_NAMES = ("accuracy", "recall_at_5", "recall_at_10")


def main(argv: Sequence[str] | None = None) -> None:
    """Pre-train, evaluate, save and print a table.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.
    """
    register_auto_classes()
    options, model_options, args = parse_arguments(
        PretrainingArguments, ModelArguments, RunArguments, argv=argv, description=__doc__
    )
    architecture = model_options.architecture = rivals.pretrained_part(model_options.architecture)
    is_rival = architecture != rivals.OWN_ARCHITECTURE
    target = rivals.pretraining_target(architecture, options.pretraining_target)
    visits = read_visits(options.data)
    vocabulary = CodeVocabulary.load(Path(options.data) / VOCABULARY_FILE)
    check_before_training(options.data, visits, vocabulary)
    checkpoint = resume_folder(args, options, model_options)
    parts = {split: pretraining_visits(visits, split) for split in ("train", "validation", "test")}

    start_run(args)
    parts = {split: rivals.visible_visits(part, architecture) for split, part in parts.items()}
    processor = shared_processor(args, model_options, vocabulary, parts["train"][NOTE], checkpoint)
    model = new_model("pretraining", vocabulary, processor, model_options, pretraining_target=target)
    masker = CodeMasker.from_tokenizer(processor.code_tokenizer, args.seed, options.mask_share)
    examples, statistics = {}, {}
    for split, part in parts.items():
        examples[split] = tokenize_visits(processor, part, f"tokenising {split}")
        statistics[split] = take_statistics(processor)
    if args.frozen_text_cache is not None and rivals.has_frozen_text(architecture):
        all_visits = [visit for part in examples.values() for visit in part]
        cache = CacheOptions.from_arguments(args)
        add_prefix_states(model.model, all_visits, cache, processor.tokenizer.pad_token_id)
    questions = {split: fixed_masks(examples[split], masker) for split in ("validation", "test")}

    if target == "all" and args.metric_for_best_model == "loss" and not is_rival:
        # Evaluation asks for the hidden codes only, so its loss says nothing about the objective "all".
        args.metric_for_best_model, args.greater_is_better = "t2c_recall_at_10", True
    trainer = (RivalPretrainingTrainer if is_rival else MedMPLMTrainer)(
        model=model,
        args=args,
        train_examples=examples["train"],
        eval_examples=questions["validation"],
        data_collator=PretrainingCollator.from_processor(
            processor, masker=masker, predict_all=target == "all"
        ),
        processing_class=processor,
        compute_metrics=rivals.c2c_metrics if is_rival else pretraining_metrics,
        preprocess_logits_for_metrics=rivals.places_of_hidden_codes if is_rival else keep_places,
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(str(args.run_dir))

    paths = ("c2c",) if is_rival else ("t2c", "c2c")
    results = {split: _evaluate(trainer, questions[split], paths) for split in questions}
    counts = code_counts(examples["train"], masker, vocabulary.num_codes)
    for split, result in results.items():
        result["frequency"] = prior_metrics(counts, questions[split])
    if options.probe_shuffled_modalities and not is_rival:
        for name, fields in (("notes_exchanged", NOTE_FIELDS), ("codes_exchanged", CODE_FIELDS)):
            exchanged = exchange_modality(questions["test"], fields, args.seed)
            results["test"][name] = _evaluate(trainer, exchanged, paths)["model"]
    if trainer.is_world_process_zero():
        sizes = {split: len(part) for split, part in parts.items()}
        facts = run_facts(Path(options.data) / VISITS_FILE, args.seed)
        content = {"task": "pretraining", "predictor": architecture, **facts, "visits": sizes, **results}
        settings = {"pretraining_target": target, "mask_share": options.mask_share}
        record = run_record(args, options.data, text_model=model_options.text_model, **settings)
        content = {**content, **record, "tokenizer": statistics, "history": trainer.state.log_history}
        write_json(args.run_dir / METRICS_FILE, content)
        write_card(args.run_dir)
        _print_results(results["test"], paths)
        publish_run(args)


def _evaluate(
    trainer: MedMPLMTrainer, questions: list[dict[str, Any]], paths: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Metrics of the model on visits with fixed masks."""
    metrics = trainer.evaluate(ExampleDataset(questions), metric_key_prefix="final")
    names = ["loss", *(f"{path}_{name}" for path in paths for name in METRIC_NAMES)]
    return {"model": {name: metrics[f"final_{name}"] for name in names}}


def _print_results(results: dict[str, dict[str, float]], paths: Sequence[str]) -> None:
    rows = []
    for name, values in results.items():
        for path in ("prior",) if name == "frequency" else paths:
            rows.append([name, path.upper(), *(values[f"{path}_{metric}"] for metric in METRIC_NAMES)])
    print_table("Hidden codes of the test visits", ["input", "from", *METRIC_NAMES], rows)


if __name__ == "__main__":
    run_main(main)
