"""Laws of the transforms: equality to PyWavelets and SciPy, adjointness, tight frames, closed forms, any size."""

import numpy as np
import pytest
import pywt
import scipy.fft
import torch

from cs_recon.stationary import StationaryWavelet
from cs_recon.transforms import (
    dct2,
    differences,
    differences_adjoint,
    idct2,
    laplacian_eigenvalues,
    solve_screened_poisson,
)
from cs_recon.wavelets import OrthogonalWavelet, _bank
from simulate import InputError

SIZES = [(8, 8), (33, 50), (17, 1), (1, 12), (61, 75)]


def images(shape, channels=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((2, channels, *shape), dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("shape", SIZES)
def test_dct_equals_scipy(shape):
    x = images(shape)
    expected = scipy.fft.dctn(x.numpy(), norm="ortho", axes=(-2, -1))
    np.testing.assert_allclose(dct2(x), expected, atol=1e-12)
    np.testing.assert_allclose(dct2(x.float()), expected, atol=1e-5)


@pytest.mark.parametrize("shape", SIZES)
def test_dct_is_orthogonal(shape):
    x, y = images(shape), images(shape, seed=1)
    torch.testing.assert_close(idct2(dct2(x)), x)
    torch.testing.assert_close((dct2(x) * y).sum(), (x * idct2(y)).sum())


@pytest.mark.parametrize("shape", SIZES)
def test_differences_and_their_adjoint(shape):
    x, d = images(shape), images(shape, channels=2, seed=1)
    torch.testing.assert_close((differences(x) * d).sum(), (x * differences_adjoint(d)).sum())
    assert differences(torch.full((1, 1, *shape), 3.0)).abs().max() == 0


def test_differences_by_hand():
    x = torch.tensor([[1.0, 4.0], [2.0, 9.0]])[None, None]
    assert differences(x).tolist() == [[[[1.0, 5.0], [0.0, 0.0]], [[3.0, 0.0], [7.0, 0.0]]]]


@pytest.mark.parametrize("shape", SIZES)
def test_the_cosine_basis_diagonalises_the_laplacian(shape):
    x = images(shape)
    applied = differences_adjoint(differences(x))
    torch.testing.assert_close(dct2(applied), laplacian_eigenvalues(x) * dct2(x), atol=1e-11, rtol=0)
    z = solve_screened_poisson(x, 0.7)
    torch.testing.assert_close(z + 0.7 * differences_adjoint(differences(z)), x)


@pytest.mark.parametrize("name", ["haar", "db2", "sym4", "coif2"])
@pytest.mark.parametrize("levels", [1, 3])
def test_stationary_wavelets_equal_pywavelets(name, levels):
    x = images((32, 48))
    theirs = pywt.swt2(x[0, 0].numpy(), name, levels, norm=True, trim_approx=True)
    expected = np.stack([theirs[0], *(band for level in theirs[1:] for band in level)])
    frame = StationaryWavelet(name, levels)
    np.testing.assert_allclose(frame.analysis(x)[0], expected, atol=1e-12)
    np.testing.assert_allclose(frame.analysis(x.float())[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["haar", "sym4"])
@pytest.mark.parametrize("shape", [(33, 50), (16, 16), (9, 64)])
def test_the_stationary_frame_is_tight_at_any_size(name, shape):
    x = images(shape)
    frame = StationaryWavelet(name, 3)
    coefficients = frame.analysis(x)
    torch.testing.assert_close(frame.synthesis(coefficients), x, atol=1e-10, rtol=0)
    torch.testing.assert_close(coefficients.square().sum(), x.square().sum())
    other = images(shape, channels=10, seed=1)
    torch.testing.assert_close((coefficients * other).sum(), (x * frame.synthesis(other)).sum())


def test_the_stationary_frame_moves_with_the_image():
    x = images((33, 50))
    frame = StationaryWavelet("sym4", 3)
    moved = frame.analysis(x.roll((5, 7), dims=(-2, -1)))
    torch.testing.assert_close(moved, frame.analysis(x).roll((5, 7), dims=(-2, -1)))


def test_level_weights_are_the_noise_of_the_bands():
    frame = StationaryWavelet("sym4", 3)
    noise = frame.analysis(images((256, 256)))
    measured = noise.std(dim=(0, 2, 3))[1:]
    torch.testing.assert_close(measured, frame.level_weights(noise).flatten()[1:], rtol=0.1, atol=0)


def test_the_weighted_frame_norm_is_the_orthogonal_one_averaged_over_translations():
    x = images((16, 16))
    frame, basis = StationaryWavelet("haar", 2), OrthogonalWavelet("haar", 2)
    shifted = [
        sum(band.abs().sum() for band in basis.analysis(x.roll((i, j), dims=(-2, -1)))[1:])
        for i in range(4)
        for j in range(4)
    ]
    norm = (frame.level_weights(x) * frame.analysis(x).abs()).sum()
    torch.testing.assert_close(norm, sum(shifted) / len(shifted))


@pytest.mark.filterwarnings("ignore:Level value of")
@pytest.mark.parametrize("name", ["haar", "sym4"])
@pytest.mark.parametrize("shape", [(45, 31), (7, 64), (33, 33)])
def test_orthogonal_wavelets_of_odd_sizes_equal_pywavelets(name, shape):
    x = images(shape)
    transform = OrthogonalWavelet(name, 2)
    ours = transform.analysis(x)
    theirs = pywt.wavedec2(x[0, 0].numpy(), name, mode="periodization", level=2)
    np.testing.assert_allclose(ours[0][0, 0], theirs[0], atol=1e-10)
    for mine, yours in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(mine[0], np.stack(yours), atol=1e-10)
    torch.testing.assert_close(transform.synthesis(ours, shape), x, atol=1e-9, rtol=0)


def test_bad_wavelets():
    with pytest.raises(InputError, match="did you mean 'sym4'"):
        StationaryWavelet("symm4")
    with pytest.raises(InputError, match="levels is 0"):
        StationaryWavelet("haar", 0)
    with pytest.raises(InputError, match="levels is 0"):
        OrthogonalWavelet("haar", 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_transforms_on_cuda_equal_the_cpu():
    x = images((61, 75)).float()
    frame = StationaryWavelet("sym4", 4)
    for transform in (dct2, idct2, differences, frame.analysis):
        torch.testing.assert_close(transform(x.cuda()).cpu(), transform(x), atol=1e-5, rtol=0)


def test_a_wavelet_that_is_nearly_orthogonal_is_none():
    """PyWavelets calls its dmey orthogonal, whose synthesis misses the image by some per cent."""
    with pytest.raises(InputError, match="unknown orthogonal wavelet 'dmey'"):
        OrthogonalWavelet("dmey")
    for name in ("haar", "sym4", "db20", "coif5"):
        OrthogonalWavelet(name)


@pytest.mark.parametrize("kind", [StationaryWavelet, OrthogonalWavelet])
def test_a_transform_first_used_without_gradients_serves_them_after(kind):
    with torch.inference_mode():
        wavelet = kind("db3", 2)  # used by no other test
        wavelet.analysis(torch.zeros(1, 1, 23, 29))
    image = torch.rand(1, 1, 23, 29, requires_grad=True)
    sum(band.square().sum() for band in wavelet.analysis(image)).backward()
    assert image.grad.abs().sum() > 0


def test_filters_are_made_once_for_each_type_and_device():
    """A copy at each call would stall a GPU."""
    cpu = torch.device("cpu")
    for kind in (torch.float32, torch.float64):
        bank = _bank("sym4", kind, cpu)
        assert bank.dtype == kind
        assert _bank("sym4", kind, cpu) is bank


def test_wavelets_are_exact_where_networks_are_rounded():
    """Rounded bands would not give the image back, which costs noise-free full scans some tenths of a dB."""
    x = images((61, 75)).float()
    transform = OrthogonalWavelet("haar", 3)
    with torch.autocast("cpu", torch.bfloat16):
        back = transform.synthesis(transform.analysis(x), x.shape[-2:])
    torch.testing.assert_close(back, x, atol=1e-5, rtol=0)
