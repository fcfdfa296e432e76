/* Which old samples a new one is made of, and by what weights: for `_resample.c` and `_planes.c`.
 *
 * Area weighs the samples under the new one by how much of them it covers; Lanczos takes eight
 * taps around the new one's centre whatever the scale, and repeats the border (OpenCV's INTER_AREA
 * when shrinking, and INTER_LANCZOS4).
 */

#ifndef IMG2DS_TAPS_H
#define IMG2DS_TAPS_H

#include <Python.h>
#include <math.h> /* sin, when a module is loaded */

#ifndef WIDE
/* Of the C libraries on Linux only glibc lets the machine choose among clones (ifunc). */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
#endif

enum { AREA = 0, LANCZOS = 1 };
enum { LANCZOS_TAPS = 8, LANCZOS_STEPS = 256 };

/* How the samples of one axis come from old ones. Pixels are those of the picture at full
 * resolution, of which a sample of chroma may cover two. */
typedef struct {
    int extent;  /* old pixels */
    int pitch;   /* old pixels that an old sample covers; fewer at the end */
    int resized; /* pixels of the whole picture at its new size */
    int shift;   /* which of these is the first one wanted; below 0, the first ones lie outside */
    int final;   /* new pixels wanted */
    int grain;   /* new pixels that a new sample covers: it is their mean */
    int flip;    /* whether old pixels count from the other end */
} axis_t;

/* For each new sample: the first old one, how many, and their weights. What lies outside the
 * picture has no weight, so that their sum may be below 1. */
typedef struct {
    int length;
    int *start;
    int *count;
    float *weight; /* `stride` of them a sample */
    int stride;
} taps_t;

/* Taps at fractions of a sample, a line between which is right to 1e-5; to one step over 1, since
 * what is just below 1 may be rounded to it. */
static float lanczos_table[LANCZOS_STEPS + 2][LANCZOS_TAPS];

static void fill_lanczos_table(void)
{
    const double pi = 3.14159265358979323846;
    for (int i = 0; i < LANCZOS_STEPS + 2; i++) {
        double raw[LANCZOS_TAPS], sum = 0;
        for (int k = 0; k < LANCZOS_TAPS; k++) {
            const double far = pi * ((double)i / LANCZOS_STEPS + 3 - k); /* tap to centre */
            raw[k] = fabs(far) < 1e-9 ? 1 : 4 * sin(far) * sin(far / 4) / (far * far);
            sum += raw[k];
        }
        for (int k = 0; k < LANCZOS_TAPS; k++)
            lanczos_table[i][k] = (float)(raw[k] / sum);
    }
}

static void free_taps(taps_t *taps)
{
    PyMem_RawFree(taps->start);
    PyMem_RawFree(taps->count);
    PyMem_RawFree(taps->weight);
}

/* What is the same for all pixels of an axis. */
typedef struct {
    int kernel, from;
    double scale, pitch, step; /* old pixels a new one; old pixels a sample, and its inverse */
    double part;               /* of a new pixel that an old one is */
} grid_t;

/* Where a pixel of the resized picture has its weights: from `first`, `count` of them. */
static inline void find_span(const grid_t *grid, int position, int *first, int *count)
{
    int low, high;
    if (grid->kernel == AREA) {
        low = (int)((position * grid->scale + 1e-6) * grid->step);
        high = (int)(((position + 1) * grid->scale - 1e-6) * grid->step) + 1;
    } else {
        /* Never below -1, so that truncation rounds it down once one is added. */
        low = (int)((position + 0.5) * grid->scale * grid->step + 0.5) - 4;
        high = low + LANCZOS_TAPS;
    }
    low = low < 0 ? 0 : low;
    high = high > grid->from ? grid->from : high;
    *first = low < grid->from ? low : grid->from - 1;
    *count = high > *first ? high - *first : 1;
}

/* Add to `weight`, of which the first belongs to old sample `start`. */
static inline void add_weights(const grid_t *grid, int position, float share, float *weight,
                               int start)
{
    if (grid->kernel == AREA) {
        const double low = position * grid->scale, high = low + grid->scale;
        int first, count;
        find_span(grid, position, &first, &count);
        const double unit = share * grid->part;
        for (int j = first; j < first + count; j++) {
            const double left = j * grid->pitch, right = left + grid->pitch;
            const double covered = (right < high ? right : high) - (left > low ? left : low);
            weight[j - start] += (float)(covered * unit);
        }
        return;
    }
    const double centre = (position + 0.5) * grid->scale * grid->step + 0.5; /* one too far */
    const int whole = (int)centre, base = whole - 4;
    const float level = (float)((centre - whole) * LANCZOS_STEPS);
    const float *low = lanczos_table[(int)level], *high = lanczos_table[(int)level + 1];
    const float part = level - (float)(int)level;
    float tap[LANCZOS_TAPS];
    for (int k = 0; k < LANCZOS_TAPS; k++)
        tap[k] = share * (low[k] + part * (high[k] - low[k]));
    if (base >= 0 && base + LANCZOS_TAPS <= grid->from) {
        for (int k = 0; k < LANCZOS_TAPS; k++)
            weight[base - start + k] += tap[k];
        return;
    }
    for (int k = 0; k < LANCZOS_TAPS; k++) {
        int place = base + k < 0 ? 0 : base + k;
        place = place > grid->from - 1 ? grid->from - 1 : place;
        weight[place - start] += tap[k];
    }
}

/* Returns whether there was memory enough. */
WIDE static int make_taps(taps_t *taps, const axis_t *axis, int kernel)
{
    const double scale = (double)axis->extent / axis->resized;
    /* With as many pixels as before each is its own, whatever the filter. */
    const grid_t grid = {axis->extent == axis->resized ? AREA : kernel,
                         (axis->extent + axis->pitch - 1) / axis->pitch, scale, axis->pitch,
                         1.0 / axis->pitch, (double)axis->resized / axis->extent};
    const int length = (axis->final + axis->grain - 1) / axis->grain;
    taps->length = length;
    const int apart = (int)(scale * grid.step) + 1; /* centres of neighbours, at most */
    taps->stride = grid.kernel == AREA ? axis->grain * apart + 2
                                       : LANCZOS_TAPS + (axis->grain - 1) * apart;
    taps->start = PyMem_RawMalloc(sizeof(int) * length);
    taps->count = PyMem_RawMalloc(sizeof(int) * length);
    taps->weight = PyMem_RawCalloc((size_t)length * taps->stride, sizeof(float));
    if (!taps->start || !taps->count || !taps->weight)
        return 0;
    for (int i = 0; i < length; i++) {
        int inside[2], found = 0, start = 0, end = 1;
        const int first = i * axis->grain;
        const int pixels = axis->final - first < axis->grain ? 1 : axis->grain;
        for (int pixel = first; pixel < first + pixels; pixel++) {
            int position = pixel + axis->shift, low, count;
            if (position < 0 || position >= axis->resized)
                continue;
            position = axis->flip ? axis->resized - 1 - position : position;
            find_span(&grid, position, &low, &count);
            start = found && start < low ? start : low;
            end = found && end > low + count ? end : low + count;
            inside[found++] = position;
        }
        taps->start[i] = start;
        taps->count[i] = end - start;
        for (int j = 0; j < found; j++)
            add_weights(&grid, inside[j], pixels == 1 ? 1 : 0.5f,
                        taps->weight + (size_t)i * taps->stride, start);
    }
    return 1;
}

#endif
