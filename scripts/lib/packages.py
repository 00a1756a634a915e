"""Python packages that a script needs beyond the standard library: pinned, in the user's cache, fetched where they are
not there."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def use(requirements=None):
    """Puts the packages of a list on the path, by default those of the tests."""
    found = subprocess.run([HERE / "client_packages", *([requirements] if requirements else [])],
                           check=True, stdout=subprocess.PIPE, text=True)
    sys.path.insert(0, found.stdout.strip())
