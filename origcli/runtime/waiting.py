"""How the threads of one computation wait for each other."""

import os
from collections.abc import MutableMapping

POLICY = "OMP_WAIT_POLICY"
# GNU's and Intel's own ways to say the same: whoever sets one has decided.
_DECIDED = (POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_asleep(environment: MutableMapping[str, str] | None = None) -> None:
    """Lets threads that wait for others sleep, unless the environment says how they are to wait.

    By itself OpenMP lets them spin for a while: a thread that shares its core with another program then burns
    the time that the thread it waits for would need. It reads the environment once, when torch is loaded,
    so this comes before.

    Args:
        environment: the process's own when `None`.
    """
    variables = os.environ if environment is None else environment
    if not any(variables.get(name, "").strip() for name in _DECIDED):
        variables[POLICY] = "PASSIVE"
