"""How many threads numpy has for its matrix products."""

from __future__ import annotations

#: An environment in which numpy has one. It starts a thread for each further core when it is
#: imported, and each spins for 40 ms: nine thousand on a machine of 96 cores with a worker a core.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
