/* Scans to coefficients: sequential ones (ITU T.81 F.2) and the four kinds of progressive ones
 * (G.1, G.2).
 *
 * A scan is read only as libjpeg reads it without a warning. 0 says that this one is not such.
 */

#ifndef IMG2DS_JPEG_SCAN_H
#define IMG2DS_JPEG_SCAN_H

#include "_jpeg_frame.h"

typedef struct {
    component_t *component[COMPONENTS];
    int components, first, last, high, low; /* Ss, Se, Ah, Al */
} scan_t;

/* A difference of DC values into `value`. */
static ALWAYS int read_dc(reader_t *reader, const table_t *table, int *value)
{
    refill(reader);
    const look_t look = look_up(reader, table, DC);
    *value = value_of(reader, look);
    drop(reader, look.total);
    return look.length;
}

/* The next one or two coefficients of a block, from a table of pairs; `at` goes behind them. What was
 * looked up, or 0 for what is no code. */
static ALWAYS pair_look_t read_pair(reader_t *reader, const table_t *table, int16_t *block, int *at)
{
    pair_look_t look = table->pair[reader->bits >> (64 - LOOK)];
    if (UNLIKELY(!TOTAL(look))) {
        refill(reader);
        const look_t symbol = look_up(reader, table, AC);
        if (!symbol.length)
            return 0;
        look = pack(symbol.total, symbol.run, 1, 1, 0, value_of(reader, symbol));
    }
    reader->bits <<= look & 63; /* its lowest byte, the bits of both, is less than 32 */
    reader->count -= TOTAL(look);
    *at += RUN(look);
    block[NATURAL[*at]] = FIRST(look);
    block[NATURAL[*at + WAY(look)]] = SECOND(look);
    *at += FAR(look);
    return look;
}

/* The AC coefficients of a block. Returns the place behind the last one, or 0. */
static ALWAYS int read_ac(reader_t *reader, const table_t *table, int16_t *block)
{
    reader_t local = *reader;
    uint64_t before;
    pair_look_t look;
    int at = 1;
    do {
        refill(&local);
        before = local.bits;
        look = read_pair(&local, table, block, &at);
        if (at < BLOCK && look) { /* enough bits are left for a second one */
            before = local.bits;
            look = read_pair(&local, table, block, &at);
        }
        if (UNLIKELY(!look))
            return 0;
    } while (at < BLOCK);
    int behind = at - FAR(look) + 1; /* the first of the last two */
    if (behind > END_OF_BLOCK) {
        behind -= RUN(look) + 1;
    } else if (behind == BLOCK && FAR(look) > 1) {
        /* What was looked up behind it is of the next block. */
        const int first = table->look[before >> (64 - LOOK)].total;
        local.bits = before << first;
        local.count += TOTAL(look) - first;
    } else if (at == BLOCK) {
        behind = BLOCK;
    } else if (at < END_OF_BLOCK || behind > BLOCK) {
        return 0;
    }
    *reader = local;
    return behind;
}

/* A block of a picture of one scan, to pixels. */
static ALWAYS int sequential_block(const frame_t *frame, component_t *component, reader_t *reader,
                                   const table_t *dc, const table_t *ac, uint8_t *out)
{
    pair_t *pair = &component->pair;
    int16_t *block = pair->coefficient[pair->waiting];
    int difference;
    if (!read_dc(reader, dc, &difference))
        return 0;
    component->predicted += difference;
    const int behind = read_ac(reader, ac, block);
    if (!behind || overrun(reader) || !is_sane(component, component->predicted))
        return 0;
    if (behind == 1 || component->side == 1) {
        fill(component, component->predicted, out);
        if (behind > 1)
            memset(block, 0, BLOCK * sizeof(int16_t));
        return 1;
    }
    block[0] = (int16_t)component->predicted;
    pair->out[pair->waiting++] = out;
    if (pair->waiting == 2)
        flush(frame, component);
    return 1;
}

/* Whether a sum of differences is within 16 bits, as they are: so the next one cannot overflow. */
static ALWAYS int is_word(int value)
{
    return value == (int16_t)value;
}

/* A block of a sequential scan of a picture that has more of them, into the store. */
static ALWAYS int stored_block(component_t *component, reader_t *reader, const table_t *dc,
                        const table_t *ac, int16_t *block, uint64_t *nonzero)
{
    int16_t *room = component->pair.coefficient[0];
    int difference;
    if (!read_dc(reader, dc, &difference))
        return 0;
    component->predicted += difference;
    const int behind = read_ac(reader, ac, room);
    if (!behind || !is_word(component->predicted))
        return 0;
    room[0] = (int16_t)component->predicted;
    memcpy(block, room, BLOCK * sizeof(int16_t));
    memset(room, 0, BLOCK * sizeof(int16_t));
    *nonzero = behind > 1 ? ~(uint64_t)0 : 0;
    return 1;
}

/* The first bits of a band's coefficients (G.1.2.2). `blocks` counts those of an end-of-band run
 * that are left. */
static ALWAYS int first_band(reader_t *reader, const table_t *table, const scan_t *scan,
                             int16_t *block, uint64_t *nonzero, int *blocks)
{
    reader_t local = *reader;
    uint64_t found = *nonzero;
    int at = scan->first;
    while (at <= scan->last) {
        refill(&local);
        const look_t look = look_up(&local, table, BANDS);
        if (look.size) {
            const int value = value_of(&local, look);
            drop(&local, look.total);
            at += look.run;
            if (UNLIKELY(at > scan->last))
                return 0;
            block[NATURAL[at]] = (int16_t)((unsigned)value << scan->low);
            found |= (uint64_t)1 << at++;
        } else {
            drop(&local, look.total);
            if (look.run == 15) {
                at += 16;
                continue;
            }
            *blocks = (1 << look.run) - 1 + (look.run ? (int)take(&local, look.run) : 0);
            if (!look.length)
                return 0;
            break;
        }
    }
    *nonzero = found;
    *reader = local;
    return 1;
}

/* Places `from` to `to` of the zigzag. */
static ALWAYS uint64_t places(int from, int to)
{
    return (~(uint64_t)0 >> (63 - to)) & (~(uint64_t)0 << from);
}

/* One more bit of the coefficient at a place (G.1.2.3). */
static ALWAYS void correct(reader_t *reader, int16_t *block, int at, int low)
{
    if (UNLIKELY(!reader->count))
        refill(reader);
    int16_t *coefficient = block + NATURAL[at];
    const int sign = *coefficient >> 15, step = (int)take(reader, 1) << low;
    *coefficient = (int16_t)(*coefficient + ((step ^ sign) - sign));
}

/* One more bit of a band's coefficients, and those that were zero until now. */
static ALWAYS int refined_band(reader_t *reader, const table_t *table, const scan_t *scan,
                               int16_t *block, uint64_t *nonzero, int *blocks)
{
    reader_t local = *reader;
    const int low = scan->low, last = scan->last;
    /* Those that were not zero before and are still ahead. */
    uint64_t known = *nonzero & places(scan->first, last), found = 0;
    int at = scan->first;
    if (*blocks) {
        --*blocks;
    } else {
        while (at <= last) {
            refill(&local);
            const look_t look = look_up(&local, table, BANDS);
            const int run = look.run, value = value_of(&local, look);
            drop(&local, look.total);
            if (UNLIKELY(!look.length || look.size > 1))
                return 0;
            if (!value && run < 15) {
                *blocks = (1 << run) - 1 + (run ? (int)take(&local, run) : 0);
                break;
            }
            /* The run is of zeros: others are passed over, and corrected. */
            at += run;
            while (known) {
                const int other = __builtin_ctzll(known);
                if (other > at)
                    break;
                correct(&local, block, other, low);
                known &= known - 1;
                at++;
            }
            if (value) {
                if (UNLIKELY(at > last))
                    return 0;
                block[NATURAL[at]] = (int16_t)(value * (1 << low));
                found |= (uint64_t)1 << at;
            }
            at++;
        }
        *nonzero |= found;
    }
    for (; known; known &= known - 1)
        correct(&local, block, __builtin_ctzll(known), low);
    *reader = local;
    return 1;
}

/* What of a block is in this scan, whatever its kind. */
static ALWAYS int scan_block(const frame_t *frame, const scan_t *scan, component_t *component,
                             reader_t *reader, int x, int y, int *blocks)
{
    const size_t index = (size_t)y * component->whole_x + x;
    const table_t *dc = frame->huffman[0][component->dc].table;
    const table_t *ac = frame->huffman[1][component->ac].table;
    if (!component->coefficients)
        return sequential_block(frame, component, reader, dc, ac, place(component, x, y));
    int16_t *block = component->coefficients + index * BLOCK;
    uint64_t *nonzero = component->nonzero + index;
    int done;
    if (!frame->progressive) {
        done = stored_block(component, reader, dc, ac, block, nonzero);
    } else if (scan->first) {
        if (scan->high) {
            done = refined_band(reader, ac, scan, block, nonzero, blocks);
        } else if (*blocks) {
            --*blocks;
            return 1;
        } else {
            done = first_band(reader, ac, scan, block, nonzero, blocks);
        }
    } else if (scan->high) {
        refill(reader);
        block[0] = (int16_t)(block[0] | take(reader, 1) << scan->low);
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

/* The MCU of a number: one block in a scan of one component, else h x v of each. */
static ALWAYS int scan_mcu(const frame_t *frame, const scan_t *scan, reader_t *reader, int x, int y,
                           int *blocks)
{
    if (scan->components == 1)
        return scan_block(frame, scan, scan->component[0], reader, x, y, blocks);
    for (int i = 0; i < scan->components; i++) {
        component_t *component = scan->component[i];
        for (int v = 0; v < component->v; v++)
            for (int h = 0; h < component->h; h++)
                if (!scan_block(frame, scan, component, reader, x * component->h + h,
                                y * component->v + v, blocks))
                    return 0;
    }
    return 1;
}

static ALWAYS int scan_all(frame_t *frame, const scan_t *scan)
{
    const component_t *only = scan->component[0];
    const int alone = scan->components == 1;
    const int columns = alone ? only->blocks_x : frame->mcus_x;
    const int rows = alone ? only->blocks_y : frame->mcus_y;
    int x = 0, y = 0, expected = 0;
    while (y < rows) {
        uint8_t *filled;
        const uint8_t *marker = unstuff(frame->at, frame->end, frame->scratch, &filled);
        if (!marker)
            return 0;
        reader_t reader = {0, 0, frame->scratch, filled};
        int blocks = 0, left = frame->restart ? frame->restart : -1;
        for (int i = 0; i < scan->components; i++)
            scan->component[i]->predicted = 0;
        while (y < rows && left--) {
            if (!scan_mcu(frame, scan, &reader, x, y, &blocks))
                return 0;
            if (++x == columns) {
                x = 0;
                y++;
            }
        }
        if (blocks || !exhausted(&reader))
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

/* The same for machines since 2013: shifts by any register, and counts of bits. */
MODERN static int scan_all_wide(frame_t *frame, const scan_t *scan)
{
    return scan_all(frame, scan);
}

/* Read a scan's coefficients; frame->at is behind its header, and then at the next marker. */
static int read_scan(frame_t *frame, const scan_t *scan)
{
    return frame->wide ? scan_all_wide(frame, scan) : scan_all(frame, scan);
}

#endif
