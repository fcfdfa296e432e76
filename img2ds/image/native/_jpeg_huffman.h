/* Bits to symbols, by tables made of Huffman codes (ITU T.81 C, F.2.2).
 *
 * Most encoders write the same few codes (those of K.3), so tables are kept from picture to picture.
 */

#ifndef IMG2DS_JPEG_HUFFMAN_H
#define IMG2DS_JPEG_HUFFMAN_H

#include <stddef.h>
#include <stdlib.h>

#include "_jpeg_bits.h"

/* Bits that are looked up at once. Few of a photo's codes are longer. */
enum { LOOK = 10 };

/* What a look at the next LOOK bits tells of a symbol: its length, the zeros to pass over, the size
 * of the value behind it, and the bits of both. `length` is 0 where the code is longer. */
typedef struct {
    uint8_t length, total, size;
    uint8_t run; /* END_OF_BLOCK leads behind every block */
} look_t;

enum { END_OF_BLOCK = 128 };

/* The same for the coefficients of sequential scans, and of two symbols where both are within LOOK
 * bits with their values, as most are. In a word, since it is taken apart with fewer instructions:
 * the bits of both (0 where not even the first is within), the zeros before the first, the way from
 * there to the second, the way from the first to behind both, and the values. Where there is no
 * second its value is a zero that is put where nothing is yet. */
typedef uint64_t pair_look_t;

static ALWAYS pair_look_t pack(int total, int run, int way, int far, int second, int first)
{
    return (uint64_t)total | (uint64_t)run << 8 | (uint64_t)way << 16 | (uint64_t)far << 24 |
           (uint64_t)(uint8_t)second << 32 | (uint64_t)(uint16_t)first << 48;
}

#define TOTAL(look) ((int)((look) & 255))
#define RUN(look) ((int)((look) >> 8 & 255))
#define WAY(look) ((int)((look) >> 16 & 255))
#define FAR(look) ((int)((look) >> 24 & 255))
#define SECOND(look) ((int8_t)((look) >> 32))
#define FIRST(look) ((int16_t)((look) >> 48))

typedef struct {
    look_t look[1 << LOOK];
    uint8_t symbol[256];
    int32_t limit[18]; /* behind the last code of a length, at 16 bits */
    int32_t first[17]; /* a code's place less the code */
    pair_look_t pair[1 << LOOK];
} table_t;

/* What symbols mean: the size of a difference (DC); a run of zeros and the size of a coefficient
 * (AC), or in a progressive scan (BANDS) also a run of blocks. */
typedef enum { DC = 1, AC, BANDS } role_t;

static inline look_t meaning(int symbol, int length, role_t role)
{
    const int size = symbol & 15;
    int run = role == DC ? 0 : symbol >> 4;
    /* Of the symbols without a value but ZRL only EOB has a meaning (F.2.2.2); others end a block
     * as well, as libjpeg has it. */
    if (role == AC && size == 0 && run < 15)
        run = END_OF_BLOCK;
    return (look_t){(uint8_t)length, (uint8_t)(length + size), (uint8_t)size, (uint8_t)run};
}

/* Fill a table from counts of codes by length, and symbols. 0 when they are no code. */
static int make_table(table_t *table, const uint8_t counts[16], const uint8_t *symbols, int total,
                      role_t role)
{
    int code = 0, place = 0;
    look_t *next = table->look;
    memcpy(table->symbol, symbols, (size_t)total);
    for (int length = 1; length <= 16; length++, code <<= 1) {
        table->first[length] = place - code;
        for (int i = 0; i < counts[length - 1]; i++, code++, place++) {
            /* No code is all ones (C), the next one has to fit as well. */
            if (code + 1 >= 1 << length || (role == DC && symbols[place] > 15))
                return 0;
            if (length <= LOOK) {
                const look_t look = meaning(symbols[place], length, role);
                for (look_t *end = next + (1 << (LOOK - length)); next < end; next++)
                    *next = look;
            }
        }
        table->limit[length] = code << (16 - length);
    }
    table->limit[17] = 1 << 30;
    memset(next, 0, (size_t)((char *)(table->look + (1 << LOOK)) - (char *)next));
    return 1;
}

/* The value whose bits are at the end of `bits`. */
static ALWAYS int short_value(int bits, int size)
{
    const int magnitude = bits & ((1 << size) - 1);
    return size && magnitude < 1 << (size - 1) ? magnitude + 1 - (1 << size) : magnitude;
}

/* Fill `pair` from `look`. */
static void make_pairs(table_t *table)
{
    for (int i = 0; i < (1 << LOOK); i++) {
        const look_t first = table->look[i];
        table->pair[i] = 0;
        if (!first.length || first.total > LOOK)
            continue;
        const int value = short_value(i >> (LOOK - first.total), first.size);
        const int rest = (i << first.total) & ((1 << LOOK) - 1);
        const look_t second = table->look[rest];
        if (second.length && first.total + second.total <= LOOK && first.run != END_OF_BLOCK)
            table->pair[i] =
                pack(first.total + second.total, first.run, second.run + 1, second.run + 2,
                     short_value(rest >> (LOOK - second.total), second.size), value);
        else
            table->pair[i] = pack(first.total, first.run, 1, 1, 0, value);
    }
}

/* A symbol of more than LOOK bits; its length is 0 for bits that are no code. */
static look_t long_symbol(uint64_t bits, const table_t *table, role_t role)
{
    const int32_t next = (int32_t)(bits >> 48);
    int length = LOOK + 1;
    while (next >= table->limit[length])
        length++;
    if (length > 16)
        return (look_t){0, 0, 0, 0};
    return meaning(table->symbol[(next >> (16 - length)) + table->first[length]], length, role);
}

/* The next symbol. */
static ALWAYS look_t look_up(const reader_t *reader, const table_t *table, role_t role)
{
    look_t look = table->look[reader->bits >> (64 - LOOK)];
    if (UNLIKELY(!look.length))
        look = long_symbol(reader->bits, table, role);
    return look;
}

/* The value behind a symbol, 0 when it has none (F.2.2.1). No branch: sizes cannot be guessed. */
static ALWAYS int value_of(const reader_t *reader, look_t look)
{
    const uint64_t bits = reader->bits << look.length;
    const int magnitude = (int)(bits >> 1 >> (63 - look.size));
    const int negative = (int)((int64_t)~bits >> 63);
    return magnitude + (negative & (1 - (1 << look.size)));
}

/* A code as it is written, and the table made of it for a role. */
typedef struct {
    uint8_t counts[16], symbols[256];
    int total;
    role_t role; /* 0 for none yet */
    table_t *table;
    int *users; /* of a table that is kept; NULL for one of the picture's own */
} huffman_t;

enum { KEPT = 8 };

/* Tables that are kept. Whoever holds the interpreter's lock may take and replace them; they are
 * given back at any time. */
static struct {
    huffman_t code;
    int users;
    unsigned long used;
} kept[KEPT];

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

/* Make a table of a code for a role. 0 when it is none, or there is no memory. */
static int prepare(huffman_t *huffman, role_t role)
{
    if (huffman->role == role)
        return 1;
    release(huffman);
    /* Only sequential scans look at pairs. */
    table_t *table = malloc(role == AC ? sizeof *table : offsetof(table_t, pair));
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

/* The same from those that are kept, or for them. Call it with the interpreter's lock. */
static int prepare_kept(huffman_t *huffman, role_t role)
{
    static unsigned long now;
    int oldest = -1;
    for (int i = 0; i < KEPT; i++) {
        huffman_t *code = &kept[i].code;
        if (code->role == role && code->total == huffman->total &&
            !memcmp(code->counts, huffman->counts, sizeof code->counts) &&
            !memcmp(code->symbols, huffman->symbols, (size_t)code->total)) {
            release(huffman);
            kept[i].used = ++now;
            __atomic_fetch_add(&kept[i].users, 1, __ATOMIC_ACQUIRE);
            huffman->users = &kept[i].users;
            huffman->table = code->table;
            huffman->role = role;
            return 1;
        }
        if (!__atomic_load_n(&kept[i].users, __ATOMIC_ACQUIRE) &&
            (oldest < 0 || kept[i].used < kept[oldest].used))
            oldest = i;
    }
    if (!prepare(huffman, role))
        return 0;
    if (oldest >= 0 && !huffman->users) {
        release(&kept[oldest].code);
        kept[oldest].code = *huffman;
        kept[oldest].used = ++now;
        kept[oldest].users = 1;
        huffman->users = &kept[oldest].users;
    }
    return 1;
}

#endif
