"""Dense neural networks on the CPU: build, train, understand and ship them."""

from .kernels import Backend, backend, set_num_threads, use_backend

__all__ = ["Backend", "backend", "set_num_threads", "use_backend"]
