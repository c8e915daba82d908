"""Temporal kernels: each with its covariance and, beside it, its closed-form state-space model."""

from terralatent.models.kernels.constant import Constant
from terralatent.models.kernels.descriptions import make_kernel
from terralatent.models.kernels.matern12 import Matern12
from terralatent.models.kernels.matern32 import Matern32
from terralatent.models.kernels.matern52 import Matern52
from terralatent.models.kernels.periodic import Periodic
from terralatent.models.kernels.products import Product
from terralatent.models.kernels.sums import Sum
from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.kernels.white import White

__all__ = [
    "Constant",
    "Matern12",
    "Matern32",
    "Matern52",
    "Periodic",
    "Product",
    "Sum",
    "TemporalKernel",
    "White",
    "make_kernel",
]
