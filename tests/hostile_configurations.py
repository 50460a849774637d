"""Opens model folders whose `config.json` was written by an enemy, in a process that can do no harm.

    python hostile_configurations.py FOLDER CASES RESULTS [GIGABYTES]

FOLDER is a saved model, CASES a JSON list of `[name, config]`. Every name look-up and connection is refused
and counted, and the address space is limited. The result says of each case how it ended.
"""

import json
import resource
import socket
import sys
import time
from pathlib import Path

SMALL = 20_000_000
"""Models of more weights are not built, to save time."""
attempts: list[str] = []


class OffLimitsError(RuntimeError):
    """Raised in place of a connection."""


def _refuse(name: str):
    def refuse(*args: object, **kwargs: object) -> None:
        attempts.append(f"{name} {args[-1]!r}"[:200])
        raise OffLimitsError(name)

    return refuse


def guard() -> None:
    """Take the network away from this process."""
    socket.socket.connect = _refuse("connect")
    socket.socket.connect_ex = _refuse("connect_ex")
    socket.getaddrinfo = _refuse("getaddrinfo")


def limit_memory(gigabytes: float) -> None:
    """Let the process take so much more than it has; an allocation beyond that fails."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + int(gigabytes * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def open_folder(folder: Path, trust: bool) -> dict[str, object]:
    """Open configuration and model as our scripts do; with trust as a stranger would who has the package."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    import configuration_medm_plm as shapes

    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    weights = sum(shapes._count_weights(config).values()) if config.model_type == "medm_plm" else 0
    text, code = getattr(config, "text_config", config), getattr(config, "code_config", config)
    facts = {
        "module": type(config).__module__,
        "attention": [part._attn_implementation for part in (config, text, code)],
        "weights": weights,
    }
    if weights <= SMALL:
        model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=trust)
        facts["model_module"] = type(model).__module__
        facts["built"] = sum(value.numel() for value in model.state_dict().values())
    return facts


def predict(folder: Path) -> str:
    """Open the folder as `run_prediction.py` does; tell the kind of error, and how it was worded."""
    from medm_plm import load_pipeline

    try:
        opened = load_pipeline(folder, device="cpu")
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]
    try:
        opened({"note": "a note", "medication_codes": ["C03C"]})
    except Exception as error:
        return f"predicting: {type(error).__name__}: {error}"[:500]
    return "loaded"


def main() -> None:
    """Try every case and write how it ended."""
    folder, cases, results = map(Path, sys.argv[1:4])
    import modeling_medm_plm  # noqa: F401
    from medm_plm import register_auto_classes

    register_auto_classes()
    guard()
    limit_memory(float(sys.argv[4]) if len(sys.argv) > 4 else 3.0)
    ended = []
    for name, content in json.loads(cases.read_text(encoding="utf-8")):
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / "config.json").write_text(text, encoding="utf-8")
        before, start = len(attempts), time.monotonic()
        entry: dict[str, object] = {"name": name}
        try:
            entry |= {"outcome": "loaded", **open_folder(folder, trust="trust" in name)}
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            entry |= {"outcome": kinds[0], "kinds": kinds, "message": str(error)[:2000]}
        entry["pipeline"] = "not tried" if entry.get("weights", 0) > SMALL else predict(folder)
        entry |= {"network": attempts[before:], "seconds": time.monotonic() - start}
        ended.append(entry)
    results.write_text(json.dumps(ended), encoding="utf-8")


if __name__ == "__main__":
    main()
