/* Resample single planes of 8-bit samples: luma, or chroma of another resolution.
 *
 * Sixteen target rows are computed at a time: sums over source rows, transposed so that the sixteen
 * are adjacent, then sums over source columns. 128 is subtracted from samples: where weights are
 * missing, because a chroma sample is partly in the border, the rest counts as 128, neutral.
 *
 * Sums are 16-bit integers, so results are the same on every machine. They are within 0.8 of a
 * level of exact ones; rounding alone is 0.5.
 */

#define PY_SSIZE_T_CLEAN
#include "_taps.h"
#include "_tile.h"

enum { MOST_TAPS = 24 }; /* with more, rounding errors add up */

typedef struct {
    const unsigned char *source;
    unsigned char *target;
    Py_ssize_t source_stride, target_stride;
} plane_t;

/* Integer taps, the same number for each sample; the last is repeated to a multiple of ROWS
 * samples. */
typedef struct {
    int length, count;
    int *start;
    short *weight; /* `count` a sample */
} whole_t;

/* Round so that the sums of the weights up to each tap are right. `from`: the number of source
 * samples. */
WIDE static int make_whole(whole_t *whole, const taps_t *taps, int from)
{
    const int padded = (taps->length + ROWS - 1) / ROWS * ROWS;
    int most = 1;
    for (int i = 0; i < taps->length; i++)
        most = taps->count[i] > most ? taps->count[i] : most;
    whole->length = taps->length;
    whole->count = most;
    whole->start = PyMem_RawMalloc(sizeof(int) * padded);
    whole->weight = PyMem_RawCalloc((size_t)padded * most, sizeof(short));
    if (!whole->start || !whole->weight)
        return 0;
    for (int i = 0; i < padded; i++) {
        const int sample = i < taps->length ? i : taps->length - 1;
        const float *weight = taps->weight + (size_t)sample * taps->stride;
        const int start = taps->start[sample];
        whole->start[i] = start + most > from ? from - most : start;
        short *out = whole->weight + (size_t)i * most + (start - whole->start[i]);
        float sum = 0;
        int before = 0;
        for (int k = 0; k < taps->count[sample]; k++) {
            sum += weight[k];
            const int now = (int)(sum * UNIT + 65536.5f) - 65536;
            out[k] = (short)(now - before);
            before = now;
        }
    }
    return 1;
}

static void free_whole(whole_t *whole)
{
    PyMem_RawFree(whole->start);
    PyMem_RawFree(whole->weight);
}

WIDE static void fill(const plane_t *plane, int width, short *transposed, const whole_t *down,
                      const whole_t *across, int swap)
{
    for (int y = 0; y < down->length; y += ROWS) {
        const int rows = down->length - y < ROWS ? down->length - y : ROWS;
        sum_rows(transposed, plane->source, plane->source_stride, width, down->start + y,
                 down->weight + (size_t)y * down->count, down->count);
        sum_columns(plane->target + (swap ? y : y * plane->target_stride), plane->target_stride,
                    rows, across->length, swap, transposed, across->start, across->weight,
                    across->count);
    }
}

/* The same in floating point, for more than MOST_TAPS. */
WIDE static int fill_plainly(const plane_t *plane, int width, const taps_t *down,
                             const taps_t *across, int swap)
{
    float *sum = PyMem_RawMalloc(sizeof(float) * width);
    if (!sum)
        return 0;
    for (int y = 0; y < down->length; y++) {
        memset(sum, 0, sizeof(float) * width);
        for (int k = 0; k < down->count[y]; k++) {
            const unsigned char *row = plane->source + (down->start[y] + k) * plane->source_stride;
            const float share = down->weight[(size_t)y * down->stride + k];
            for (int x = 0; x < width; x++)
                sum[x] += share * (float)(row[x] - 128);
        }
        for (int x = 0; x < across->length; x++) {
            float value = 128.5f;
            for (int k = 0; k < across->count[x]; k++)
                value += across->weight[(size_t)x * across->stride + k] * sum[across->start[x] + k];
            plane->target[swap ? x * plane->target_stride + y : y * plane->target_stride + x] =
                value < 0 ? 0 : value > 255 ? 255 : (unsigned char)value;
        }
    }
    PyMem_RawFree(sum);
    return 1;
}

static int only_copies(const whole_t *down, const whole_t *across)
{
    if (down->count != 1 || across->count != 1)
        return 0;
    for (int y = 0; y < down->length; y++)
        if (down->weight[y] != UNIT)
            return 0;
    for (int x = 0; x < across->length; x++)
        if (across->weight[x] != UNIT || across->start[x] != across->start[0] + x)
            return 0;
    return 1;
}

/* The taps of both axes. */
typedef struct {
    taps_t down_taps, across_taps;
    whole_t down, across;
    int height, width; /* of source planes */
    int swap;
} grids_t;

/* Returns 0 if memory is exhausted. */
static int resample_one(plane_t plane, const grids_t *grids)
{
    const whole_t *down = &grids->down, *across = &grids->across;
    const int height = grids->height, swap = grids->swap;
    int width = grids->width;
    if (down->count > MOST_TAPS || across->count > MOST_TAPS)
        return fill_plainly(&plane, width, &grids->down_taps, &grids->across_taps, swap);
    if (!swap && only_copies(down, across)) {
        for (int y = 0; y < down->length; y++)
            memcpy(plane.target + y * plane.target_stride,
                   plane.source + down->start[y] * plane.source_stride + across->start[0],
                   across->length);
        return 1;
    }
    unsigned char *padded = NULL;
    if (width < COLUMNS) { /* tiles must not be read past the end of a row */
        padded = PyMem_RawCalloc(height, COLUMNS);
        if (!padded)
            return 0;
        for (int y = 0; y < height; y++)
            memcpy(padded + (size_t)y * COLUMNS, plane.source + y * plane.source_stride, width);
        plane.source = padded;
        plane.source_stride = width = COLUMNS;
    }
    short *transposed = PyMem_RawMalloc(sizeof(short) * ROWS * width);
    if (transposed)
        fill(&plane, width, transposed, down, across, swap);
    PyMem_RawFree(transposed);
    PyMem_RawFree(padded);
    return transposed != NULL;
}

static int is_plane(const Py_buffer *view, int height, int width)
{
    return view->itemsize == 1 && view->ndim == 2 && view->shape[0] == height &&
           view->shape[1] == width && (view->strides[1] == 1 || width == 1);
}

static int is_axis(const axis_t *axis)
{
    const int most = 1 << 26;
    return axis->extent > 0 && axis->extent < most && axis->resized > 0 &&
           axis->resized < most && axis->final > 0 && axis->final < most &&
           axis->shift > -most && axis->shift < most && axis->pitch >= 1 && axis->pitch <= 2 &&
           axis->grain >= 1 && axis->grain <= 2;
}

/* Resample a pair of planes. Returns 0 with an exception set. */
static int resample_pair(PyObject *pair, const grids_t *grids)
{
    Py_buffer source, target;
    PyObject *from, *to;
    if (!PyTuple_Check(pair)) {
        PyErr_SetString(PyExc_TypeError, "a pair must be a tuple of two planes");
        return 0;
    }
    if (!PyArg_ParseTuple(pair, "OO", &from, &to) ||
        PyObject_GetBuffer(from, &source, PyBUF_STRIDES) < 0)
        return 0;
    if (PyObject_GetBuffer(to, &target, PyBUF_STRIDES | PyBUF_WRITABLE) < 0) {
        PyBuffer_Release(&source);
        return 0;
    }
    const int rows = grids->down.length, columns = grids->across.length, swap = grids->swap;
    int done = 0;
    if (is_plane(&source, grids->height, grids->width) &&
        is_plane(&target, swap ? columns : rows, swap ? rows : columns)) {
        const plane_t plane = {source.buf, target.buf, source.strides[0], target.strides[0]};
        Py_BEGIN_ALLOW_THREADS
        done = resample_one(plane, grids);
        Py_END_ALLOW_THREADS
        if (!done)
            PyErr_NoMemory();
    } else {
        PyErr_SetString(PyExc_ValueError, "the shapes of the planes are not those of the axes");
    }
    PyBuffer_Release(&source);
    PyBuffer_Release(&target);
    return done;
}

PyDoc_STRVAR(resample_planes_doc,
"resample_planes(pairs, kernel, rows, columns, swap)\n--\n\n"
"Resample the first plane of each pair into the second.\n\n"
"All source planes are uint8 of one shape, and all target planes; columns are contiguous, rows\n"
"need not be.\n\n"
"kernel: AREA or LANCZOS.\n"
"rows, columns: of each axis of the source planes (extent, pitch, resized, shift, final, grain,\n"
"flip): it covers `extent` pixels, `pitch` a sample, which are resized to `resized`. Of these,\n"
"counted from the other end with `flip`, `final` are wanted, from the one at `shift`; those\n"
"outside count as 128. Each target sample is the mean of `grain` pixels, or of fewer at the end.\n"
"swap: whether rows of the source planes become columns.\n\n"
"Raises ValueError if the shapes of the planes are not those that the axes imply.\n");

static PyObject *resample_planes(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *pairs, *result = NULL;
    axis_t rows, columns;
    grids_t grids = {0};
    int kernel;

    if (!PyArg_ParseTuple(args, "O!i(iiiiiip)(iiiiiip)p", &PyTuple_Type, &pairs, &kernel,
                          &rows.extent, &rows.pitch, &rows.resized, &rows.shift, &rows.final,
                          &rows.grain, &rows.flip, &columns.extent, &columns.pitch,
                          &columns.resized, &columns.shift, &columns.final, &columns.grain,
                          &columns.flip, &grids.swap))
        return NULL;
    if ((kernel != AREA && kernel != LANCZOS) || !is_axis(&rows) || !is_axis(&columns) ||
        (kernel == AREA && (rows.resized > rows.extent || columns.resized > columns.extent))) {
        PyErr_SetString(PyExc_ValueError, "planes cannot be resampled: invalid kernel or axis");
        return NULL;
    }
    grids.height = (rows.extent + rows.pitch - 1) / rows.pitch;
    grids.width = (columns.extent + columns.pitch - 1) / columns.pitch;
    if (make_taps(&grids.down_taps, &rows, kernel) &&
        make_taps(&grids.across_taps, &columns, kernel) &&
        make_whole(&grids.down, &grids.down_taps, grids.height) &&
        make_whole(&grids.across, &grids.across_taps, grids.width)) {
        Py_ssize_t i = 0;
        while (i < PyTuple_GET_SIZE(pairs) && resample_pair(PyTuple_GET_ITEM(pairs, i), &grids))
            i++;
        if (i == PyTuple_GET_SIZE(pairs))
            result = Py_NewRef(Py_None);
    } else {
        PyErr_NoMemory();
    }
    free_taps(&grids.down_taps);
    free_taps(&grids.across_taps);
    free_whole(&grids.down);
    free_whole(&grids.across);
    return result;
}

static PyMethodDef methods[] = {
    {"resample_planes", resample_planes, METH_VARARGS, resample_planes_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_planes",
    .m_doc = "Resampling of single planes of 8-bit samples.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__planes(void)
{
    PyObject *created = PyModule_Create(&module);
    if (created && (PyModule_AddIntConstant(created, "AREA", AREA) < 0 ||
                    PyModule_AddIntConstant(created, "LANCZOS", LANCZOS) < 0)) {
        Py_DECREF(created);
        return NULL;
    }
    fill_lanczos_table();
    return created;
}
