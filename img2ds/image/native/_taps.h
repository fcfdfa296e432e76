/* The taps of the resampling filters: source samples and weights of each target sample. For
 * `_resample.c` and `_planes.c`.
 *
 * AREA weights source samples by the part that the target sample covers; LANCZOS has eight taps
 * around the target sample's centre at any scale, and replicates the border (OpenCV's INTER_AREA
 * when shrinking, and INTER_LANCZOS4).
 */

#ifndef IMG2DS_TAPS_H
#define IMG2DS_TAPS_H

#include <Python.h>
#include <math.h> /* sin */

#ifndef WIDE
/* Function multiversioning needs ifunc, which of the C libraries on Linux only glibc has. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
#endif

enum { AREA = 0, LANCZOS = 1 };
enum { LANCZOS_TAPS = 8, LANCZOS_STEPS = 256 };

/* How one axis is resampled. Pixels are those of the luma grid; a chroma sample may cover two. */
typedef struct {
    int extent;  /* source pixels */
    int pitch;   /* source pixels that a source sample covers; fewer at the end */
    int resized; /* pixels of the whole image at its new size */
    int shift;   /* the first of these that is wanted; negative if it lies outside */
    int final;   /* target pixels */
    int grain;   /* target pixels that a target sample is the mean of */
    int flip;    /* whether source pixels count from the other end */
} axis_t;

/* For each target sample: the first source sample, their number, and their weights. Samples outside
 * the image have no weight, so the sum may be below 1. */
typedef struct {
    int length;
    int *start;
    int *count;
    float *weight; /* `stride` for each target sample */
    int stride;
} taps_t;

/* Weights at fractions of a sample; linear interpolation between them is accurate to 1e-5. One
 * entry past 1, because a fraction just below 1 may be rounded to it. */
static float lanczos_table[LANCZOS_STEPS + 2][LANCZOS_TAPS];

static void fill_lanczos_table(void)
{
    const double pi = 3.14159265358979323846;
    for (int i = 0; i < LANCZOS_STEPS + 2; i++) {
        double raw[LANCZOS_TAPS], sum = 0;
        for (int k = 0; k < LANCZOS_TAPS; k++) {
            const double x = pi * ((double)i / LANCZOS_STEPS + 3 - k); /* from tap to centre */
            raw[k] = fabs(x) < 1e-9 ? 1 : 4 * sin(x) * sin(x / 4) / (x * x);
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

/* What all pixels of an axis share. */
typedef struct {
    int kernel, from;
    double scale, pitch, step; /* source pixels a target pixel; those a sample, and its inverse */
    double part;               /* target pixels a source pixel */
} grid_t;

/* The source samples of a pixel of the resized image: `count` from `first`. */
static inline void find_span(const grid_t *grid, int position, int *first, int *count)
{
    int low, high;
    if (grid->kernel == AREA) {
        low = (int)((position * grid->scale + 1e-6) * grid->step);
        high = (int)(((position + 1) * grid->scale - 1e-6) * grid->step) + 1;
    } else {
        /* Never below -1, so truncation rounds down once 1 is added. */
        low = (int)((position + 0.5) * grid->scale * grid->step + 0.5) - 4;
        high = low + LANCZOS_TAPS;
    }
    low = low < 0 ? 0 : low;
    high = high > grid->from ? grid->from : high;
    *first = low < grid->from ? low : grid->from - 1;
    *count = high > *first ? high - *first : 1;
}

/* Add the weights of a pixel to `weight`, whose first entry is of source sample `start`. */
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
    const double centre = (position + 0.5) * grid->scale * grid->step + 0.5; /* plus 1 */
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

/* Returns 0 if memory is exhausted. */
WIDE static int make_taps(taps_t *taps, const axis_t *axis, int kernel)
{
    const double scale = (double)axis->extent / axis->resized;
    /* Without a change of size every pixel is copied, whatever the filter. */
    const grid_t grid = {axis->extent == axis->resized ? AREA : kernel,
                         (axis->extent + axis->pitch - 1) / axis->pitch, scale, axis->pitch,
                         1.0 / axis->pitch, (double)axis->resized / axis->extent};
    const int length = (axis->final + axis->grain - 1) / axis->grain;
    taps->length = length;
    const int apart = (int)(scale * grid.step) + 1; /* at most, centres of neighbours */
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
