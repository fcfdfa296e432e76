/* Huffman decoding by lookup tables (ITU-T T.81, annex C and F.2.2).
 *
 * Most encoders write the same few tables (those of K.3), so lookup tables are cached.
 */

#ifndef IMG2DS_JPEG_HUFFMAN_H
#define IMG2DS_JPEG_HUFFMAN_H

#include <stddef.h>
#include <stdlib.h>

#include "_jpeg_bits.h"

/* Bits of a lookup. Few codes of a photo are longer. */
enum { LOOKUP_BITS = 10 };

/* A decoded symbol. */
typedef struct {
    uint8_t length; /* bits of the code; 0 if it is longer than LOOKUP_BITS, or invalid */
    uint8_t total;  /* bits of the code and of the value that follows */
    uint8_t size;   /* bits of the value (SSSS) */
    uint8_t run;    /* zero coefficients before it (RRRR); END_OF_BLOCK is past every block */
} symbol_t;

enum { END_OF_BLOCK = 128 };

/* Two symbols of a sequential scan with their values, if both fit into LOOKUP_BITS, as most do; or
 * one. Packed into a word, which takes fewer instructions to unpack:
 *   total   bits of both; 0 if not even the first fits
 *   run     zero coefficients before the first
 *   step    from the first coefficient to the second
 *   end     from the first coefficient to the one after the second
 *   second, first   their values
 * If there is one symbol only, the second value is a zero that is stored after the first. */
typedef uint64_t symbol_pair_t;

static ALWAYS symbol_pair_t pack_pair(int total, int run, int step, int end, int second, int first)
{
    return (uint64_t)total | (uint64_t)run << 8 | (uint64_t)step << 16 | (uint64_t)end << 24 |
           (uint64_t)(uint8_t)second << 32 | (uint64_t)(uint16_t)first << 48;
}

#define PAIR_BITS(pair) ((int)((pair) & 255))
#define PAIR_RUN(pair) ((int)((pair) >> 8 & 255))
#define PAIR_STEP(pair) ((int)((pair) >> 16 & 255))
#define PAIR_END(pair) ((int)((pair) >> 24 & 255))
#define PAIR_SECOND(pair) ((int8_t)((pair) >> 32))
#define PAIR_FIRST(pair) ((int16_t)((pair) >> 48))

typedef struct {
    symbol_t symbols[1 << LOOKUP_BITS];
    uint8_t values[256]; /* HUFFVAL */
    int32_t limit[18]; /* MAXCODE + 1 of each length, left-aligned to 16 bits */
    int32_t first[17]; /* VALPTR - MINCODE of each length */
    symbol_pair_t pairs[1 << LOOKUP_BITS];
} table_t;

/* What symbols code: the size of a difference (DC); a run of zeros and the size of a coefficient
 * (AC); in a progressive scan (BANDS) also an end-of-band run. */
typedef enum { DC = 1, AC, BANDS } role_t;

static inline symbol_t make_symbol(int value, int length, role_t role)
{
    const int size = value & 15;
    int run = role == DC ? 0 : value >> 4;
    /* Of the symbols of size 0 only ZRL and EOB are defined (F.2.2.2); libjpeg takes the others for
     * EOB. */
    if (role == AC && size == 0 && run < 15)
        run = END_OF_BLOCK;
    return (symbol_t){(uint8_t)length, (uint8_t)(length + size), (uint8_t)size, (uint8_t)run};
}

/* Build a table from BITS and HUFFVAL. 0 if they are not a valid code. */
static int make_table(table_t *table, const uint8_t counts[16], const uint8_t *symbols, int total,
                      role_t role)
{
    int code = 0, place = 0;
    symbol_t *next = table->symbols;
    memcpy(table->values, symbols, (size_t)total);
    for (int length = 1; length <= 16; length++, code <<= 1) {
        table->first[length] = place - code;
        for (int i = 0; i < counts[length - 1]; i++, code++, place++) {
            /* No code is all ones (annex C), so the next one has to fit too. */
            if (code + 1 >= 1 << length || (role == DC && symbols[place] > 15))
                return 0;
            if (length <= LOOKUP_BITS) {
                const symbol_t symbol = make_symbol(symbols[place], length, role);
                for (symbol_t *end = next + (1 << (LOOKUP_BITS - length)); next < end; next++)
                    *next = symbol;
            }
        }
        table->limit[length] = code << (16 - length);
    }
    table->limit[17] = 1 << 30;
    memset(next, 0, (size_t)((char *)(table->symbols + (1 << LOOKUP_BITS)) - (char *)next));
    return 1;
}

/* EXTEND (F.12) of the last `size` bits. */
static ALWAYS int short_value(int bits, int size)
{
    const int magnitude = bits & ((1 << size) - 1);
    return size && magnitude < 1 << (size - 1) ? magnitude + 1 - (1 << size) : magnitude;
}

/* Build the table of pairs from that of symbols. */
static void make_pairs(table_t *table)
{
    for (int i = 0; i < (1 << LOOKUP_BITS); i++) {
        const symbol_t first = table->symbols[i];
        table->pairs[i] = 0;
        if (!first.length || first.total > LOOKUP_BITS)
            continue;
        const int value = short_value(i >> (LOOKUP_BITS - first.total), first.size);
        const int rest = (i << first.total) & ((1 << LOOKUP_BITS) - 1);
        const symbol_t second = table->symbols[rest];
        if (second.length && first.total + second.total <= LOOKUP_BITS && first.run != END_OF_BLOCK)
            table->pairs[i] =
                pack_pair(first.total + second.total, first.run, second.run + 1, second.run + 2,
                     short_value(rest >> (LOOKUP_BITS - second.total), second.size), value);
        else
            table->pairs[i] = pack_pair(first.total, first.run, 1, 1, 0, value);
    }
}

/* Decode a symbol of more than LOOKUP_BITS bits; its length is 0 for an invalid code. */
static symbol_t long_symbol(uint64_t bits, const table_t *table, role_t role)
{
    const int32_t next = (int32_t)(bits >> 48);
    int length = LOOKUP_BITS + 1;
    while (next >= table->limit[length])
        length++;
    if (length > 16)
        return (symbol_t){0, 0, 0, 0};
    return make_symbol(table->values[(next >> (16 - length)) + table->first[length]], length, role);
}

/* Decode the next symbol. */
static ALWAYS symbol_t look_up(const reader_t *reader, const table_t *table, role_t role)
{
    symbol_t symbol = table->symbols[reader->bits >> (64 - LOOKUP_BITS)];
    if (UNLIKELY(!symbol.length))
        symbol = long_symbol(reader->bits, table, role);
    return symbol;
}

/* RECEIVE and EXTEND (F.2.2.1): the value after a symbol, 0 if it has none. Without a branch,
 * because sizes are not predictable. */
static ALWAYS int value_of(const reader_t *reader, symbol_t symbol)
{
    const uint64_t bits = reader->bits << symbol.length;
    const int magnitude = (int)(bits >> 1 >> (63 - symbol.size));
    const int negative = (int)((int64_t)~bits >> 63);
    return magnitude + (negative & (1 - (1 << symbol.size)));
}

/* A Huffman table as stored in the file, and the lookup table built for a role. */
typedef struct {
    uint8_t counts[16], symbols[256];
    int total;
    role_t role; /* 0: no lookup table yet */
    table_t *table;
    int *users; /* reference count of a cached table; NULL for a table of this image only */
} huffman_t;

enum { CACHED = 8 };

/* Cached tables. Taken and replaced with the GIL held; released at any time. */
static struct {
    huffman_t code;
    int users;
    unsigned long used;
} cache[CACHED];

static void release(huffman_t *huffman)
{
    if (huffman->users)
        __atomic_fetch_sub(huffman->users, 1, __ATOMIC_RELEASE);
    else
        free(huffman->table);
    huffman->users = NULL;
    huffman->table = NULL;
    huffman->role = 0;
}

/* Build the lookup table for a role. 0 if the code is invalid, or memory is exhausted. */
static int prepare(huffman_t *huffman, role_t role)
{
    if (huffman->role == role)
        return 1;
    release(huffman);
    /* Only sequential scans use pairs. */
    table_t *table = malloc(role == AC ? sizeof *table : offsetof(table_t, pairs));
    if (!table || !huffman->total ||
        !make_table(table, huffman->counts, huffman->symbols, huffman->total, role)) {
        free(table);
        return 0;
    }
    if (role == AC)
        make_pairs(table);
    huffman->table = table;
    huffman->role = role;
    return 1;
}

/* The same, by the cache. Call with the GIL held. */
static int prepare_cached(huffman_t *huffman, role_t role)
{
    static unsigned long now;
    int oldest = -1;
    for (int i = 0; i < CACHED; i++) {
        huffman_t *code = &cache[i].code;
        if (code->role == role && code->total == huffman->total &&
            !memcmp(code->counts, huffman->counts, sizeof code->counts) &&
            !memcmp(code->symbols, huffman->symbols, (size_t)code->total)) {
            release(huffman);
            cache[i].used = ++now;
            __atomic_fetch_add(&cache[i].users, 1, __ATOMIC_ACQUIRE);
            huffman->users = &cache[i].users;
            huffman->table = code->table;
            huffman->role = role;
            return 1;
        }
        if (!__atomic_load_n(&cache[i].users, __ATOMIC_ACQUIRE) &&
            (oldest < 0 || cache[i].used < cache[oldest].used))
            oldest = i;
    }
    if (!prepare(huffman, role))
        return 0;
    if (oldest >= 0 && !huffman->users) {
        release(&cache[oldest].code);
        cache[oldest].code = *huffman;
        cache[oldest].used = ++now;
        cache[oldest].users = 1;
        huffman->users = &cache[oldest].users;
    }
    return 1;
}

#endif
