"""A model hub on the loopback interface: the routes that the client library uses, over real HTTP."""

from hub_server.faults import Fault
from hub_server.server import HubServer
from hub_server.store import Repo, Store

__all__ = ["Fault", "HubServer", "Repo", "Store"]
