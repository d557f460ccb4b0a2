"""The public names, literally: to add one is a decision, to lose one breaks programs."""

import importlib

import pytest

PUBLIC = {
    "obverse": """
        Codec Container Limits Method ObverseError Options __version__ compress decompress list_codecs open
        open_codec
    """,
    "obverse.coding": "LogisticMixtures Message TableFamily quantise",
    "obverse.container": """
        Container Header ItemReader Items Limits MAGIC VERSION describe read read_header write write_atomically
    """,
    "obverse.errors": """
        CodecNameError CodingError DamagedError DeclarationError DecodeError ExportError InputError ItemIndexError
        LimitError MessageEmptyError MissingExtraError ModelError NewerVersionError NotObverseError ObverseError
        OptionError OutputError OutputExistsError RateTargetError SideInformationError TableError TrainingError
        TruncatedError UnknownCodecError UnrecoverableBlockError UnsupportedInputError VerificationError WrongModelError
        exit_codes
    """,
    "obverse.theory": """
        Banana BlahutArimoto Measured RateDistortionCurve RateDistortionPoint SampleLimit WassersteinEstimate WynerZiv
        absolute_error bernoulli_rate_bits binary_entropy_bits binary_wyner_ziv_critical binary_wyner_ziv_rate_bits
        blahut_arimoto conditional_blahut_arimoto conditional_curve curve_at_slopes density_of discretise
        discretise_pair gaussian_conditional_variance gaussian_distortion gaussian_rate_bits gaussian_rdp_rate_bits
        gaussian_vector_rate_bits gaussian_wyner_ziv_rate_bits grid_rate_bits grid_rd hamming joint_density_of
        laplace_rate_bits limit_of_pairs limit_of_scalars parallel_gaussians_rate_bits plot_curves point_at_distortion
        rate_distortion_curve squared_error wasserstein_gd water_level wyner_ziv wyner_ziv_auxiliary
        wyner_ziv_squared_error
    """,
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_these(module):
    package = importlib.import_module(module)
    assert sorted(package.__all__) == sorted(PUBLIC[module].split())
    assert all(hasattr(package, name) for name in package.__all__)
