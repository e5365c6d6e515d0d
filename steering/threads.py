"""How torch's threads wait for each other: settled before torch is imported, since OpenMP reads its environment once.

Measured by `python -m benchmarks.busy` into benchmarks/busy.json, on two cores of which one or both had other work: a
picture takes 21 or 67 s while waiting threads spin, 1.3 or 3.1 s while they sleep, and 1.1 or 2.2 s with one thread.
How many threads there are is left to torch, one a core, until it is measured where the cores are free.
"""

from __future__ import annotations

import os

POLICY = {
    "OMP_WAIT_POLICY": "PASSIVE",  # a thread without work sleeps; spinning, it takes the core that others need
    "GOMP_SPINCOUNT": "0",  # GNU's OpenMP, which torch brings
    "KMP_BLOCKTIME": "0",  # Intel's and LLVM's
}


def settle() -> None:
    """Set the policy for what is imported from now on; whatever the user has set stays as it is."""
    for name, value in POLICY.items():
        os.environ.setdefault(name, value)
