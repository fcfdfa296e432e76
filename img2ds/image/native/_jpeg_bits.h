/* A bit reader for entropy-coded segments (ITU-T T.81, F.2.2.5).
 *
 * The bit buffer is a left-aligned 64-bit word, refilled a word at a time. Stuffed bytes are
 * removed beforehand. The data end with padding of zeros, so reading past the end is harmless; it
 * is checked once a block.
 */

#ifndef IMG2DS_JPEG_BITS_H
#define IMG2DS_JPEG_BITS_H

#include <emmintrin.h>
#include <stdint.h>
#include <string.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ALWAYS inline __attribute__((always_inline))
/* For CPUs since 2013; chosen at run time. */
#define TARGET_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))

/* Bytes; more than a block can read: 64 symbols of 16 bits, each followed by 16 bits. */
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

static ALWAYS void drop_bits(reader_t *reader, int count)
{
    reader->bits <<= count;
    reader->count -= count;
}

/* Read `count` bits, 1 to 32, which must be in the buffer. */
static ALWAYS uint32_t get_bits(reader_t *reader, int count)
{
    const uint32_t value = (uint32_t)(reader->bits >> (64 - count));
    drop_bits(reader, count);
    return value;
}

/* Whether bits past the end were read. */
static ALWAYS int overrun(const reader_t *reader)
{
    return reader->at - (reader->count >> 3) > reader->end;
}

/* Whether all was read but for the padding of the last byte. */
static ALWAYS int at_end(const reader_t *reader)
{
    const int64_t left = 8 * (reader->end - reader->at) + reader->count;
    return left >= 0 && left < 8;
}

/* Whether a failure to decode may be for want of data: a code does not fit into what is left. */
static inline int is_exhausted(const reader_t *reader)
{
    return 8 * (reader->end - reader->at) + reader->count < 16;
}

/* Most bytes other than 00 and FF that may be in place of the end of an image. jpeg_end.py has the
 * same limit: more may have replaced pixels. */
enum { MAX_GARBAGE = 64 };

/* Whether data that end without a marker, all of whose blocks were decoded from `from` on, have them
 * all: zeros that were written over the end are no data, but for the first. 0: no, 1: yes, -1: what
 * is left is more than an end. */
static inline int is_whole_end(const reader_t *reader, const uint8_t *from)
{
    const uint8_t *end = reader->end, *at = reader->at - (reader->count >> 3);
    while (end > from && (end[-1] == 0 || end[-1] == 0xFF))
        end--;
    if (at > end + (end < reader->end))
        return 0;
    return end - at <= MAX_GARBAGE ? 1 : -1;
}

/* Remove the stuffed zero bytes from the data before the next marker (F.1.2.3). `to` must hold all
 * remaining bytes and PADDING. Returns the position of the marker; `end` if there is none. */
static const uint8_t *unstuff(const uint8_t *from, const uint8_t *end, uint8_t *to,
                              uint8_t **filled)
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
        if (end - from < 2 || from[1]) {
            from = end - from < 2 ? end : from;
            memset(to, 0, PADDING);
            *filled = to;
            return from;
        }
        *to++ = 0xFF;
        from += 2;
    }
}

#endif
