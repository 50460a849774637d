"""What every test shares: no network, one thread per process, and where the real tables are."""

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is no bug
settings.load_profile("untimed")

# Set before anything imports torch or the Hub client, and inherited by the scripts that tests start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for _threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_threads, "1")

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_TEST_DATA = PROJECT_ROOT.parent / "shared" / "data"


class NetworkIsForbiddenError(RuntimeError):
    """Raised when a test tries to talk to anything but this machine."""


def is_on_this_machine(address: object) -> bool:
    """Tell whether a socket address stays on this machine (unix sockets and loopback do)."""
    if not isinstance(address, tuple):
        return True  # a path or an abstract name of a unix socket
    host = address[0]
    if host in ("", "localhost", None):
        return True
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def _no_network(request: pytest.FixtureRequest) -> Iterator[None]:
    """Refuse every connection and every name look-up that would leave this machine."""
    markers = request.config.getoption("markexpr")
    if "network" in markers and "not network" not in markers:
        yield
        return
    patch = pytest.MonkeyPatch()
    for owner, name, position in (
        (socket.socket, "connect", 1),
        (socket.socket, "connect_ex", 1),
        (socket, "getaddrinfo", 0),
    ):
        patch.setattr(owner, name, _guarded(getattr(owner, name), name, position))
    yield
    patch.undo()


def _guarded(original, name: str, position: int):
    def guard(*args, **kwargs):
        address = args[position] if len(args) > position else kwargs.get("host")
        address = (address,) if name == "getaddrinfo" else address
        if not is_on_this_machine(address):
            raise NetworkIsForbiddenError(
                f"socket.{name}({address!r}): tests run without the network; use loopback or a stand-in"
            )
        return original(*args, **kwargs)

    return guard


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Folder of the checkout, where the scripts and the configs lie."""
    return PROJECT_ROOT


@pytest.fixture(scope="session")
def test_data_folder() -> Path:
    """Folder with the public demo tables (MIMIC-III demo, eICU demo, mapping files).

    Named by the environment variable `MEDM_PLM_TEST_DATA`; without it `../shared/data` beside the checkout.
    """
    folder = Path(os.environ.get("MEDM_PLM_TEST_DATA", DEFAULT_TEST_DATA))
    if not folder.is_dir():
        pytest.skip("no demo tables: set MEDM_PLM_TEST_DATA to the folder that holds mimic3-demo-1.4")
    return folder
