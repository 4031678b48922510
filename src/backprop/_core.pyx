# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, infer_types=True
# cython: embedsignature=True
"""The kernels, compiled; the contract of each, with its formula, is its twin in `backprop._numpy`.

This file is the contents page, in reading order. It is compiled once per instruction set (setup.py); `ISA` names the one that
this module was compiled for.
"""

import numpy as np

cimport cython
cimport numpy as cnp
from libc.math cimport INFINITY, NAN

cnp.import_array()

include "_kernels/vector.pxi"
include "_kernels/vmath.pxi"
include "_kernels/checks.pxi"
include "_kernels/team.pxi"
include "_kernels/matmul.pxi"
include "_kernels/activations.pxi"
include "_kernels/dense.pxi"
include "_kernels/sums.pxi"
include "_kernels/losses.pxi"
include "_kernels/optimizers.pxi"
include "_kernels/normalization.pxi"
include "_kernels/random.pxi"
include "_kernels/order.pxi"
include "_kernels/peak.pxi"
include "_kernels/program.pxi"
include "_kernels/predict.pxi"
include "_kernels/tally.pxi"
include "_kernels/steps.pxi"
include "_kernels/groups.pxi"
include "_kernels/plan.pxi"

ISA: str = BACKPROP_ISA.decode()
PROCESSOR_LEVEL: int = processor_level()
