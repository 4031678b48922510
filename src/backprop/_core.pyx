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

include "_kernels/core/vector.pxi"
include "_kernels/core/vmath.pxi"
include "_kernels/core/checks.pxi"
include "_kernels/core/team.pxi"
include "_kernels/core/matmul.pxi"
include "_kernels/activations.pxi"
include "_kernels/dense.pxi"
include "_kernels/core/sums.pxi"
include "_kernels/losses.pxi"
include "_kernels/optimizers.pxi"
include "_kernels/normalization.pxi"
include "_kernels/dropout.pxi"
include "_kernels/decimals.pxi"
include "_kernels/plans/order.pxi"
include "_kernels/core/peak.pxi"
include "_kernels/plans/program.pxi"
include "_kernels/plans/predict.pxi"
include "_kernels/plans/tally.pxi"
include "_kernels/plans/steps.pxi"
include "_kernels/plans/slices.pxi"
include "_kernels/plans/plan.pxi"
include "_kernels/plans/training_plan.pxi"

ISA: str = BACKPROP_ISA.decode()
PROCESSOR_LEVEL: int = processor_level()
