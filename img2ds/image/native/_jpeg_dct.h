/* The inverse DCT at 8 or 4 pixels a side, two blocks a call.
 *
 * Bit-exact with libjpeg's slow integer transform and its reduced ones (Loeffler, Ligtenberg and
 * Moschytz 1989, with 13 bits of fraction).
 *
 * Included twice: with WIDTH 1 (SSE2) a register holds a row of one block, with WIDTH 2 (AVX2) of
 * two.
 */

#if WIDTH == 2
#define NAME(name) name##_avx2
#define TARGET TARGET_AVX2
#define V __m256i
#define DO(name) _mm256_##name
#define SHIFT_BYTES(a, n) _mm256_srli_si256(a, n)
#else
#define NAME(name) name##_sse2
#define TARGET
#define V __m128i
#define DO(name) _mm_##name
#define SHIFT_BYTES(a, n) _mm_srli_si128(a, n)
#endif

/* Dequantise a row. */
TARGET static inline V NAME(row)(const int16_t *one, const int16_t *other, const int16_t *quant,
                                 int row)
{
    const __m128i factor = _mm_load_si128((const __m128i *)quant + row);
    const __m128i a = _mm_mullo_epi16(_mm_load_si128((const __m128i *)one + row), factor);
#if WIDTH == 2
    const __m128i b = _mm_mullo_epi16(_mm_load_si128((const __m128i *)other + row), factor);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
#else
    (void)other;
    return a;
#endif
}

/* Two factors for `madd` on pairs. */
TARGET static inline V NAME(pair)(int one, int other)
{
    return DO(set1_epi32)((int)((uint32_t)(uint16_t)one | (uint32_t)(uint16_t)other << 16));
}

#define MADD(pairs, one, other) DO(madd_epi16)(pairs, NAME(pair)(one, other))
#define ADD(a, b) DO(add_epi32)(a, b)
#define SUB(a, b) DO(sub_epi32)(a, b)
#define LOW(a, b) DO(unpacklo_epi16)(a, b)
#define HIGH(a, b) DO(unpackhi_epi16)(a, b)
#define DESCALE(a, bits) DO(srai_epi32)(ADD(a, DO(set1_epi32)(1 << ((bits) - 1))), bits)

#define LEVELS(a) DO(add_epi8)(a, DO(set1_epi8)(-128))

/* One pass over rows (or columns) of 8. Factors are FIX(x) = round(x * 8192). */
#define HALF(UNPACK, bits, o0, o1, o2, o3, o4, o5, o6, o7)                                         \
    do {                                                                                           \
        const V p04 = UNPACK(r[0], r[4]), p26 = UNPACK(r[2], r[6]), p71 = UNPACK(r[7], r[1]),      \
                p53 = UNPACK(r[5], r[3]), z = UNPACK(z3, z4);                                      \
        const V e0 = MADD(p04, 8192, 8192), e1 = MADD(p04, 8192, -8192);                           \
        const V e2 = MADD(p26, 4433, -10704), e3 = MADD(p26, 10703, 4433);                         \
        const V a = ADD(e0, e3), d = SUB(e0, e3), b = ADD(e1, e2), c = SUB(e1, e2);                \
        const V y3 = MADD(z, -6436, 9633), y4 = MADD(z, 9633, 6437);                               \
        const V t0 = ADD(MADD(p71, -4927, -7373), y3), t3 = ADD(MADD(p71, -7373, 4926), y4);       \
        const V t1 = ADD(MADD(p53, -4176, -20995), y4), t2 = ADD(MADD(p53, -20995, 4177), y3);     \
        o0 = DESCALE(ADD(a, t3), bits), o7 = DESCALE(SUB(a, t3), bits);                            \
        o1 = DESCALE(ADD(b, t2), bits), o6 = DESCALE(SUB(b, t2), bits);                            \
        o2 = DESCALE(ADD(c, t1), bits), o5 = DESCALE(SUB(c, t1), bits);                            \
        o3 = DESCALE(ADD(d, t0), bits), o4 = DESCALE(SUB(d, t0), bits);                            \
    } while (0)

#define PASS(bits)                                                                                 \
    do {                                                                                           \
        const V z3 = DO(add_epi16)(r[7], r[3]), z4 = DO(add_epi16)(r[5], r[1]);                    \
        V l[8], h[8];                                                                              \
        HALF(LOW, bits, l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7]);                           \
        HALF(HIGH, bits, h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]);                          \
        for (int i = 0; i < 8; i++)                                                                \
            r[i] = DO(packs_epi32)(l[i], h[i]);                                                    \
    } while (0)

/* The half of a register that belongs to a block. */
TARGET static inline __m128i NAME(half)(V rows, int block)
{
#if WIDTH == 2
    return block ? _mm256_extracti128_si256(rows, 1) : _mm256_castsi256_si128(rows);
#else
    (void)block;
    return rows;
#endif
}

TARGET static inline void NAME(store8)(V rows, uint8_t *const out[2], ptrdiff_t stride, int row)
{
    for (int block = 0; block < WIDTH; block++) {
        const __m128i both = NAME(half)(rows, block);
        _mm_storel_epi64((__m128i *)(out[block] + row * stride), both);
        _mm_storel_epi64((__m128i *)(out[block] + (row + 1) * stride), _mm_srli_si128(both, 8));
    }
}

TARGET static void NAME(dct8)(const int16_t *one, const int16_t *other, const int16_t *quant,
                              uint8_t *const out[2], ptrdiff_t stride)
{
    V r[8], s[8];
    for (int i = 0; i < 8; i++)
        r[i] = NAME(row)(one, other, quant, i);
    PASS(11);
    for (int i = 0; i < 4; i++) {
        s[2 * i] = LOW(r[i], r[i + 4]);
        s[2 * i + 1] = HIGH(r[i], r[i + 4]);
    }
    for (int i = 0; i < 4; i++) {
        r[2 * i] = LOW(s[i], s[i + 4]);
        r[2 * i + 1] = HIGH(s[i], s[i + 4]);
    }
    for (int i = 0; i < 4; i++) {
        s[2 * i] = LOW(r[i], r[i + 4]);
        s[2 * i + 1] = HIGH(r[i], r[i + 4]);
    }
    memcpy(r, s, sizeof r);
    PASS(18);
    /* Transpose, as bytes. */
    const V a = DO(packs_epi16)(r[0], r[2]), b = DO(packs_epi16)(r[1], r[3]);
    const V c = DO(packs_epi16)(r[4], r[6]), d = DO(packs_epi16)(r[5], r[7]);
    const V ab = DO(unpacklo_epi8)(a, b), ba = DO(unpackhi_epi8)(a, b);
    const V cd = DO(unpacklo_epi8)(c, d), dc = DO(unpackhi_epi8)(c, d);
    const V left = LOW(ab, ba), left2 = HIGH(ab, ba), right = LOW(cd, dc), right2 = HIGH(cd, dc);
    NAME(store8)(LEVELS(DO(unpacklo_epi32)(left, right)), out, stride, 0);
    NAME(store8)(LEVELS(DO(unpackhi_epi32)(left, right)), out, stride, 2);
    NAME(store8)(LEVELS(DO(unpacklo_epi32)(left2, right2)), out, stride, 4);
    NAME(store8)(LEVELS(DO(unpackhi_epi32)(left2, right2)), out, stride, 6);
}

/* The sums of both passes at 4 pixels: pairs of (0, 0), (2, 6), (1, 3) and (5, 7). */
#define HALF4(p00, p26, p13, p57, bits, o0, o1, o2, o3)                                            \
    do {                                                                                           \
        const V e0 = MADD(p00, 8192, 8192), e2 = MADD(p26, 15137, -6270);                          \
        const V a = ADD(e0, e2), b = SUB(e0, e2);                                                  \
        const V t0 = ADD(MADD(p13, 8697, -17799), MADD(p57, 11893, -1730));                        \
        const V t2 = ADD(MADD(p13, 20995, 7373), MADD(p57, -4926, -4176));                         \
        o0 = DESCALE(ADD(a, t2), bits), o3 = DESCALE(SUB(a, t2), bits);                            \
        o1 = DESCALE(ADD(b, t0), bits), o2 = DESCALE(SUB(b, t0), bits);                            \
    } while (0)

TARGET static void NAME(dct4)(const int16_t *one, const int16_t *other, const int16_t *quant,
                              uint8_t *const out[2], ptrdiff_t stride)
{
    V r[8], l[4], h[4], w[4];
    for (int i = 0; i < 8; i++)
        if (i != 4)
            r[i] = NAME(row)(one, other, quant, i);
    HALF4(LOW(r[0], r[0]), LOW(r[2], r[6]), LOW(r[1], r[3]), LOW(r[5], r[7]), 12, l[0], l[1], l[2],
          l[3]);
    HALF4(HIGH(r[0], r[0]), HIGH(r[2], r[6]), HIGH(r[1], r[3]), HIGH(r[5], r[7]), 12, h[0], h[1],
          h[2], h[3]);
    for (int i = 0; i < 4; i++)
        w[i] = DO(packs_epi32)(l[i], h[i]);
    /* Columns, four rows of each in half a register: 0 and 1, 2 and 3, 4 and 5, 6 and 7. */
    const V t0 = LOW(w[0], w[2]), t1 = LOW(w[1], w[3]), t2 = HIGH(w[0], w[2]),
            t3 = HIGH(w[1], w[3]);
    const V c01 = LOW(t0, t1), c23 = HIGH(t0, t1), c45 = LOW(t2, t3), c67 = HIGH(t2, t3);
    HALF4(LOW(c01, c01), LOW(c23, c67), HIGH(c01, c23), HIGH(c45, c67), 19, l[0], l[1], l[2], l[3]);
    const V columns =
        DO(packs_epi16)(DO(packs_epi32)(l[0], l[1]), DO(packs_epi32)(l[2], l[3]));
    const V half = DO(unpacklo_epi8)(columns, SHIFT_BYTES(columns, 8));
    const V rows = LEVELS(DO(unpacklo_epi8)(half, SHIFT_BYTES(half, 8)));
    for (int block = 0; block < WIDTH; block++) {
        int words[4];
        _mm_storeu_si128((__m128i *)words, NAME(half)(rows, block));
        for (int i = 0; i < 4; i++)
            memcpy(out[block] + i * stride, words + i, 4);
    }
}

#undef NAME
#undef TARGET
#undef V
#undef DO
#undef SHIFT_BYTES
#undef MADD
#undef ADD
#undef SUB
#undef LOW
#undef HIGH
#undef DESCALE
#undef LEVELS
#undef HALF
#undef PASS
#undef HALF4
#undef WIDTH
