"""What is possible: rate-distortion functions that the codecs are measured against.

    formulas     closed_forms          Gaussian, Laplace, Bernoulli, Wyner-Ziv, realism, water-filling
    densities    blahut_arimoto        R(D) and conditional R(D) of anything discrete, certified from below
                 wyner_ziv             side information at the decoder only, all strategies
                 wyner_ziv_grid        the same for scalar pairs on a grid, squared error
    samples      mixtures              p(x|y) as a mixture of Gaussians
                 densities             that on a grid, for the algorithms above
                 sample_limits         the limit of scalars and pairs, with a bracket
                 wasserstein_gd        R(D) by moving particles: estimate from above
                 sandwich              R(D) between a learned upper and a learned lower bound (needs torch)

Rates are in bits per sample where a name ends in `_bits`, slopes in nats per unit of distortion. A bound says
whether it is certified.
"""

from obverse.theory.blahut_arimoto import (
    BlahutArimoto,
    blahut_arimoto,
    conditional_blahut_arimoto,
    conditional_curve,
    rate_distortion_curve,
)
from obverse.theory.closed_forms import (
    bernoulli_rate_bits,
    binary_entropy_bits,
    binary_wyner_ziv_critical,
    binary_wyner_ziv_rate_bits,
    gaussian_conditional_variance,
    gaussian_distortion,
    gaussian_rate_bits,
    gaussian_rdp_rate_bits,
    gaussian_vector_rate_bits,
    gaussian_wyner_ziv_rate_bits,
    laplace_rate_bits,
    parallel_gaussians_rate_bits,
    water_level,
)
from obverse.theory.curves import (
    RateDistortionCurve,
    RateDistortionPoint,
    curve_at_slopes,
    point_at_distortion,
)
from obverse.theory.densities import density_of, joint_density_of
from obverse.theory.plot import Measured, plot_curves
from obverse.theory.sample_limits import SampleLimit, limit_of_pairs, limit_of_scalars
from obverse.theory.sources import (
    Banana,
    absolute_error,
    discretise,
    discretise_pair,
    hamming,
    squared_error,
)
from obverse.theory.wasserstein_gd import WassersteinEstimate, wasserstein_gd
from obverse.theory.wyner_ziv import WynerZiv, wyner_ziv, wyner_ziv_auxiliary
from obverse.theory.wyner_ziv_grid import grid_rate_bits, grid_rd, wyner_ziv_squared_error

__all__ = [
    "Banana",
    "BlahutArimoto",
    "Measured",
    "RateDistortionCurve",
    "RateDistortionPoint",
    "SampleLimit",
    "WassersteinEstimate",
    "WynerZiv",
    "absolute_error",
    "bernoulli_rate_bits",
    "binary_entropy_bits",
    "binary_wyner_ziv_critical",
    "binary_wyner_ziv_rate_bits",
    "blahut_arimoto",
    "conditional_blahut_arimoto",
    "conditional_curve",
    "curve_at_slopes",
    "density_of",
    "discretise",
    "discretise_pair",
    "gaussian_conditional_variance",
    "gaussian_distortion",
    "gaussian_rate_bits",
    "gaussian_rdp_rate_bits",
    "gaussian_vector_rate_bits",
    "gaussian_wyner_ziv_rate_bits",
    "grid_rate_bits",
    "grid_rd",
    "hamming",
    "joint_density_of",
    "laplace_rate_bits",
    "limit_of_pairs",
    "limit_of_scalars",
    "parallel_gaussians_rate_bits",
    "plot_curves",
    "point_at_distortion",
    "rate_distortion_curve",
    "squared_error",
    "wasserstein_gd",
    "water_level",
    "wyner_ziv",
    "wyner_ziv_auxiliary",
    "wyner_ziv_squared_error",
]
