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
        c->side = i && i != BLACK ? chroma : luma;
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

/* The bytes of the coefficients of a component. Blocks that become a pixel keep DC alone. */
static size_t coefficients_of(const component_t *component)
{
    const size_t blocks = (size_t)component->padded_x * component->padded_y;
    const size_t each = BLOCK * sizeof(int16_t) + sizeof(uint64_t);
    return LINE + blocks * (component->side == 1 ? sizeof(int16_t) : each);
}

/* The most bytes that decoding allocates, given those of the planes: the planes, the data of a scan
 * without stuffing, and the coefficients, 2 bytes each, of all components or, in `passes`, of one.
 * Huffman tables and rows of chroma, 1 MB at most for an image of 65500 columns, are not counted. */
static size_t memory_of(const frame_t *frame, const scan_t *scan, size_t planes, int passes)
{
    size_t all = 0, largest = 0;
    for (int i = 0; i < frame->components && is_stored(frame, scan); i++) {
        const size_t bytes = coefficients_of(&frame->component[i]);
        all += bytes;
        largest = bytes > largest ? bytes : largest;
    }
    return planes + (size_t)(frame->end - frame->at) + PADDING + (passes ? largest : all);
}

/* Allocate the coefficients of an image of several scans. Those of components that this pass does
 * not keep go to one block. Pages that are never written, because the data end early, take no
 * memory. */
static int allocate_coefficients(frame_t *frame)
{
    for (int i = 0; i < frame->components; i++) {
        component_t *c = &frame->component[i];
        const size_t blocks = (size_t)c->padded_x * c->padded_y;
        c->kept = frame->only >= 0 && i != frame->only ? 0 : c->side == 1 ? 1 : BLOCK;
        const size_t count = c->kept ? blocks * (size_t)c->kept : BLOCK;
        c->store = calloc(1, LINE + count * sizeof(int16_t));
        c->nonzero = calloc(c->kept == BLOCK ? blocks : 1, sizeof(uint64_t));
        if (!c->store || !c->nonzero)
            return 0;
        c->coefficients = (int16_t *)((uintptr_t)c->store + LINE - (uintptr_t)c->store % LINE);
    }
    return 1;
}

static void free_coefficients(component_t *component)
{
    free(component->store);
    free(component->nonzero);
    component->store = NULL;
    component->nonzero = NULL;
    component->coefficients = NULL;
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
            const int16_t *one = component->coefficients + (row + x) * (size_t)component->kept;
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

/* Whether all bits of the lowest coefficients are there. Without them libjpeg smooths the image. Of
 * an image that ends without EOI, all bits of all coefficients. */
static int has_all_bits(const frame_t *frame)
{
    const int count = frame->open ? BLOCK : 10;
    for (int i = 0; i < frame->components; i++) {
        const component_t *component = &frame->component[i];
        if (frame->only >= 0 && i != frame->only)
            continue; /* has a pass of its own */
        if (!frame->progressive) {
            if (!component->seen)
                return 0;
            continue;
        }
        for (int at = 0; at < count; at++)
            if (component->precision[at])
                return 0;
    }
    return 1;
}

/* Skip a scan whose coefficients are not needed. `elsewhere`: another pass reads it; else nobody
 * knows whether one that nothing follows is whole. */
static int skip_scan(frame_t *frame, int elsewhere)
{
    for (;;) {
        const uint8_t *found = memchr(frame->at, 0xFF, (size_t)(frame->end - frame->at));
        if (!found || frame->end - found < 2) {
            frame->fault = elsewhere ? RARE : UNSURE;
            frame->open = 1;
            frame->at = frame->end;
            return elsewhere;
        }
        frame->at = found;
        if (found[1] && (found[1] < 0xD0 || found[1] > 0xD7))
            return found[1] != 0xFF;
        frame->at += 2;
    }
}

/* Whether a scan is of the component that this pass keeps. */
static int is_wanted(const frame_t *frame, const scan_t *scan)
{
    int found = frame->only < 0;
    for (int i = 0; i < scan->components; i++)
        found |= scan->component[i] == &frame->component[frame->only < 0 ? 0 : frame->only];
    return found;
}

/* Read all scans, from the one whose header was read. 0: not supported. */
static int read_scans(frame_t *frame, scan_t *scan)
{
    int found = 1, scans = 0;
    const int stored = is_stored(frame, scan);
    if (stored && !allocate_coefficients(frame))
        return 0;
    for (; found > 0; found = next_scan(frame, scan)) {
        const int wanted = is_wanted(frame, scan);
        if (++scans > MAX_SCANS || (!stored && scans > 1) || !is_expected(frame, scan) ||
            (wanted && scans > 1 && !prepare_scan(frame, scan, 0)))
            return 0;
        const int needless = !wanted || (scan->first && scan->component[0]->side == 1);
        if (!(needless ? skip_scan(frame, !wanted) : read_scan(frame, scan)))
            return 0;
    }
    if (found < 0)
        return 0;
    if (!has_all_bits(frame)) {
        frame->fault = frame->open ? CUT : RARE;
        return 0;
    }
    for (int i = 0; i < frame->components; i++) {
        component_t *component = &frame->component[i];
        if (!stored)
            flush(frame, component);
        else if (component->kept && !transform_coefficients(frame, component))
            return 0;
        free_coefficients(component);
    }
    return 1;
}

/* Begin to read a body: no header of it is known yet. */
static void start_frame(frame_t *frame, const uint8_t *at, size_t size, uint8_t *scratch, int avx2)
{
    memset(frame, 0, sizeof *frame);
    frame->at = at;
    frame->end = at + size;
    while (size && at[size - 1] == 0xFF) /* an end that was filled up */
        frame->end--, size--;
    frame->adobe = frame->only = -1;
    frame->scratch = scratch;
    frame->avx2 = avx2;
    if (size > 4 && at[0] == 0xFF && at[1] == 0xD8)
        frame->at += 2;
    else
        frame->at = frame->end; /* no marker follows */
}

static void release_tables(frame_t *frame)
{
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < 4; i++)
            release(&frame->huffman[kind][i]);
}

/* Decode the planes into `memory`, one after the other. In `passes` each component has a pass of
 * its own over the file, which skips the other components' scans of AC coefficients, nearly all of
 * the data. 0: not supported. */
static int read_planes(frame_t *frame, scan_t *scan, uint8_t *memory, const uint8_t *body,
                       int passes)
{
    const int count = frame->components;
    const int luma = frame->component[0].side, chroma = frame->component[count > 1].side;
    for (int pass = 0; pass < (passes ? count : 1); pass++) {
        if (pass) {
            release_tables(frame);
            start_frame(frame, body, (size_t)(frame->end - body), frame->scratch, frame->avx2);
            if (next_scan(frame, scan) != 1 || !prepare_scan(frame, scan, 0))
                return 0;
            lay_out(frame, luma, chroma);
        }
        uint8_t *plane = memory;
        for (int i = 0; i < count; i++) {
            component_t *c = &frame->component[i];
            c->plane = plane;
            plane += c->stride * (ptrdiff_t)(c->padded_y * c->side);
        }
        frame->only = passes ? pass : -1;
        if (!read_scans(frame, scan))
            return 0;
    }
    return 1;
}

static void free_frame(frame_t *frame)
{
    for (int i = 0; i < COMPONENTS; i++)
        free_coefficients(&frame->component[i]);
    release_tables(frame);
    free(frame->scratch);
    free(frame);
}

#endif
