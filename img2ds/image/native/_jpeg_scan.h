/* Entropy decoding of scans: sequential (ITU-T T.81, F.2) and the four kinds of progressive ones
 * (G.1, G.2).
 *
 * Functions return 0 for data that libjpeg would warn about; the image is then declined.
 */

#ifndef IMG2DS_JPEG_SCAN_H
#define IMG2DS_JPEG_SCAN_H

#include "_jpeg_frame.h"

typedef struct {
    component_t *component[COMPONENTS];
    int components, first, last, high, low; /* Ss, Se, Ah, Al */
} scan_t;

/* Decode a difference of DC coefficients into `value`. */
static ALWAYS int read_dc(reader_t *reader, const table_t *table, int *value)
{
    refill(reader);
    const symbol_t symbol = look_up(reader, table, DC);
    *value = value_of(reader, symbol);
    drop_bits(reader, symbol.total);
    return symbol.length;
}

/* Decode the next one or two coefficients of a block, and move `at` past them. Returns what was
 * looked up; 0 for an invalid code. */
static ALWAYS symbol_pair_t read_pair(reader_t *reader, const table_t *table, int16_t *block,
                                      int *at)
{
    symbol_pair_t pair = table->pairs[reader->bits >> (64 - LOOKUP_BITS)];
    if (UNLIKELY(!PAIR_BITS(pair))) {
        refill(reader);
        const symbol_t symbol = look_up(reader, table, AC);
        if (!symbol.length)
            return 0;
        pair = pack_pair(symbol.total, symbol.run, 1, 1, 0, value_of(reader, symbol));
    }
    reader->bits <<= pair & 63; /* the lowest byte, the total, is less than 32 */
    reader->count -= PAIR_BITS(pair);
    *at += PAIR_RUN(pair);
    block[NATURAL[*at]] = PAIR_FIRST(pair);
    block[NATURAL[*at + PAIR_STEP(pair)]] = PAIR_SECOND(pair);
    *at += PAIR_END(pair);
    return pair;
}

/* Decode the AC coefficients of a block. Returns the index after the last one, or 0. */
static ALWAYS int read_ac(reader_t *reader, const table_t *table, int16_t *block)
{
    reader_t local = *reader;
    uint64_t before;
    symbol_pair_t pair;
    int at = 1;
    do {
        refill(&local);
        before = local.bits;
        pair = read_pair(&local, table, block, &at);
        if (at < BLOCK && pair) { /* the buffer has enough bits for another lookup */
            before = local.bits;
            pair = read_pair(&local, table, block, &at);
        }
        if (UNLIKELY(!pair)) {
            *reader = local;
            return 0;
        }
    } while (at < BLOCK);
    int end = at - PAIR_END(pair) + 1; /* past the first coefficient of the last lookup */
    if (end > END_OF_BLOCK) {
        end -= PAIR_RUN(pair) + 1;
    } else if (end == BLOCK && PAIR_END(pair) > 1) {
        /* The second coefficient is of the next block. */
        const int first = table->symbols[before >> (64 - LOOKUP_BITS)].total;
        local.bits = before << first;
        local.count += PAIR_BITS(pair) - first;
    } else if (at == BLOCK) {
        end = BLOCK;
    } else if (at < END_OF_BLOCK || end > BLOCK) {
        return 0;
    }
    *reader = local;
    return end;
}

/* Decode a block of a baseline image of one scan, to pixels. */
static ALWAYS int sequential_block(const frame_t *frame, component_t *component, reader_t *reader,
                                   const table_t *dc, const table_t *ac, uint8_t *out)
{
    pair_t *pair = &component->pair;
    int16_t *block = pair->coefficient[pair->waiting];
    int difference;
    if (!read_dc(reader, dc, &difference))
        return 0;
    component->predicted += difference;
    const int end = read_ac(reader, ac, block);
    if (!end || overrun(reader) || !is_in_range(component, component->predicted))
        return 0;
    if (end == 1 || component->side == 1) {
        fill(component, component->predicted, out);
        if (end > 1)
            memset(block, 0, BLOCK * sizeof(int16_t));
        return 1;
    }
    block[0] = (int16_t)component->predicted;
    pair->out[pair->waiting++] = out;
    if (pair->waiting == 2)
        flush(frame, component);
    return 1;
}

/* Whether a DC coefficient fits into 16 bits, as differences do: the next sum cannot overflow. */
static ALWAYS int is_word(int value)
{
    return value == (int16_t)value;
}

/* Decode a block of one of several sequential scans into `block`. */
static ALWAYS int stored_block(component_t *component, reader_t *reader, const table_t *dc,
                        const table_t *ac, int16_t *block, uint64_t *nonzero)
{
    int16_t *coefficients = component->pair.coefficient[0];
    int difference;
    if (!read_dc(reader, dc, &difference))
        return 0;
    component->predicted += difference;
    const int end = read_ac(reader, ac, coefficients);
    if (!end || !is_word(component->predicted))
        return 0;
    coefficients[0] = (int16_t)component->predicted;
    if (component->kept == BLOCK)
        memcpy(block, coefficients, BLOCK * sizeof(int16_t));
    else
        block[0] = coefficients[0];
    memset(coefficients, 0, BLOCK * sizeof(int16_t));
    *nonzero = end > 1 ? ~(uint64_t)0 : 0;
    return 1;
}

/* First scan of a band (G.1.2.2). `eob_run` is the number of blocks left in an end-of-band run. */
static ALWAYS int first_band(reader_t *reader, const table_t *table, const scan_t *scan,
                             int16_t *block, uint64_t *nonzero, int *eob_run)
{
    reader_t local = *reader;
    uint64_t found = *nonzero;
    int at = scan->first;
    while (at <= scan->last) {
        refill(&local);
        const symbol_t symbol = look_up(&local, table, BANDS);
        if (symbol.size) {
            const int value = value_of(&local, symbol);
            drop_bits(&local, symbol.total);
            at += symbol.run;
            if (UNLIKELY(at > scan->last)) {
                *reader = local;
                return 0;
            }
            block[NATURAL[at]] = (int16_t)((unsigned)value << scan->low);
            found |= (uint64_t)1 << at++;
        } else {
            drop_bits(&local, symbol.total);
            if (symbol.run == 15) {
                at += 16;
                continue;
            }
            *eob_run = (1 << symbol.run) - 1 + (symbol.run ? (int)get_bits(&local, symbol.run) : 0);
            if (!symbol.length) {
                *reader = local;
                return 0;
            }
            break;
        }
    }
    *nonzero = found;
    *reader = local;
    return 1;
}

/* A mask of the coefficients `from` to `to`, in zigzag order. */
static ALWAYS uint64_t band_mask(int from, int to)
{
    return (~(uint64_t)0 >> (63 - to)) & (~(uint64_t)0 << from);
}

/* Read the correction bit of a coefficient (G.1.2.3). */
static ALWAYS void refine(reader_t *reader, int16_t *block, int at, int low)
{
    if (UNLIKELY(!reader->count))
        refill(reader);
    int16_t *coefficient = block + NATURAL[at];
    const int sign = *coefficient >> 15, step = (int)get_bits(reader, 1) << low;
    *coefficient = (int16_t)(*coefficient + ((step ^ sign) - sign));
}

/* Refinement scan of a band (G.1.2.3): correction bits, and coefficients that were zero so far. */
static ALWAYS int refined_band(reader_t *reader, const table_t *table, const scan_t *scan,
                               int16_t *block, uint64_t *nonzero, int *eob_run)
{
    reader_t local = *reader;
    const int low = scan->low, last = scan->last;
    /* Coefficients with a nonzero history that are still to be refined. */
    uint64_t known = *nonzero & band_mask(scan->first, last), found = 0;
    int at = scan->first;
    if (*eob_run) {
        --*eob_run;
    } else {
        while (at <= last) {
            refill(&local);
            const symbol_t symbol = look_up(&local, table, BANDS);
            const int run = symbol.run, value = value_of(&local, symbol);
            drop_bits(&local, symbol.total);
            if (UNLIKELY(!symbol.length || symbol.size > 1)) {
                *reader = local;
                return 0;
            }
            if (!value && run < 15) {
                *eob_run = (1 << run) - 1 + (run ? (int)get_bits(&local, run) : 0);
                break;
            }
            /* The run counts zeros only; the others are refined. */
            at += run;
            while (known) {
                const int other = __builtin_ctzll(known);
                if (other > at)
                    break;
                refine(&local, block, other, low);
                known &= known - 1;
                at++;
            }
            if (value) {
                if (UNLIKELY(at > last)) {
                    *reader = local;
                    return 0;
                }
                block[NATURAL[at]] = (int16_t)(value * (1 << low));
                found |= (uint64_t)1 << at;
            }
            at++;
        }
        *nonzero |= found;
    }
    for (; known; known &= known - 1)
        refine(&local, block, __builtin_ctzll(known), low);
    *reader = local;
    return 1;
}

/* Decode what the scan has of a block. */
static ALWAYS int decode_block(const frame_t *frame, const scan_t *scan, component_t *component,
                             reader_t *reader, int x, int y, int *eob_run)
{
    const size_t index = (size_t)y * component->padded_x + x;
    const table_t *dc = frame->huffman[0][component->dc].table;
    const table_t *ac = frame->huffman[1][component->ac].table;
    if (!component->coefficients)
        return sequential_block(frame, component, reader, dc, ac, place(component, x, y));
    int16_t *block = component->coefficients + index * (size_t)component->kept;
    uint64_t *nonzero = component->nonzero + (component->kept == BLOCK ? index : 0);
    int done;
    if (!frame->progressive) {
        done = stored_block(component, reader, dc, ac, block, nonzero);
    } else if (scan->first) {
        if (scan->high) {
            done = refined_band(reader, ac, scan, block, nonzero, eob_run);
        } else if (*eob_run) {
            --*eob_run;
            return 1;
        } else {
            done = first_band(reader, ac, scan, block, nonzero, eob_run);
        }
    } else if (scan->high) {
        refill(reader);
        block[0] = (int16_t)(block[0] | get_bits(reader, 1) << scan->low);
        done = 1;
    } else {
        int difference = 0;
        done = read_dc(reader, dc, &difference);
        component->predicted += difference;
        done = done && is_word(component->predicted);
        block[0] = (int16_t)((unsigned)component->predicted << scan->low);
    }
    return done && !overrun(reader);
}

/* Decode an MCU: one block in a scan of one component, else h x v of each. */
static ALWAYS int decode_mcu(const frame_t *frame, const scan_t *scan, reader_t *reader, int x,
                             int y, int *eob_run)
{
    if (scan->components == 1)
        return decode_block(frame, scan, scan->component[0], reader, x, y, eob_run);
    for (int i = 0; i < scan->components; i++) {
        component_t *component = scan->component[i];
        for (int v = 0; v < component->v; v++)
            for (int h = 0; h < component->h; h++)
                if (!decode_block(frame, scan, component, reader, x * component->h + h,
                                y * component->v + v, eob_run))
                    return 0;
    }
    return 1;
}

/* Decode a scan, restart interval by restart interval. */
static ALWAYS int decode_scan(frame_t *frame, const scan_t *scan)
{
    const component_t *only = scan->component[0];
    const int alone = scan->components == 1;
    const int columns = alone ? only->blocks_x : frame->mcus_x;
    const int rows = alone ? only->blocks_y : frame->mcus_y;
    int x = 0, y = 0, expected = 0;
    while (y < rows) {
        uint8_t *filled;
        const uint8_t *marker = unstuff(frame->at, frame->end, frame->scratch, &filled);
        reader_t reader = {0, 0, frame->scratch, filled};
        int eob_run = 0, left = frame->restart ? frame->restart : -1;
        for (int i = 0; i < scan->components; i++)
            scan->component[i]->predicted = 0;
        while (y < rows && left--) {
            if (!decode_mcu(frame, scan, &reader, x, y, &eob_run)) {
                if (is_exhausted(&reader))
                    frame->fault = CUT;
                return 0;
            }
            if (++x == columns) {
                x = 0;
                y++;
            }
        }
        if (marker == frame->end) {
            const int whole = y < rows ? 0 : is_whole_end(&reader, frame->scratch);
            frame->open = 1;
            frame->at = frame->end;
            if (!whole)
                frame->fault = CUT;
            return whole > 0 && !eob_run;
        }
        if (eob_run || !at_end(&reader))
            return 0;
        frame->at = marker;
        if (y < rows) {
            if (marker[1] != 0xD0 + expected)
                return 0;
            expected = (expected + 1) % 8;
            frame->at += 2;
        }
    }
    return 1;
}

/* The same with BMI2: shifts by any register, and bit counts. */
TARGET_AVX2 static int decode_scan_avx2(frame_t *frame, const scan_t *scan)
{
    return decode_scan(frame, scan);
}

/* Read a scan. frame->at is moved from the end of its header to the next marker. */
static int read_scan(frame_t *frame, const scan_t *scan)
{
    return frame->avx2 ? decode_scan_avx2(frame, scan) : decode_scan(frame, scan);
}

#endif
