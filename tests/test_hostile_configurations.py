"""No `config.json` runs code, opens another repository, uses the network or fills the memory.

The folders are opened in a process without network and with limited memory (`hostile_configurations.py`).
"""

import copy
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from configuration_medm_plm import MAX_WEIGHTS, TEXT_MODEL_TYPES, MedMPLMConfig, _count_weights
from modeling_medm_plm import (
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForPreTraining,
    MedMPLMForTokenClassification,
)
from shipped_code import PROJECT_ROOT
from tiny_models import tiny_config
from tiny_predictors import save_predictor

NUM_MUTANTS = 120
REFUSALS = {"ValueError", "StrictDataclassError", "OSError", "RecursionError"}
"""What a caller has to expect. A checkpoint whose weights do not fit is the library's RuntimeError."""
REFUSED_BY_THE_READER = {"refused a list": "TypeError"}
"""What is no configuration at all meets the library's reader first; its releases differ in the type."""
OTHER_REPOSITORY = "someone/else--modeling.Other"
HUGE = (2**31, 10**9, 10**12, 2**63, 10**30)
KERNELS = (
    "someone/kernel",
    "kernels-community/flash-attn@main:run",
    "someone/kernel@abc",
    "flash_attention_2",
)
AUTO_CLASSES = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer")
AUTO_MAP = dict.fromkeys(AUTO_CLASSES, OTHER_REPOSITORY)
EVERYWHERE = ("", "text_config.", "code_config.")


def run_cases(folder: Path, cases: list[tuple[str, object]], work: Path) -> dict[str, dict]:
    """Open each case in the guarded process."""
    (work / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    script = PROJECT_ROOT / "tests" / "hostile_configurations.py"
    command = [sys.executable, str(script), str(folder), str(work / "cases.json"), str(work / "results.json")]
    paths = f"{PROJECT_ROOT}:{PROJECT_ROOT / 'tests'}"
    environment = {
        "PYTHONPATH": paths,
        "PATH": "",
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(work / "cache"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert run.returncode == 0, run.stderr[-3000:]
    results = json.loads((work / "results.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in results] == [name for name, _ in cases]
    return {entry["name"]: entry for entry in results}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, dict]:
    """A tiny model and its honest configuration."""
    folder = tmp_path_factory.mktemp("hostile") / "model"
    save_predictor("icd_coding", folder)
    return folder, json.loads((folder / "config.json").read_text(encoding="utf-8"))


def changed(honest: dict, path: str, value: object) -> dict:
    """A copy with one field set; dots lead into nested fields."""
    content = copy.deepcopy(honest)
    *outer, last = path.split(".")
    place = content
    for name in outer:
        place = place[name]
    place[last] = value
    return content


def named_cases(honest: dict) -> list[tuple[str, object]]:
    """The known ways, each with what must happen at the head of its name: `loads` or `refused`."""
    return [
        *cases_of_code(honest),
        *cases_of_fields(honest),
        *cases_of_sizes(honest),
        *cases_of_kinds(honest),
    ]


def cases_of_code(honest: dict) -> list[tuple[str, object]]:
    """Other repositories, as our scripts open the folder and with trust."""
    cases: list[tuple[str, object]] = [("loads honest", honest), ("loads honest trust", honest)]
    for end in ("", " trust"):
        cases.append((f"loads auto_map{end}", changed(honest, "auto_map", AUTO_MAP)))
        cases.append((f"loads text auto_map{end}", changed(honest, "text_config.auto_map", AUTO_MAP)))
        cases.append((f"loads code auto_map{end}", changed(honest, "code_config.auto_map", AUTO_MAP)))
        pipelines = {"medm-plm-icd-coding": {"impl": OTHER_REPOSITORY, "pt": ["AutoModel"]}}
        cases.append((f"loads pipelines{end}", changed(honest, "custom_pipelines", pipelines)))
    return cases


def cases_of_fields(honest: dict) -> list[tuple[str, object]]:
    """Fields that would choose code, places or methods."""
    cases: list[tuple[str, object]] = []
    for part in EVERYWHERE:
        for kernel in KERNELS:
            for field in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal"):
                cases.append((f"loads {part}{field} {kernel}", changed(honest, f"{part}{field}", kernel)))
        for field in ("_name_or_path", "name_or_path"):
            value = "https://example.org/someone/else"
            cases.append((f"loads {part}{field}", changed(honest, f"{part}{field}", value)))
        for value in HUGE:
            cases.append((f"refused {part}num_labels {value}", changed(honest, f"{part}num_labels", value)))
        method = {"quant_method": "fbgemm_fp8"}
        cases.append((f"refused {part}quantization", changed(honest, f"{part}quantization_config", method)))
        for dtype in ("load", "hub", "os.system", "float99", "__dict__"):
            cases.append((f"refused {part}dtype {dtype}", changed(honest, f"{part}dtype", dtype)))
        for field in ("save_pretrained", "to_dict", "push_to_hub", "attribute_map", "sub_configs"):
            cases.append((f"refused {part}{field}", changed(honest, f"{part}{field}", {"x": "y"})))
    return cases


def cases_of_sizes(honest: dict) -> list[tuple[str, object]]:
    """More memory than there is."""
    cases: list[tuple[str, object]] = []
    without_labels = {name: value for name, value in honest.items() if name not in ("id2label", "label2id")}
    cases.append(("refused num_labels alone", {**without_labels, "num_labels": 10**12}))
    for field in ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size"):
        for value in HUGE:
            for part in EVERYWHERE[1:]:
                cases.append((f"refused {part}{field} {value}", changed(honest, f"{part}{field}", value)))
    for field in ("num_ontology_nodes", "max_ontology_depth", "type_vocab_size"):
        cases.append((f"refused {field}", changed(honest, f"code_config.{field}", 10**12)))
    for field in ("classifier_hidden_size", "classifier_num_hidden_layers", "tagger_hidden_size"):
        cases.append((f"refused {field}", changed(honest, field, 10**12)))
    wide = changed(honest, "text_config.hidden_size", 65_536)
    wide["text_config"] |= {"num_hidden_layers": 256, "intermediate_size": 65_536, "num_attention_heads": 4}
    cases.append(("refused each size allowed and all together", wide))
    return cases


def cases_of_kinds(honest: dict) -> list[tuple[str, object]]:
    """Other encoders, and what is no configuration."""
    cases: list[tuple[str, object]] = []
    for kind in ("gpt2", "llama", "timm_wrapper", "../bert", "medm_plm", ["bert"], None, 7, {"a": 1}):
        cases.append((f"refused text type {kind}", changed(honest, "text_config.model_type", kind)))
    layers = {"0": {"hidden_size": 10**9}}
    cases.append(("refused layers", changed(honest, "per_layer_config", layers)))
    cases.append(("refused text layers", changed(honest, "text_config.per_layer_config", layers)))
    cases.append(("refused another type trust", changed(honest, "model_type", "someone_elses")))
    cases.append(("refused activation", changed(honest, "text_config.hidden_act", "os.system")))
    cases.append(
        ("refused deep", '{"model_type": "medm_plm", "text_config": ' + "[" * 50_000 + "]" * 50_000 + "}")
    )
    cases += [("refused no JSON", "{"), ("refused a list", "[]")]
    return cases


@pytest.fixture(scope="module")
def named_results(saved, tmp_path_factory) -> dict[str, dict]:
    folder, honest = saved
    return run_cases(folder, named_cases(honest), tmp_path_factory.mktemp("named"))


def test_each_known_way_ends_as_it_must(named_results):
    wrong = {
        name: (entry["outcome"], entry.get("message", "")[:200])
        for name, entry in named_results.items()
        if (entry["outcome"] == "loaded") != name.startswith("loads")
    }
    assert wrong == {}


def test_what_loads_is_our_code_with_the_librarys_attention(named_results):
    for name, entry in named_results.items():
        if entry["outcome"] == "loaded":
            assert entry["module"] == "configuration_medm_plm", name
            assert entry["model_module"] == "modeling_medm_plm", name
            assert set(entry["attention"]) <= {None, "sdpa", "eager"}, name


def test_no_known_way_uses_the_network(named_results):
    assert {name: entry["network"] for name, entry in named_results.items() if entry["network"]} == {}


def test_refusals_are_errors_that_a_caller_expects(named_results):
    for name, entry in named_results.items():
        if entry["outcome"] != "loaded":
            expected = REFUSALS | {REFUSED_BY_THE_READER.get(name, "ValueError")}
            assert expected & set(entry["kinds"]), (name, entry["outcome"], entry["message"][:300])
            assert entry["message"], name
        assert entry["seconds"] < 20, name


def test_the_scripts_say_it_in_one_line(named_results):
    assert named_results["loads honest"]["pipeline"] == "loaded"
    for name, entry in named_results.items():
        told = entry["pipeline"]
        assert told in ("loaded", "not tried") or told.startswith("InputError: "), (name, told)
        assert "\n" not in told, name


def read_by_the_library(content: object) -> bool:
    """Tell whether the library stumbles over this before our class is asked."""
    return (
        not isinstance(content.get("auto_map", {}), dict)
        or not isinstance(content.get("architectures", []), list)
        or not isinstance(content.get("model_type", ""), str)
    )


JUNK = (
    *(None, True, False, 0, 1, -1, 2, 3.5, -0.0, 1e308, "", "bert", "a" * 5000, "../../etc/passwd", "\u0000"),
    *(
        "https://example.org/x",
        OTHER_REPOSITORY,
        "someone/kernel",
        [],
        [1],
        [[[]]],
        {},
        {"": {}},
        {"model_type": 1},
    ),
    *HUGE,
)
FURTHER_FIELDS = (
    *("auto_map", "attn_implementation", "dtype", "num_labels", "quantization_config", "tokenizer_class"),
    *(
        "is_decoder",
        "add_cross_attention",
        "tie_word_embeddings",
        "pruned_heads",
        "problem_type",
        "_commit_hash",
    ),
    *("torch_dtype", "chunk_size_feed_forward", "output_attentions", "output_hidden_states", "return_dict"),
    *(
        "base_config_key",
        "keys_to_ignore_at_inference",
        "__class__",
        "__dict__",
        "use_kernels",
        "layer_types",
    ),
)


def mutants(honest: dict, number: int, seed: int) -> list[tuple[str, object]]:
    """Configurations with one to three fields changed at random."""
    draw = random.Random(seed)
    cases = []
    for index in range(number):
        content = copy.deepcopy(honest)
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            part = draw.choice(("", "", "text_config", "code_config"))
            place = content[part] if part else content
            if not isinstance(place, dict) or not place:
                continue
            kind = draw.random()
            name = draw.choice((*place, *FURTHER_FIELDS))
            if kind < 0.1:
                place.pop(name, None)
            elif kind < 0.2:
                place["text_config" if part else draw.choice(("text_config", "code_config"))] = draw.choice(
                    JUNK
                )
            else:
                place[name] = draw.choice(JUNK)
            if not isinstance(content.get("text_config"), dict) or not isinstance(
                content.get("code_config"), dict
            ):
                break
        cases.append((f"mutant {index}", content))
    return cases


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_random_configurations_load_or_are_refused(saved, tmp_path, seed):
    folder, honest = saved
    cases = mutants(honest, NUM_MUTANTS * (1 + 9 * seed), seed)
    results = run_cases(folder, cases, tmp_path)
    outcomes = {entry["outcome"] for entry in results.values()}
    assert "loaded" in outcomes
    assert len(outcomes) > 1
    content_of = dict(cases)
    for name, entry in results.items():
        told = (entry["outcome"], entry.get("message", "")[:500], json.dumps(content_of[name])[:6000])
        assert entry["network"] == [], told
        assert entry["pipeline"].startswith(("loaded", "not tried", "InputError: ")), (
            entry["pipeline"],
            told,
        )
        assert entry["seconds"] < 20, told
        if entry["outcome"] != "loaded":
            # Weights of another shape than the configuration says are the library's RuntimeError.
            fits_not = entry["outcome"] == "RuntimeError" and "size" in entry["message"]
            early = entry["outcome"] == "TypeError" and read_by_the_library(content_of[name])
            assert fits_not or early or REFUSALS & set(entry["kinds"]), told
        else:
            assert entry["weights"] <= MAX_WEIGHTS, told
            assert entry["module"] == "configuration_medm_plm", told
            assert entry.get("model_module", "modeling_medm_plm") == "modeling_medm_plm", told


@pytest.mark.parametrize("model_type", TEXT_MODEL_TYPES)
@pytest.mark.parametrize(
    ("model_class", "fields"),
    [
        (MedMPLMForPreTraining, {}),
        (MedMPLMForTokenClassification, {"tagger_hidden_size": 50}),
        (MedMPLMForMedicationRecommendation, {"num_labels": 300, "use_current_note": True}),
        (MedMPLMForICDCoding, {"num_labels": 300, "classifier_token_weights": True}),
        (MedMPLMForICDCoding, {"num_labels": 300, "classifier": "label_attention"}),
        (MedMPLMForICDCoding, {"classifier_num_hidden_layers": 3, "classifier_hidden_size": 77}),
    ],
)
def test_the_estimate_of_the_weights_is_an_upper_bound(model_type, model_class, fields):
    """Otherwise a configuration could ask for more than the bound."""
    sizes = {"model_type": model_type, "max_position_embeddings": 40, "pad_token_id": 0}
    config = tiny_config(text_config=sizes, chunk_length=20, **fields)
    with torch.device("meta"):
        model = model_class(config)
    built = sum(value.numel() for value in model.parameters())
    estimate = sum(_count_weights(config).values())
    assert built <= estimate
    assert isinstance(config, MedMPLMConfig)


def test_the_estimate_knows_the_weights_of_tokens():
    """One for each label and each word piece or code; with few of them other parts would cover for these."""
    text = {"vocab_size": 30_000, "pad_token_id": 0}
    config = tiny_config(text_config=text, num_labels=500, classifier_token_weights=True)
    with torch.device("meta"):
        model = MedMPLMForICDCoding(config)
    assert sum(value.numel() for value in model.parameters()) <= sum(_count_weights(config).values())
