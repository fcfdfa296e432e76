/* The marker segments of a JPEG (ITU-T T.81, annex B), and whether the image is supported.
 *
 * Functions return 0 for what is not. */

#ifndef IMG2DS_JPEG_HEADERS_H
#define IMG2DS_JPEG_HEADERS_H

#include "_jpeg_scan.h"

/* libjpeg's limits: pixels a side, and sampling factors. */
enum { MAX_SIDE = 65500, MAX_SAMPLING = 4 };

static int word(const uint8_t *at)
{
    return at[0] << 8 | at[1];
}

/* DQT (B.2.4.1), of 8 bits. */
static int read_quant(frame_t *frame, const uint8_t *at, const uint8_t *end)
{
    for (; at < end; at += 1 + BLOCK) {
        if (*at > 3 || end - at < 1 + BLOCK)
            return 0;
        if (memchr(at + 1, 0, BLOCK)) /* would make any DC coefficient pass `is_in_range` */
            return 0;
        for (int i = 0; i < BLOCK; i++)
            frame->quant[*at][NATURAL[i]] = at[1 + i];
        frame->has_quant[*at] = 1;
    }
    return 1;
}

/* DHT (B.2.4.2). */
static int read_huffman(frame_t *frame, const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        if (end - at < 17 || *at > 0x13 || (*at & 15) > 3)
            return 0;
        int total = 0;
        for (int i = 1; i <= 16; i++)
            total += at[i];
        if (total > 256 || end - at < 17 + total)
            return 0;
        huffman_t *huffman = &frame->huffman[*at >> 4][*at & 15];
        release(huffman);
        memcpy(huffman->counts, at + 1, 16);
        memcpy(huffman->symbols, at + 17, (size_t)total);
        huffman->total = total;
        at += 17 + total;
    }
    return 1;
}

/* SOF (B.2.2). */
static int read_frame(frame_t *frame, const uint8_t *at, const uint8_t *end)
{
    if (frame->components || end - at < 6 || at[0] != 8)
        return 0;
    frame->height = word(at + 1);
    frame->width = word(at + 3);
    frame->components = at[5];
    if (!frame->width || !frame->height || frame->width > MAX_SIDE || frame->height > MAX_SIDE ||
        (at[5] != 1 && at[5] != COLOURS && at[5] != COMPONENTS) || end - at != 6 + 3 * at[5])
        return 0;
    at += 6;
    for (int i = 0; i < frame->components; i++, at += 3) {
        component_t *component = &frame->component[i];
        component->id = at[0];
        component->h = at[1] >> 4;
        component->v = at[1] & 15;
        component->table = at[2];
        if (at[2] > 3 || component->h > MAX_SAMPLING || component->v > MAX_SAMPLING)
            return 0;
        if (frame->components == 1 && component->h && component->v)
            component->h = component->v = 1;
        if (i == BLACK) {
            if (component->h != frame->component[0].h || component->v != frame->component[0].v)
                return 0;
            continue;
        }
        if (i ? component->h != 1 || component->v != 1
              : component->h < 1 || component->h > 2 || component->v < 1 || component->v > 2)
            return 0;
    }
    frame->h = frame->component[0].h;
    frame->v = frame->component[0].v;
    frame->mcus_x = (frame->width + SIDE * frame->h - 1) / (SIDE * frame->h);
    frame->mcus_y = (frame->height + SIDE * frame->v - 1) / (SIDE * frame->v);
    return 1;
}

/* Whether the components are YCbCr, or YCCK, by the rules of libjpeg. */
static int is_ycc(const frame_t *frame)
{
    const component_t *c = frame->component;
    if (frame->components == COMPONENTS)
        return frame->adobe > 0;
    if (frame->components == 1 || frame->jfif)
        return 1;
    if (frame->adobe >= 0)
        return frame->adobe != 0; /* what is not defined is YCbCr, too */
    return !(c[0].id == 'R' && c[1].id == 'G' && c[2].id == 'B');
}

/* SOS (B.2.3). */
static int read_scan_header(frame_t *frame, scan_t *scan, const uint8_t *at, const uint8_t *end)
{
    if (!frame->components || end - at < 1 || end - at != 4 + 2 * at[0])
        return 0;
    scan->components = *at++;
    if (scan->components != 1 && scan->components != frame->components)
        return 0;
    for (int i = 0; i < scan->components; i++, at += 2) {
        component_t *component = NULL;
        for (int j = 0; j < frame->components; j++)
            if (frame->component[j].id == at[0])
                component = &frame->component[j];
        if (!component || (i && component <= scan->component[i - 1]) || at[1] >> 4 > 3 ||
            (at[1] & 15) > 3)
            return 0;
        component->dc = at[1] >> 4;
        component->ac = at[1] & 15;
        scan->component[i] = component;
    }
    scan->first = at[0];
    scan->last = at[1];
    scan->high = at[2] >> 4;
    scan->low = at[2] & 15;
    return 1;
}

/* Whether a scan continues the earlier ones: every bit of a coefficient in order, none twice. */
static int is_expected(const frame_t *frame, const scan_t *scan)
{
    if (!frame->progressive) {
        for (int i = 0; i < scan->components; i++)
            if (scan->component[i]->seen++)
                return 0;
        return scan->first == 0 && scan->last == BLOCK - 1 && !scan->high && !scan->low;
    }
    if (scan->first > scan->last || scan->last >= BLOCK || scan->low > 13 ||
        (scan->high && scan->low != scan->high - 1) ||
        (scan->first == 0 ? scan->last != 0 : scan->components != 1))
        return 0;
    for (int i = 0; i < scan->components; i++) {
        int8_t *precision = scan->component[i]->precision;
        if (scan->first && precision[0] < 0)
            return 0;
        for (int at = scan->first; at <= scan->last; at++) {
            if (precision[at] != (scan->high ? scan->high : -1))
                return 0;
            precision[at] = (int8_t)scan->low;
        }
    }
    return 1;
}

/* Prepare the tables of a scan. A component keeps the quantisation table of its first scan.
 * `locked`: whether the GIL is held. */
static int prepare_scan(frame_t *frame, const scan_t *scan, int locked)
{
    for (int i = 0; i < scan->components; i++) {
        component_t *component = scan->component[i];
        if (!component->latched) {
            if (!frame->has_quant[component->table])
                return 0;
            for (int j = 0; j < BLOCK; j++)
                component->quant[j] = (int16_t)frame->quant[component->table][j];
            component->latched = 1;
        }
        for (int kind = 0; kind < 2; kind++) {
            if (frame->progressive && (kind != (scan->first > 0) || (!kind && scan->high)))
                continue;
            huffman_t *huffman = &frame->huffman[kind][kind ? component->ac : component->dc];
            const role_t role = !kind ? DC : frame->progressive ? BANDS : AC;
            if (!(locked ? prepare_cached(huffman, role) : prepare(huffman, role)))
                return 0;
        }
    }
    return 1;
}

/* Read a marker segment before a scan, its parameters from `at` to `end`. */
static int read_segment(frame_t *frame, int marker, const uint8_t *at, const uint8_t *end)
{
    const ptrdiff_t size = end - at;
    switch (marker) {
    case 0xC0: /* baseline */
    case 0xC1: /* extended sequential: at 8 bits the same, with more tables */
        return read_frame(frame, at, end);
    case 0xC2:
        frame->progressive = 1;
        return read_frame(frame, at, end);
    case 0xC4:
        return read_huffman(frame, at, end);
    case 0xDB:
        return read_quant(frame, at, end);
    case 0xDD:
        frame->restart = size == 2 ? word(at) : 0;
        return size == 2;
    case 0xE0:
        frame->jfif |= size >= 14 && !memcmp(at, "JFIF", 5);
        return 1;
    case 0xEE:
        if (size >= 12 && !memcmp(at, "Adobe", 5))
            frame->adobe = at[11];
        return 1;
    default:
        return marker == 0xFE || (marker > 0xE0 && marker <= 0xEF);
    }
}

/* Read the segments up to the next scan header. 1: a scan, 0: EOI, -1: not supported. */
static int next_scan(frame_t *frame, scan_t *scan)
{
    for (;;) {
        if (frame->open)
            return 0;
        if (frame->end - frame->at < 2 || frame->at[0] != 0xFF)
            return -1;
        const int marker = frame->at[1];
        frame->at += 2;
        if (marker == 0xD9)
            return 0;
        if (marker == 0xFF) {
            frame->at--; /* fill byte */
            continue;
        }
        if (frame->end - frame->at < 2)
            return -1;
        const int length = word(frame->at);
        if (length < 2 || frame->end - frame->at < length)
            return -1;
        const uint8_t *at = frame->at + 2, *end = frame->at + length;
        frame->at = end;
        if (marker == 0xDA)
            return read_scan_header(frame, scan, at, end) ? 1 : -1;
        if (!read_segment(frame, marker, at, end))
            return -1;
    }
}

#endif
