/* Entropy-coded bytes to bits (ITU T.81 F.1.2.3).
 *
 * Bits lie left-aligned in a word of 64, filled a word at a time: stuffed bytes are taken out
 * beforehand, and zeros behind the end make reading too far harmless until it is looked for, once
 * a block.
 */

#ifndef IMG2DS_JPEG_BITS_H
#define IMG2DS_JPEG_BITS_H

#include <emmintrin.h>
#include <stdint.h>
#include <string.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ALWAYS inline __attribute__((always_inline))
/* For machines since 2013; whether this is one is seen at run time. */
#define MODERN __attribute__((target("avx2,bmi,bmi2,popcnt")))

/* More than a block can take: 64 symbols of 16 bits, each with 16 more. */
enum { PADDING = 64 * 4 + 32 };

typedef struct {
    uint64_t bits;
    int count;
    const uint8_t *at, *end;
} reader_t;

static ALWAYS void refill(reader_t *reader)
{
    uint64_t word;
    memcpy(&word, reader->at, 8);
    reader->bits |= __builtin_bswap64(word) >> reader->count;
    reader->at += (63 - reader->count) >> 3;
    reader->count |= 56;
}

static ALWAYS void drop(reader_t *reader, int count)
{
    reader->bits <<= count;
    reader->count -= count;
}

/* `count` bits, 1 to 32, that are known to be there. */
static ALWAYS uint32_t take(reader_t *reader, int count)
{
    const uint32_t value = (uint32_t)(reader->bits >> (64 - count));
    drop(reader, count);
    return value;
}

static ALWAYS int overrun(const reader_t *reader)
{
    return reader->at - (reader->count >> 3) > reader->end;
}

/* Whether all was read but for the bits that fill up the last byte. */
static ALWAYS int exhausted(const reader_t *reader)
{
    const int64_t left = 8 * (reader->end - reader->at) + reader->count;
    return left >= 0 && left < 8;
}

/* Take the stuffed zeros out of what lies before the next marker (F.1.2.3). `to` has room for all
 * that is left, and PADDING more. Returns where the marker is, or NULL when there is none. */
static const uint8_t *unstuff(const uint8_t *from, const uint8_t *end, uint8_t *to, uint8_t **filled)
{
    const __m128i ones = _mm_set1_epi8(-1);
    for (;;) {
        while (end - from >= 16) {
            const __m128i some = _mm_loadu_si128((const __m128i *)from);
            _mm_storeu_si128((__m128i *)to, some);
            const int found = _mm_movemask_epi8(_mm_cmpeq_epi8(some, ones));
            if (found) {
                const int before = __builtin_ctz((unsigned)found);
                from += before;
                to += before;
                break;
            }
            from += 16;
            to += 16;
        }
        while (from < end && *from != 0xFF)
            *to++ = *from++;
        if (end - from < 2)
            return NULL;
        if (from[1]) {
            memset(to, 0, PADDING);
            *filled = to;
            return from;
        }
        *to++ = 0xFF;
        from += 2;
    }
}

#endif
