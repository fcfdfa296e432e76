/* A whole picture: room for its planes and coefficients, all of its scans, and their pixels. */

#ifndef IMG2DS_JPEG_PICTURE_H
#define IMG2DS_JPEG_PICTURE_H

#include "_jpeg_headers.h"

/* Each scan may take as long as the whole of a sequential picture. */
enum { MAX_SCANS = 100 };

/* The sizes of everything, for blocks of so many pixels a side. Returns the planes' bytes. */
static size_t lay_out(frame_t *frame, int luma, int chroma)
{
    size_t bytes = 0;
    for (int i = 0; i < frame->components; i++) {
        component_t *c = &frame->component[i];
        const int width = frame->width * c->h, height = frame->height * c->v;
        c->side = i ? chroma : luma;
        c->blocks_x = (width + SIDE * frame->h - 1) / (SIDE * frame->h);
        c->blocks_y = (height + SIDE * frame->v - 1) / (SIDE * frame->v);
        c->whole_x = frame->mcus_x * c->h;
        c->whole_y = frame->mcus_y * c->v;
        c->width = (width * c->side + SIDE * frame->h - 1) / (SIDE * frame->h);
        c->height = (height * c->side + SIDE * frame->v - 1) / (SIDE * frame->v);
        c->stride = (ptrdiff_t)c->whole_x * c->side;
        bytes += (size_t)c->stride * (size_t)(c->whole_y * c->side);
        memset(c->precision, -1, sizeof c->precision);
    }
    return bytes;
}

/* Room for the coefficients of pictures of several scans. What is not filled, because a large
 * picture breaks off soon, costs no memory. */
static int make_stores(frame_t *frame)
{
    enum { LINE = 64 }; /* of the cache */
    for (int i = 0; i < frame->components; i++) {
        component_t *c = &frame->component[i];
        const size_t blocks = (size_t)c->whole_x * c->whole_y;
        c->store = calloc(1, LINE + blocks * BLOCK * sizeof(int16_t));
        c->nonzero = calloc(blocks, sizeof(uint64_t));
        if (!c->store || !c->nonzero)
            return 0;
        c->coefficients = (int16_t *)((uintptr_t)c->store + LINE - (uintptr_t)c->store % LINE);
    }
    return 1;
}

/* All stored coefficients of a component to pixels. 0: not for us. */
static int transform_store(const frame_t *frame, const component_t *component)
{
    for (int y = 0; y < component->blocks_y; y++) {
        const size_t row = (size_t)y * component->whole_x;
        const int16_t *block[2];
        uint8_t *out[2];
        int waiting = 0;
        for (int x = 0; x < component->blocks_x; x++) {
            const int16_t *one = component->coefficients + (row + x) * BLOCK;
            if (!is_sane(component, one[0]))
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

/* Whether libjpeg takes the coefficients as they are: it smooths pictures that lack bits of the
 * lowest ones. */
static int is_complete(const frame_t *frame)
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

/* Skip a scan whose coefficients no pixel needs. */
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

/* All scans, from the one whose header was read. 0: not for us. */
static int read_scans(frame_t *frame, scan_t *scan)
{
    int found = 1, scans = 0;
    const int stored = frame->progressive || scan->components != frame->components;
    if (stored && !make_stores(frame))
        return 0;
    for (; found > 0; found = next_scan(frame, scan)) {
        if (++scans > MAX_SCANS || (!stored && scans > 1) || !is_due(frame, scan) ||
            (scans > 1 && !make_ready(frame, scan, 0)))
            return 0;
        const int needless = scan->first && scan->component[0]->side == 1;
        if (!(needless ? skip_scan(frame) : read_scan(frame, scan)))
            return 0;
    }
    if (found < 0 || !is_complete(frame))
        return 0;
    for (int i = 0; i < frame->components; i++) {
        if (!stored)
            flush(frame, &frame->component[i]);
        else if (!transform_store(frame, &frame->component[i]))
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
