"""A child process that says how many threads it was given for numpy."""

import os

print(os.environ["OPENBLAS_NUM_THREADS"])
