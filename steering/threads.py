"""How torch's threads wait for each other, chosen before it is imported; benchmarks/busy.py measures why."""

from __future__ import annotations

import os

POLICY = {
    "OMP_WAIT_POLICY": "PASSIVE",  # a thread without work sleeps, where it would spin and take a busy core's time
    "GOMP_SPINCOUNT": "0",  # GNU's OpenMP, which torch brings
    "KMP_BLOCKTIME": "0",  # Intel's and LLVM's
}


def settle() -> None:
    """Set the policy for what is imported from now on; whatever the user has set stays as it is."""
    for name, value in POLICY.items():
        os.environ.setdefault(name, value)
