"""Low-discrepancy sequences in whole numbers, marked on the pixel grid until enough pixels are hit."""

from __future__ import annotations

import numpy as np

from simulate.kernels.jit import compiled

SOBOL_BITS = 32
HALTON_TWOS, HALTON_THREES = 30, 19
HALTON_BASE2, HALTON_BASE3 = 2**HALTON_TWOS, 3**HALTON_THREES
R2_BITS = 62
PLASTIC = 1.32471795724474602596
R2_ROW, R2_COL = round(2**R2_BITS / PLASTIC**2), round(2**R2_BITS / PLASTIC)


@compiled
def sobol(n_rows, n_cols, count, shift):
    """Return a mask (flat, uint8) of the first `count` distinct pixels of the shifted 2-D Sobol sequence.

    Columns follow the van der Corput sequence, rows the primitive polynomial x + 1; `shift` is two 32-bit numbers that
    are added bit by bit (a digital shift, which keeps the sequence a (0, 2)-sequence in base 2).
    """
    row_bits, col_bits = np.empty(SOBOL_BITS, np.int64), np.empty(SOBOL_BITS, np.int64)
    row_bits[0] = col_bits[0] = 1 << (SOBOL_BITS - 1)
    for k in range(1, SOBOL_BITS):
        col_bits[k] = col_bits[k - 1] >> 1
        row_bits[k] = row_bits[k - 1] ^ (row_bits[k - 1] >> 1)
    taken = np.zeros(n_rows * n_cols, np.uint8)
    row, col, index, found = shift[0], shift[1], 0, 0
    while True:
        pixel = ((row * n_rows) >> SOBOL_BITS) * n_cols + ((col * n_cols) >> SOBOL_BITS)
        if not taken[pixel]:
            taken[pixel] = 1
            found += 1
            if found == count:
                return taken
        # Gray code: the next point differs by the direction of the index's lowest zero bit.
        bit = 0
        while (index >> bit) & 1:
            bit += 1
        row ^= row_bits[bit]
        col ^= col_bits[bit]
        index += 1


@compiled
def halton(n_rows, n_cols, count, shift):
    """Return a mask (flat, uint8) of the first `count` distinct pixels of the Halton sequence in bases 3 and 2.

    `shift` is two numbers below ``HALTON_BASE3`` and ``HALTON_BASE2``, added modulo these (Cranley and Patterson).
    """
    taken = np.zeros(n_rows * n_cols, np.uint8)
    digits = np.zeros(HALTON_THREES, np.int64)
    row, col, index, found = 0, 0, 0, 0
    while True:
        at_row = (row + shift[0]) % HALTON_BASE3 * n_rows // HALTON_BASE3
        at_col = (((col + shift[1]) % HALTON_BASE2) * n_cols) >> HALTON_TWOS
        pixel = at_row * n_cols + at_col
        if not taken[pixel]:
            taken[pixel] = 1
            found += 1
            if found == count:
                return taken
        # Add 1 to the index; its digits, mirrored at the point, are the coordinate.
        place, k = HALTON_BASE3 // 3, 0
        while digits[k] == 2:
            digits[k] = 0
            row -= 2 * place
            place //= 3
            k = (k + 1) % HALTON_THREES
        digits[k] += 1
        row += place
        place = HALTON_BASE2 >> 1
        while col & place:
            col ^= place
            place >>= 1
        col |= place
        index += 1


@compiled
def r2(n_rows, n_cols, count, shift):
    """Return a mask (flat, uint8) of the first `count` distinct pixels of the shifted R2 sequence.

    `shift` is two numbers below ``2**R2_BITS``.
    """
    taken = np.zeros(n_rows * n_cols, np.uint8)
    row, col, found = shift[0], shift[1], 0
    while True:
        pixel = (((row >> 30) * n_rows) >> 32) * n_cols + (((col >> 30) * n_cols) >> 32)
        if not taken[pixel]:
            taken[pixel] = 1
            found += 1
            if found == count:
                return taken
        row = (row + R2_ROW) & (2**R2_BITS - 1)
        col = (col + R2_COL) & (2**R2_BITS - 1)
