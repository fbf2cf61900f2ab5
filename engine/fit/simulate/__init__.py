"""A step of the user's run, simulated: the real libraries on meta tensors, every allocation recorded and replayed.

Meta tensors are PyTorch's fake tensors without data: operators compute shapes only. Fake tensors that claim to be on a
CUDA device abort in builds without CUDA as soon as autograd meets them, and open a CUDA context in builds with it, so
what depends on the device is written out instead: kernels.py, attention.py, autocast.py and semantics.py.
"""
