"""Run demo/app.py and note down every address outside this machine that it looks up or connects to.

python tests/demo/guarded_app.py RECORD [words of demo/app.py]
"""

import runpy
import sys
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
LOCAL = ("127.", "::1", "localhost")


def main() -> None:
    """Watch, then run."""
    record = open(sys.argv[1], "a", encoding="utf-8")  # noqa: SIM115 (until the process ends)

    def watch(event: str, arguments: tuple) -> None:
        if event == "socket.connect":
            address = arguments[1]
        elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
            address = arguments[:1]
        else:
            return
        host = address[0] if isinstance(address, tuple) else None  # unix sockets have paths
        if host and not str(host).startswith(LOCAL):
            record.write(f"{event} {host}\n")
            record.flush()

    sys.addaudithook(watch)
    sys.argv = [str(PROJECT_ROOT / "demo" / "app.py"), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
