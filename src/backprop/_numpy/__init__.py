"""The contract of every kernel, and the backend in plain NumPy that defines it.

The NumPy function of a kernel is its contract: the docstring is the formula, the line above the function says what its arrays must
be, and the body computes the formula in the plainest way. It is the reference implementation (the *twin*) with which the compiled
kernel of the same name is compared, and it serves where no extension is installed.

Rules that hold for every kernel:

- Arguments stand in the order inputs, arrays that are updated in place, outputs, scalars. The caller allocates; the kernel returns
  None (losses and norms: a float).
- Arrays are C-contiguous, aligned, in native byte order, and all of one dtype, float32 or float64 (labels: int64, spans: `SPAN`).
  Anything else is a TypeError (not an array, wrong dtype) or ValueError (layout, shape, overlap) that names the argument; it is
  raised before any memory is touched.
- Inputs are never changed, outputs are overwritten whole. Zero rows are fine.
- Sums of losses and norms are accumulated in float64, whatever the dtype, and so are squares and the shares of weighted rows.

Symbols: ``n`` rows (the batch), ``p`` fan_in, ``k`` fan_out or columns, ``s`` the length of a flat parameter buffer, ``r`` spans.
"""

from . import activations, dense, dropout, losses, normalization, optimizers


class Kernels:
    """One function for each kernel: those of NumPy here, and under the same names in every backend."""

    # Dense layers.
    dense_forward = staticmethod(dense.dense_forward)
    dense_backward = staticmethod(dense.dense_backward)

    # Activations: elementwise, except softmax, which works on rows.
    activation_forward = staticmethod(activations.activation_forward)
    activation_backward = staticmethod(activations.activation_backward)

    # Losses.
    cross_entropy = staticmethod(losses.cross_entropy)
    cross_entropy_soft = staticmethod(losses.cross_entropy_soft)
    kl_divergence = staticmethod(losses.kl_divergence)
    focal = staticmethod(losses.focal)
    binary_cross_entropy = staticmethod(losses.binary_cross_entropy)
    binary_focal = staticmethod(losses.binary_focal)
    mse = staticmethod(losses.mse)
    half_mse = staticmethod(losses.half_mse)
    mae = staticmethod(losses.mae)
    huber = staticmethod(losses.huber)
    log_cosh = staticmethod(losses.log_cosh)
    poisson = staticmethod(losses.poisson)
    gamma = staticmethod(losses.gamma)
    gaussian = staticmethod(losses.gaussian)
    quantile = staticmethod(losses.quantile)
    non_crossing_quantiles = staticmethod(losses.non_crossing_quantiles)
    hinge = staticmethod(losses.hinge)

    # Gradients and optimizers.
    squared_norm = staticmethod(optimizers.squared_norm)
    scale = staticmethod(optimizers.scale)
    clip_value = staticmethod(optimizers.clip_value)
    sgd = staticmethod(optimizers.sgd)
    rmsprop = staticmethod(optimizers.rmsprop)
    adagrad = staticmethod(optimizers.adagrad)
    adadelta = staticmethod(optimizers.adadelta)
    adam = staticmethod(optimizers.adam)
    adamax = staticmethod(optimizers.adamax)
    nadam = staticmethod(optimizers.nadam)
    radam = staticmethod(optimizers.radam)
    lion = staticmethod(optimizers.lion)
    rprop = staticmethod(optimizers.rprop)

    # Normalization and noise.
    batch_norm_forward = staticmethod(normalization.batch_norm_forward)
    batch_norm_backward = staticmethod(normalization.batch_norm_backward)
    batch_norm_inference = staticmethod(normalization.batch_norm_inference)
    batch_norm_inference_backward = staticmethod(normalization.batch_norm_inference_backward)
    layer_norm_forward = staticmethod(normalization.layer_norm_forward)
    layer_norm_backward = staticmethod(normalization.layer_norm_backward)
    dropout = staticmethod(dropout.dropout)


NAMES = tuple(name for name in vars(Kernels) if not name.startswith("_"))
"""The names of the kernels, in the order of the class."""

REFERENCE = Kernels()
"""The NumPy backend."""
