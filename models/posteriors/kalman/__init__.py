"""The Kalman filter and smoother: eager, compiled for CPUs, and as kernels of a GPU."""
