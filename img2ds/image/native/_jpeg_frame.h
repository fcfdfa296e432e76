/* The frame and its components: parameters from the headers, coefficients and planes. */

#ifndef IMG2DS_JPEG_FRAME_H
#define IMG2DS_JPEG_FRAME_H

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_jpeg_huffman.h"

#define WIDTH 1
#include "_jpeg_dct.h"
#define WIDTH 2
#include "_jpeg_dct.h"

/* Most components: those of YCbCr, and black, which has the resolution of luma. */
enum { COLOURS = 3, BLACK = 3, COMPONENTS = 4, SIDE = 8, BLOCK = 64 };

/* Coefficients past the 64th, in broken files, are stored in one that is never read. */
enum { COEFFICIENTS = BLOCK + 8 };

/* From zigzag to natural order. */
static const uint8_t NATURAL[BLOCK + 256] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    /* past the end */
    [BLOCK ... BLOCK + 255] = BLOCK};

/* Blocks are transformed in pairs: the first waits here for the second. */
typedef struct {
    int16_t coefficient[2][COEFFICIENTS] __attribute__((aligned(32)));
    uint8_t *out[2];
    int waiting;
} pair_t;

typedef struct {
    int16_t quant[BLOCK] __attribute__((aligned(32))); /* in natural order */
    pair_t pair;
    int id, h, v, table, dc, ac; /* Ci, Hi, Vi, Tqi; Huffman tables Tdj, Taj */
    int latched; /* whether `quant` was copied at the first scan */
    int seen;    /* scans of this component */
    int side;               /* pixels a side that a block is decoded to: 8, 4, 2 or 1 */
    int blocks_x, blocks_y; /* blocks with pixels */
    int padded_x, padded_y; /* blocks of whole MCUs */
    int width, height;      /* of the component */
    uint8_t *plane;
    ptrdiff_t stride;
    int predicted; /* PRED, the last DC value */
    /* Of images of several scans: */
    void *store;             /* the allocation that `coefficients` is in */
    int16_t *coefficients;   /* block after block */
    uint64_t *nonzero;       /* of each block a bit a coefficient, in zigzag order */
    int kept;                /* coefficients that are kept of each block: 64, 1 (DC), or none */
    int8_t precision[BLOCK]; /* Al of the last scan of a coefficient; -1: none yet */
} component_t;

/* Why an image is declined: it is rare or damaged; cut short; or the data end without a marker in a
 * scan that was skipped, so that nobody knows. */
typedef enum { RARE, CUT, UNSURE } fault_t;

typedef struct {
    const uint8_t *at, *end;
    fault_t fault;
    int open; /* whether the data have ended without EOI */
    uint16_t quant[4][BLOCK];
    int has_quant[4];
    huffman_t huffman[2][4]; /* DC and AC */
    component_t component[COMPONENTS];
    int components, width, height, h, v, mcus_x, mcus_y;
    int progressive, restart, jfif, adobe;
    int only;         /* the one component whose coefficients this pass keeps; -1: all */
    int avx2;         /* whether to use AVX2 and BMI2 */
    uint8_t *scratch; /* the unstuffed data of a scan */
} frame_t;

/* Whether a DC coefficient is one that an image can have. At four times the range sums overflow, in
 * which decoders differ. */
static ALWAYS int is_in_range(const component_t *component, int dc)
{
    const int value = dc * component->quant[0];
    return value > -4096 && value < 4096;
}

/* Fill a block whose only coefficient is DC, as in skies and walls. */
static inline void fill(const component_t *component, int dc, uint8_t *out)
{
    int level = (((int16_t)(dc * component->quant[0]) + 4) >> 3) + 128;
    level = level < 0 ? 0 : level > 255 ? 255 : level;
    const uint64_t row = 0x0101010101010101u * (uint64_t)level;
    const ptrdiff_t stride = component->stride;
    switch (component->side) {
    case 8:
        for (int i = 0; i < 8; i++)
            memcpy(out + i * stride, &row, 8);
        break;
    case 4:
        for (int i = 0; i < 4; i++)
            memcpy(out + i * stride, &row, 4);
        break;
    case 2:
        memcpy(out, &row, 2);
        memcpy(out + stride, &row, 2);
        break;
    default:
        *out = (uint8_t)level;
    }
}

static inline uint8_t level(int value)
{
    value += 128;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* libjpeg's inverse DCT to 2 pixels a side: columns 0, 1, 3, 5 and 7, then the same rows. */
static void dct2(const int16_t *block, const int16_t *quant, uint8_t *out, ptrdiff_t stride)
{
    __m128i r[8];
    for (int i = 0; i < 8; i++)
        if (i == 0 || i % 2)
            r[i] = _mm_mullo_epi16(_mm_load_si128((const __m128i *)block + i),
                                   _mm_load_si128((const __m128i *)quant + i));
#define FACTORS(a, b)                                                                              \
    _mm_set1_epi32((int)((uint32_t)(uint16_t)(a) | (uint32_t)(uint16_t)(b) << 16))
    __m128i sum[2], row[2];
    for (int half = 0; half < 2; half++) {
        const __m128i p13 = half ? _mm_unpackhi_epi16(r[1], r[3]) : _mm_unpacklo_epi16(r[1], r[3]);
        const __m128i p57 = half ? _mm_unpackhi_epi16(r[5], r[7]) : _mm_unpacklo_epi16(r[5], r[7]);
        const __m128i zero = _mm_setzero_si128();
        const __m128i dc = half ? _mm_unpackhi_epi16(zero, r[0]) : _mm_unpacklo_epi16(zero, r[0]);
        const __m128i even = _mm_srai_epi32(dc, 1); /* shifted left by 15 */
        const __m128i odd = _mm_add_epi32(_mm_madd_epi16(p13, FACTORS(29692, -10426)),
                                          _mm_madd_epi16(p57, FACTORS(6967, -5906)));
        const __m128i round = _mm_set1_epi32(1 << 12);
        sum[0] = _mm_srai_epi32(_mm_add_epi32(_mm_add_epi32(even, odd), round), 13);
        sum[1] = _mm_srai_epi32(_mm_add_epi32(_mm_sub_epi32(even, odd), round), 13);
        if (half == 0) {
            row[0] = sum[0];
            row[1] = sum[1];
        }
    }
#undef FACTORS
    for (int i = 0; i < 2; i++) {
        int16_t w[8] __attribute__((aligned(16)));
        _mm_store_si128((__m128i *)w, _mm_packs_epi32(row[i], sum[i]));
        /* Broken images exceed 32 bits. */
        const uint32_t even = (uint32_t)(w[0] * 32768) + (1 << 19);
        const uint32_t odd = (uint32_t)(w[1] * 29692 + w[3] * -10426) +
                             (uint32_t)(w[5] * 6967 + w[7] * -5906);
        out[i * stride] = level((int32_t)(even + odd) >> 20);
        out[i * stride + 1] = level((int32_t)(even - odd) >> 20);
    }
}

/* Inverse DCT of one block, or two. */
static inline void transform(const frame_t *frame, const component_t *component,
                             const int16_t *const block[2], uint8_t *const out[2], int count)
{
    const int16_t *quant = component->quant;
    const ptrdiff_t stride = component->stride;
    if (component->side > 2 && frame->avx2 && count == 2) {
        if (component->side == 8)
            dct8_avx2(block[0], block[1], quant, out, stride);
        else
            dct4_avx2(block[0], block[1], quant, out, stride);
        return;
    }
    for (int i = 0; i < count; i++) {
        if (component->side == 8)
            dct8_sse2(block[i], NULL, quant, out + i, stride);
        else if (component->side == 4)
            dct4_sse2(block[i], NULL, quant, out + i, stride);
        else
            dct2(block[i], quant, out[i], stride);
    }
}

/* Transform the blocks that wait, and clear them. */
static void flush(const frame_t *frame, component_t *component)
{
    pair_t *pair = &component->pair;
    const int16_t *const block[2] = {pair->coefficient[0], pair->coefficient[1]};
    transform(frame, component, block, pair->out, pair->waiting);
    memset(pair->coefficient[0], 0, BLOCK * sizeof(int16_t));
    memset(pair->coefficient[1], 0, BLOCK * sizeof(int16_t));
    pair->waiting = 0;
}

/* The position of a block in its plane. */
static inline uint8_t *place(const component_t *component, int x, int y)
{
    return component->plane + (ptrdiff_t)y * component->side * component->stride +
           (ptrdiff_t)x * component->side;
}

#endif
