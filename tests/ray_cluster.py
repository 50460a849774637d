"""Runs a script on a Ray cluster of two workers that stays on the loopback of this machine.

python tests/ray_cluster.py SCRIPT
"""

import ipaddress
import os
import secrets
import subprocess
import sys
import tempfile

import psutil


def main(script: str) -> int:
    """Start a cluster, run a script whose `ray.init()` finds it, and stop the cluster.

    Args:
        script (`str`): the file of the script.

    Returns:
        The exit status of the script.
    """
    # A short folder, since the names of its sockets have a length limit, and one that goes again.
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        os.environ |= {
            "RAY_TMPDIR": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else one is written to the home folder
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # with 0, Ray takes the loopback for its network
        }
        import ray

        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 << 20)
        try:
            assert not (reachable := addresses_from_outside()), f"Ray listens to the network: {reachable}"
            environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
            return subprocess.run([sys.executable, script], env=environment, check=False).returncode
        finally:
            ray.shutdown()


def addresses_from_outside() -> list[str]:
    """Find where this process and those it started can be reached from other machines."""
    this = psutil.Process()
    listening = {
        connection.laddr.ip
        for process in [this, *this.children(recursive=True)]
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    return sorted(ip for ip in listening if not ipaddress.ip_address(ip.removeprefix("::ffff:")).is_loopback)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
