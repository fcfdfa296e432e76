/* The loops of `_planes.c`: sixteen target rows at a time.
 *
 * Compilers vectorise the innermost loops, which are over neighbours in memory. `scaled` is one
 * instruction (pmulhrsw).
 */

#ifndef IMG2DS_TILE_H
#define IMG2DS_TILE_H

#include <Python.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define INLINED static inline __attribute__((always_inline))
/* Keeps compilers from vectorising a loop over taps, which is much slower. */
#define ONE_BY_ONE __asm__ volatile("");

enum { ROWS = 16, COLUMNS = 32 }; /* of a tile between the two passes */
enum { UNIT = 1 << 14 };          /* a weight of 1 */

/* a * b / 2^15, rounded. */
INLINED short scaled(short a, short b)
{
    return (short)(((a * b >> 14) + 1) >> 1);
}

#ifdef __SSE2__

/* Transpose eight by eight: to[x * ROWS + y] = from[y * COLUMNS + x]. */
INLINED void transpose_words(short *to, const short *from)
{
    __m128i a[8], b[8];
    for (int i = 0; i < 8; i++)
        a[i] = _mm_loadu_si128((const __m128i *)(from + i * COLUMNS));
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
        b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
    }
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm_unpacklo_epi16(b[i], b[i + 4]);
        a[2 * i + 1] = _mm_unpackhi_epi16(b[i], b[i + 4]);
    }
    for (int i = 0; i < 4; i++) {
        _mm_storeu_si128((__m128i *)(to + 2 * i * ROWS), _mm_unpacklo_epi16(a[i], a[i + 4]));
        _mm_storeu_si128((__m128i *)(to + (2 * i + 1) * ROWS), _mm_unpackhi_epi16(a[i], a[i + 4]));
    }
}

/* Transpose sixteen by sixteen, in place. */
INLINED void transpose_bytes(unsigned char (*tile)[ROWS])
{
    __m128i a[16], b[16];
    for (int i = 0; i < 16; i++)
        a[i] = _mm_loadu_si128((const __m128i *)tile[i]);
    for (int stage = 0; stage < 4; stage++) {
        for (int i = 0; i < 8; i++) {
            b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
            b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
        }
        memcpy(a, b, sizeof a);
    }
    for (int i = 0; i < 16; i++)
        _mm_storeu_si128((__m128i *)tile[i], a[i]);
}

/* Sixteen sums to bytes. */
INLINED void store_bytes(unsigned char *to, const short *sum)
{
    const __m128i half = _mm_set1_epi16(32);
    const __m128i low = _mm_loadu_si128((const __m128i *)sum);
    const __m128i high = _mm_loadu_si128((const __m128i *)(sum + 8));
    const __m128i bytes = _mm_packs_epi16(_mm_srai_epi16(_mm_add_epi16(low, half), 6),
                                          _mm_srai_epi16(_mm_add_epi16(high, half), 6));
    _mm_storeu_si128((__m128i *)to, _mm_xor_si128(bytes, _mm_set1_epi8((char)0x80)));
}

#else

INLINED void transpose_words(short *to, const short *from)
{
    for (int x = 0; x < 8; x++)
        for (int y = 0; y < 8; y++)
            to[x * ROWS + y] = from[y * COLUMNS + x];
}

INLINED void transpose_bytes(unsigned char (*tile)[ROWS])
{
    for (int x = 0; x < ROWS; x++)
        for (int y = 0; y < x; y++) {
            const unsigned char byte = tile[x][y];
            tile[x][y] = tile[y][x];
            tile[y][x] = byte;
        }
}

INLINED void store_bytes(unsigned char *to, const short *sum)
{
    for (int i = 0; i < ROWS; i++) {
        const int value = ((sum[i] + 32) >> 6) + 128;
        to[i] = (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

#endif

/* transposed[x * ROWS + y] = sixteen sums over rows, in 128ths of a level less 128. */
INLINED void sum_rows(short *transposed, const unsigned char *source, Py_ssize_t stride, int width,
                      const int *start, const short *weight, int count)
{
    for (int x = 0;; x = x + 2 * COLUMNS > width ? width - COLUMNS : x + COLUMNS) {
        short tile[ROWS][COLUMNS];
        for (int y = 0; y < ROWS; y++) {
            const unsigned char *from = source + start[y] * stride + x;
            short sum[COLUMNS] = {0};
            for (int k = 0; k < count; k++) {
                const unsigned char *restrict row = from + k * stride;
                const short share = weight[y * count + k];
                ONE_BY_ONE
#pragma GCC unroll 1
                for (int i = 0; i < COLUMNS; i++)
                    sum[i] = (short)(sum[i] + scaled((short)((row[i] ^ 0x80) << 8), share));
            }
            memcpy(tile[y], sum, sizeof sum);
        }
        for (int y = 0; y < ROWS; y += 8)
            for (int i = 0; i < COLUMNS; i += 8)
                transpose_words(transposed + (x + i) * ROWS + y, &tile[y][i]);
        if (x + COLUMNS >= width)
            break;
    }
}

/* `rows` new rows of `length` samples, or with `swap` columns, at `target` from their sums over
 * old rows. */
INLINED void sum_columns(unsigned char *target, Py_ssize_t stride, int rows, int length, int swap,
                         const short *transposed, const int *start, const short *weights, int count)
{
    for (int x = 0; x < length; x += ROWS) {
        unsigned char tile[ROWS][ROWS];
        const int columns = length - x < ROWS ? length - x : ROWS;
        for (int j = 0; j < ROWS; j++) {
            const short *restrict from = transposed + start[x + j] * ROWS;
            const short *restrict weight = weights + (size_t)(x + j) * count;
            short sum[ROWS] = {0};
            for (int k = 0; k < count; k++) {
                const short share = weight[k];
                ONE_BY_ONE
#pragma GCC unroll 1
                for (int i = 0; i < ROWS; i++)
                    sum[i] = (short)(sum[i] + scaled(from[k * ROWS + i], share));
            }
            store_bytes(tile[j], sum);
        }
        unsigned char *to = target + (swap ? x * stride : x);
        const int lines = swap ? columns : rows, bytes = swap ? rows : columns;
        if (!swap)
            transpose_bytes(tile);
        for (int i = 0; i < lines; i++, to += stride) {
            if (bytes == ROWS)
                memcpy(to, tile[i], ROWS);
            else
                memcpy(to, tile[i], bytes);
        }
    }
}

#endif
