/* Decode a whole image: allocate planes and coefficients, read all scans, transform to pixels. */

#ifndef IMG2DS_JPEG_IMAGE_H
#define IMG2DS_JPEG_IMAGE_H

#include "_jpeg_headers.h"

/* Each scan may take as long as a sequential image. headers/jpeg.py has the same limit. */
enum { MAX_SCANS = 100 };

enum { LINE = 64 }; /* bytes of a cache line */

/* Set the sizes of the components for blocks of `luma` and `chroma` pixels a side. Returns the
 * bytes of the planes. */
static size_t lay_out(frame_t *frame, int luma, int chroma)
{
    size_t bytes = 0;
    for (int i = 0; i < frame->components; i++) {
        component_t *c = &frame->component[i];
        const int width = frame->width * c->h, height = frame->height * c->v;
        c->side = i ? chroma : luma;
        c->blocks_x = (width + SIDE * frame->h - 1) / (SIDE * frame->h);
        c->blocks_y = (height + SIDE * frame->v - 1) / (SIDE * frame->v);
        c->padded_x = frame->mcus_x * c->h;
        c->padded_y = frame->mcus_y * c->v;
        c->width = (width * c->side + SIDE * frame->h - 1) / (SIDE * frame->h);
        c->height = (height * c->side + SIDE * frame->v - 1) / (SIDE * frame->v);
        c->stride = (ptrdiff_t)c->padded_x * c->side;
        bytes += (size_t)c->stride * (size_t)(c->padded_y * c->side);
        memset(c->precision, -1, sizeof c->precision);
    }
    return bytes;
}

/* Whether coefficients are kept until the last scan. */
static int is_stored(const frame_t *frame, const scan_t *scan)
{
    return frame->progressive || scan->components != frame->components;
}

/* The most bytes that decoding allocates, given those of the planes: the planes, the data of a scan
 * without stuffing, and the coefficients, 2 bytes each. Huffman tables and rows of chroma, 1 MB at
 * most for an image of 65500 columns, are not counted. */
static size_t memory_of(const frame_t *frame, const scan_t *scan, size_t planes)
{
    size_t bytes = planes + (size_t)(frame->end - frame->at) + PADDING;
    for (int i = 0; i < frame->components && is_stored(frame, scan); i++) {
        const component_t *c = &frame->component[i];
        const size_t blocks = (size_t)c->padded_x * c->padded_y;
        bytes += LINE + blocks * (BLOCK * sizeof(int16_t) + sizeof(uint64_t));
    }
    return bytes;
}

/* Allocate the coefficients of an image of several scans. Pages that are never written, because the
 * data end early, take no memory. */
static int allocate_coefficients(frame_t *frame)
{
    for (int i = 0; i < frame->components; i++) {
        component_t *c = &frame->component[i];
        const size_t blocks = (size_t)c->padded_x * c->padded_y;
        c->store = calloc(1, LINE + blocks * BLOCK * sizeof(int16_t));
        c->nonzero = calloc(blocks, sizeof(uint64_t));
        if (!c->store || !c->nonzero)
            return 0;
        c->coefficients = (int16_t *)((uintptr_t)c->store + LINE - (uintptr_t)c->store % LINE);
    }
    return 1;
}

/* Transform all coefficients of a component. 0: not supported. */
static int transform_coefficients(const frame_t *frame, const component_t *component)
{
    for (int y = 0; y < component->blocks_y; y++) {
        const size_t row = (size_t)y * component->padded_x;
        const int16_t *block[2];
        uint8_t *out[2];
        int waiting = 0;
        for (int x = 0; x < component->blocks_x; x++) {
            const int16_t *one = component->coefficients + (row + x) * BLOCK;
            if (!is_in_range(component, one[0]))
                return 0;
            if (component->side == 1 || component->nonzero[row + x] == 0) {
                fill(component, one[0], place(component, x, y));
                continue;
            }
            block[waiting] = one;
            out[waiting++] = place(component, x, y);
            if (waiting == 2) {
                transform(frame, component, block, out, 2);
                waiting = 0;
            }
        }
        transform(frame, component, block, out, waiting);
    }
    return 1;
}

/* Whether all bits of the lowest coefficients are there. Without them libjpeg smooths the image. */
static int has_all_bits(const frame_t *frame)
{
    for (int i = 0; i < frame->components; i++) {
        const component_t *component = &frame->component[i];
        if (!frame->progressive) {
            if (!component->seen)
                return 0;
            continue;
        }
        for (int at = 0; at < 10; at++)
            if (component->precision[at])
                return 0;
    }
    return 1;
}

/* Skip a scan whose coefficients are not needed. */
static int skip_scan(frame_t *frame)
{
    for (;;) {
        const uint8_t *found = memchr(frame->at, 0xFF, (size_t)(frame->end - frame->at));
        if (!found || frame->end - found < 2)
            return 0;
        frame->at = found;
        if (found[1] && (found[1] < 0xD0 || found[1] > 0xD7))
            return found[1] != 0xFF;
        frame->at += 2;
    }
}

/* Read all scans, from the one whose header was read. 0: not supported. */
static int read_scans(frame_t *frame, scan_t *scan)
{
    int found = 1, scans = 0;
    const int stored = is_stored(frame, scan);
    if (stored && !allocate_coefficients(frame))
        return 0;
    for (; found > 0; found = next_scan(frame, scan)) {
        if (++scans > MAX_SCANS || (!stored && scans > 1) || !is_expected(frame, scan) ||
            (scans > 1 && !prepare_scan(frame, scan, 0)))
            return 0;
        const int needless = scan->first && scan->component[0]->side == 1;
        if (!(needless ? skip_scan(frame) : read_scan(frame, scan)))
            return 0;
    }
    if (found < 0 || !has_all_bits(frame))
        return 0;
    for (int i = 0; i < frame->components; i++) {
        if (!stored)
            flush(frame, &frame->component[i]);
        else if (!transform_coefficients(frame, &frame->component[i]))
            return 0;
    }
    return 1;
}

static void free_frame(frame_t *frame)
{
    for (int i = 0; i < COMPONENTS; i++) {
        free(frame->component[i].store);
        free(frame->component[i].nonzero);
    }
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < 4; i++)
            release(&frame->huffman[kind][i]);
    free(frame->scratch);
    free(frame);
}

#endif
