/* Planes to RGB, bit-exact with libjpeg: "fancy upsampling" of chroma by a triangle filter,
 * conversion by JFIF's equations with 16 bits of fraction.
 */

#ifndef IMG2DS_JPEG_COLOUR_H
#define IMG2DS_JPEG_COLOUR_H

#include <sys/mman.h>

#include "_jpeg_frame.h"

/* Rows that are converted at a time; the planes' memory of those before is given back. */
enum { BAND = 256, PAGE = 4096 };

/* Upsample a row of `count` samples, at least 3, to twice as many: three quarters of the nearer
 * sample and a quarter of the farther one. */
static ALWAYS void upsample(const uint8_t *restrict in, int count, uint8_t *restrict out)
{
    out[0] = in[0];
    for (int i = 0; i < count - 1; i++) {
        const unsigned a = in[i], b = in[i + 1];
        const uint16_t both = (uint16_t)((3 * a + b + 2) >> 2 | (3 * b + a + 1) >> 2 << 8);
        memcpy(out + 2 * i + 1, &both, 2); /* one store, which compilers vectorise */
    }
    out[2 * count - 1] = in[count - 1];
}

/* The same for sums of two rows, four times a sample, rounded once. */
static ALWAYS void upsample_sums(const uint16_t *restrict in, int count, uint8_t *restrict out)
{
    out[0] = (uint8_t)((4 * in[0] + 8) >> 4);
    for (int i = 0; i < count - 1; i++) {
        const uint16_t a = in[i], b = in[i + 1];
        const uint16_t left = (uint16_t)(3 * a + b + 7) >> 4;
        const uint16_t right = (uint16_t)(3 * b + a + 8) >> 4;
        const uint16_t both = (uint16_t)(left | right << 8);
        memcpy(out + 2 * i + 1, &both, 2);
    }
    out[2 * count - 1] = (uint8_t)((4 * in[count - 1] + 7) >> 4);
}

/* Row `y` of the image in chroma, upsampled to the image's width. */
static ALWAYS const uint8_t *chroma_row(const component_t *c, int y, int across, int down,
                                        uint8_t *row, uint16_t *sums)
{
    const int nearer = y / down;
    const uint8_t *in = c->plane + nearer * c->stride, *other = in;
    if (down == 2) {
        int farther = y % 2 ? nearer + 1 : nearer - 1;
        farther = farther < 0 ? 0 : farther >= c->height ? c->height - 1 : farther;
        other = c->plane + farther * c->stride;
    }
    if (across == 1 && down == 1)
        return in;
    if (across == 2 && down == 1) {
        upsample(in, c->width, row);
    } else if (across == 1) {
        const int bias = y % 2 ? 2 : 1;
        for (int i = 0; i < c->width; i++)
            row[i] = (uint8_t)((3 * in[i] + other[i] + bias) >> 2);
    } else {
        for (int i = 0; i < c->width; i++)
            sums[i] = (uint16_t)(3 * in[i] + other[i]);
        upsample_sums(sums, c->width, row);
    }
    return row;
}

/* Convert the pixels `from` to `width`. */
static ALWAYS void ycc_to_rgb(const uint8_t *y, const uint8_t *cb, const uint8_t *cr, int from,
                              int width, uint8_t *out)
{
    for (int i = from; i < width; i++) {
        const int b = cb[i] - 128, r = cr[i] - 128;
        const int rgb[3] = {y[i] + ((91881 * r + 32768) >> 16),
                            y[i] + ((-22554 * b - 46802 * r + 32768) >> 16),
                            y[i] + ((116130 * b + 32768) >> 16)};
        for (int k = 0; k < 3; k++)
            out[3 * i + k] = (uint8_t)(rgb[k] < 0 ? 0 : rgb[k] > 255 ? 255 : rgb[k]);
    }
}

/* R, G and B of sixteen pixels in 16 bits. Factors above a half are split into an integer and a
 * fraction. */
TARGET_AVX2 static inline void ycc_to_rgb16(__m256i y, __m256i cb, __m256i cr, __m256i rgb[3])
{
#define PAIR(a, b)                                                                                 \
    _mm256_set1_epi32((int)((uint32_t)(uint16_t)(a) | (uint32_t)(uint16_t)(b) << 16))
#define SUM(factors)                                                                               \
    _mm256_packs_epi32(                                                                            \
        _mm256_srai_epi32(_mm256_add_epi32(_mm256_madd_epi16(low, factors), half), 16),            \
        _mm256_srai_epi32(_mm256_add_epi32(_mm256_madd_epi16(high, factors), half), 16))
    const __m256i half = _mm256_set1_epi32(32768), middle = _mm256_set1_epi16(128);
    const __m256i b = _mm256_sub_epi16(cb, middle), r = _mm256_sub_epi16(cr, middle);
    const __m256i low = _mm256_unpacklo_epi16(b, r), high = _mm256_unpackhi_epi16(b, r);
    rgb[0] = _mm256_add_epi16(_mm256_add_epi16(y, r), SUM(PAIR(0, 91881 - 65536)));
    rgb[1] = _mm256_add_epi16(_mm256_sub_epi16(y, r), SUM(PAIR(-22554, 65536 - 46802)));
    rgb[2] = _mm256_add_epi16(_mm256_add_epi16(y, _mm256_add_epi16(b, b)),
                              SUM(PAIR(116130 - 131072, 0)));
#undef SUM
#undef PAIR
}

TARGET_AVX2 static void ycc_to_rgb_avx2(const uint8_t *y, const uint8_t *cb, const uint8_t *cr,
                                        int width, uint8_t *out)
{
    /* The byte of each colour in each third of 48 bytes; N: none. */
    enum { N = -1 };
    static const int8_t FROM[3][3][16] = {
        {{0, N, N, 1, N, N, 2, N, N, 3, N, N, 4, N, N, 5},
         {N, 0, N, N, 1, N, N, 2, N, N, 3, N, N, 4, N, N},
         {N, N, 0, N, N, 1, N, N, 2, N, N, 3, N, N, 4, N}},
        {{N, N, 6, N, N, 7, N, N, 8, N, N, 9, N, N, 10, N},
         {5, N, N, 6, N, N, 7, N, N, 8, N, N, 9, N, N, 10},
         {N, 5, N, N, 6, N, N, 7, N, N, 8, N, N, 9, N, N}},
        {{N, 11, N, N, 12, N, N, 13, N, N, 14, N, N, 15, N, N},
         {N, N, 11, N, N, 12, N, N, 13, N, N, 14, N, N, 15, N},
         {10, N, N, 11, N, N, 12, N, N, 13, N, N, 14, N, N, 15}},
    };
    const __m256i zero = _mm256_setzero_si256();
    __m256i from[3][3];
    for (int part = 0; part < 3; part++)
        for (int colour = 0; colour < 3; colour++)
            from[part][colour] = _mm256_broadcastsi128_si256(
                _mm_loadu_si128((const __m128i *)FROM[part][colour]));
    int at = 0;
    for (; at + 32 <= width; at += 32) {
        const __m256i ys = _mm256_loadu_si256((const __m256i *)(y + at));
        const __m256i bs = _mm256_loadu_si256((const __m256i *)(cb + at));
        const __m256i rs = _mm256_loadu_si256((const __m256i *)(cr + at));
        __m256i low[3], high[3], rgb[3];
        ycc_to_rgb16(_mm256_unpacklo_epi8(ys, zero), _mm256_unpacklo_epi8(bs, zero),
              _mm256_unpacklo_epi8(rs, zero), low);
        ycc_to_rgb16(_mm256_unpackhi_epi8(ys, zero), _mm256_unpackhi_epi8(bs, zero),
              _mm256_unpackhi_epi8(rs, zero), high);
        for (int colour = 0; colour < 3; colour++)
            rgb[colour] = _mm256_packus_epi16(low[colour], high[colour]);
        for (int part = 0; part < 3; part++) {
            const __m256i bytes =
                _mm256_or_si256(_mm256_or_si256(_mm256_shuffle_epi8(rgb[0], from[part][0]),
                                                _mm256_shuffle_epi8(rgb[1], from[part][1])),
                                _mm256_shuffle_epi8(rgb[2], from[part][2]));
            uint8_t *to = out + 3 * at + 16 * part;
            _mm_storeu_si128((__m128i *)to, _mm256_castsi256_si128(bytes));
            _mm_storeu_si128((__m128i *)(to + 48), _mm256_extracti128_si256(bytes, 1));
        }
    }
    ycc_to_rgb(y, cb, cr, at, width, out);
}

static ALWAYS void colour_rows(const frame_t *frame, int first, int last, int across, int down,
                               uint8_t *row, uint16_t *sums, uint8_t *out)
{
    const component_t *c = frame->component;
    const int width = c->width, row_size = 2 * c[1].width + 2;
    out += (size_t)first * 3 * (size_t)width;
    for (int y = first; y < last; y++, out += 3 * width) {
        const uint8_t *luma = c->plane + y * c->stride;
        const uint8_t *cb = chroma_row(c + 1, y, across, down, row, sums);
        const uint8_t *cr = chroma_row(c + 2, y, across, down, row + row_size, sums);
        if (frame->avx2)
            ycc_to_rgb_avx2(luma, cb, cr, width, out);
        else
            ycc_to_rgb(luma, cb, cr, 0, width, out);
    }
}

TARGET_AVX2 static void colour_rows_avx2(const frame_t *frame, int first, int last, int across,
                                         int down, uint8_t *row, uint16_t *sums, uint8_t *out)
{
    colour_rows(frame, first, last, across, down, row, sums, out);
}

/* Give the memory of a plane's first rows back, as far as they fill pages: a large image has its
 * planes or its pixels, not both. */
static void forget_rows(const component_t *component, int rows)
{
    const uintptr_t from = ((uintptr_t)component->plane + PAGE - 1) / PAGE * PAGE;
    const uintptr_t to = ((uintptr_t)component->plane + (uintptr_t)(rows * component->stride)) /
                         PAGE * PAGE;
    if (rows > 0 && to > from)
        madvise((void *)from, to - from, MADV_DONTNEED);
}

/* Convert the planes to RGB [height, width, 3]. 0 if libjpeg would replicate chroma samples, or
 * memory is exhausted.
 * `consume`: whether the content of the planes may be lost. */
static int to_rgb(const frame_t *frame, uint8_t *out, int consume)
{
    const component_t *c = frame->component;
    const int across = frame->h * c->side / c[1].side, down = frame->v * c->side / c[1].side;
    if ((across == 2 && c[1].width < 3) || (across * down > 1 && c->side == 1))
        return 0;
    uint8_t *row = malloc(2 * (2 * (size_t)c[1].width + 2) + 2 * sizeof(uint16_t) * c[1].width);
    if (!row)
        return 0;
    uint16_t *sums = (uint16_t *)(void *)(row + 2 * (2 * (size_t)c[1].width + 2));
    const int band = consume ? BAND : c->height;
    for (int y = 0; y < c->height; y += band) {
        const int last = y + band < c->height ? y + band : c->height;
        (frame->avx2 ? colour_rows_avx2 : colour_rows)(frame, y, last, across, down, row, sums,
                                                       out);
        for (int i = 0; consume && i < COLOURS; i++)
            forget_rows(c + i, last / (i ? down : 1) - 1); /* the next band may need a row */
    }
    free(row);
    return 1;
}

#endif
