"""The tests of the package."""

import os

# Before anything imports what reads them. What a test loads is made by the test: a look at the hub
# would only wait for the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
