"""Stacks of small matrices: products, Cholesky factors, and bits that do not depend on the number of rows."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.density.matrices import cholesky, multiply_stacks, sum_of_squares, where_rows
from tests.support.same_bits import assert_rows_stand_alone

RNG = np.random.default_rng(0)


def positive(num_rows, size):
    """Return positive definite matrices with eigenvalues above 1."""
    root = RNG.normal(size=(num_rows, size, size))
    return root @ np.swapaxes(root, 1, 2) + np.eye(size)


@pytest.mark.parametrize(("size", "count"), [(3, 1), (16, 800), (50, 51), (80, 200), (200, 9)])
def test_products_of_stacks_do_not_depend_on_the_number_of_rows(size, count):
    """Bit for bit, also where a product is cut into parts that the BLAS library does not split among threads."""
    matrices, vectors = RNG.normal(size=(9, size, size)), RNG.normal(size=(9, size, count))
    expected = np.einsum("nml,nls->nms", matrices, vectors)
    np.testing.assert_allclose(multiply_stacks(matrices, vectors), expected, atol=1e-9)
    assert_rows_stand_alone(lambda rows: multiply_stacks(matrices[rows], vectors[rows]), 9)


def test_all_matrices_may_share_their_vectors():
    matrices, vectors = RNG.normal(size=(5, 2, 3)), RNG.normal(size=(1, 3, 7))
    expected = multiply_stacks(matrices, np.repeat(vectors, 5, axis=0))
    np.testing.assert_array_equal(multiply_stacks(matrices, vectors), expected)
    assert expected.shape == (5, 2, 7)


@pytest.mark.parametrize("shape", [(5, 1, 7), (1, 3, 1), (12, 9, 64), (9, 40, 1024)])
def test_a_sum_of_squares_is_the_squared_length_of_each_vector(shape):
    """Bit for bit the same for every number of rows. The vectors are overwritten, so every call gets a copy."""
    vectors = RNG.normal(size=shape)
    got = sum_of_squares(vectors.copy())
    assert got.shape == (shape[0], shape[2])
    np.testing.assert_allclose(got, np.linalg.norm(vectors, axis=1) ** 2, rtol=1e-12)
    assert_rows_stand_alone(lambda rows: sum_of_squares(vectors[rows]), shape[0])


def test_a_sum_of_squares_needs_no_second_array_of_the_vectors_size():
    """It squares them in place, and the sums share no memory with them."""
    vectors = RNG.normal(size=(5, 3, 7))
    squares = vectors**2
    got = sum_of_squares(vectors)
    np.testing.assert_array_equal(vectors, squares)
    assert not np.shares_memory(got, vectors)


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_factors_are_those_of_numpy(size):
    matrices = positive(6, size)
    lower, exists = cholesky(matrices, 0.0)
    assert exists.all()
    np.testing.assert_allclose(lower, np.linalg.cholesky(matrices), rtol=1e-9, atol=1e-12)


def test_a_matrix_without_a_factor_is_found_among_others():
    """Indefinite, singular and NaN; they get the identity, and the factors of the others are not touched."""
    matrices = positive(5, 3)
    before = matrices.copy()
    before[1] = np.diag([1.0, -1.0, 1.0])
    before[2] = np.ones((3, 3))
    before[3, 0, 0] = np.nan
    given = before.copy()
    lower, exists = cholesky(given, 1e-9)
    assert exists.tolist() == [True, False, False, False, True]
    np.testing.assert_allclose(lower[[0, 4]], np.linalg.cholesky(matrices[[0, 4]]), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(given, before)
    np.testing.assert_array_equal(lower[1:4], np.tile(np.eye(3), (3, 1, 1)))


def test_only_the_lower_triangle_decides_whether_a_factor_exists():
    """As for LAPACK. The curvatures of float32 networks are symmetric up to rounding, which far values make large."""
    with_factor, without = np.array([[1.0, 1.2], [0.9, 1.0]]), np.array([[1.0, 0.9], [1.05, 1.0]])
    _, exists = cholesky(np.stack([with_factor, without, np.eye(2)]), 0.0)
    np.testing.assert_array_equal(exists, [True, False, True])


def test_a_pivot_must_exceed_the_least_one():
    """Pivots of diag(4, 0.25) are 4 and 0.25. A matrix that fails gets the identity."""
    matrices = np.diag([4.0, 0.25])[None]
    lower, exists = cholesky(matrices, 0.24)
    assert exists.all()
    np.testing.assert_allclose(lower[0], np.diag([2.0, 0.5]))
    lower, exists = cholesky(matrices, 0.25)
    assert not exists.any()
    np.testing.assert_array_equal(lower[0], np.eye(2))


def test_factors_do_not_depend_on_the_other_matrices():
    """Also where one of them has no factor, is nearly singular, or is NaN: the others then take another way."""
    matrices = positive(12, 12)
    matrices[4] *= -1.0
    matrices[6] = np.ones((12, 12)) + 1e-12 * np.eye(12)
    matrices[7] = np.ones((12, 12)) + 1e-3 * np.eye(12)
    matrices[9, 3, 3] = np.nan
    for least in (0.0, 0.1):
        assert_rows_stand_alone(lambda rows: cholesky(matrices[rows], least), 12)  # noqa: B023 (called at once)
    assert cholesky(matrices, 0.0)[1].tolist() == [i not in (4, 6, 9) for i in range(12)]


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 2, 3)])
def test_rows_are_chosen_from_two_arrays(shape):
    new, old = np.ones(shape), np.zeros(shape)
    got = where_rows(np.array([True, False, False, True]), new, old)
    assert got.shape == shape
    np.testing.assert_array_equal(got.reshape(4, -1).any(axis=1), [True, False, False, True])
    np.testing.assert_array_equal(got.reshape(4, -1).all(axis=1), [True, False, False, True])
