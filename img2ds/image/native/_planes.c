/* Resampling of single planes of 8-bit samples: luma, or chroma from and to coarser grids.
 *
 * Sixteen new rows are made at a time: the sums over old rows, turned so that the sixteen lie side
 * by side, then the sums over old columns. Samples are taken less 128: where weights are missing,
 * because a sample of chroma lies in the border in part, the rest counts as 128, colourless.
 *
 * Sums are in whole numbers of 16 bits, so every machine gives the same bytes. They are within
 * 0.8 of a level (rounding alone is half of one) of those in real numbers.
 */

#define PY_SSIZE_T_CLEAN
#include "_taps.h"
#include "_tile.h"

enum { MOST_TAPS = 24 }; /* above, the products' rounding would add up to much */

typedef struct {
    const unsigned char *source;
    unsigned char *target;
    Py_ssize_t source_stride, target_stride;
} plane_t;

/* Taps in whole numbers, all of one count, and repeated up to a multiple of ROWS samples. */
typedef struct {
    int length, count;
    int *start;
    short *weight; /* `count` a sample */
} whole_t;

/* Rounded so that the weights up to each tap have the right sum. `from`: the old samples. */
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

WIDE static void fill(const plane_t *plane, int width, short *turned, const whole_t *down,
                      const whole_t *across, int swap)
{
    for (int y = 0; y < down->length; y += ROWS) {
        const int rows = down->length - y < ROWS ? down->length - y : ROWS;
        sum_rows(turned, plane->source, plane->source_stride, width, down->start + y,
                 down->weight + (size_t)y * down->count, down->count);
        sum_columns(plane->target + (swap ? y : y * plane->target_stride), plane->target_stride,
                    rows, across->length, swap, turned, across->start, across->weight,
                    across->count);
    }
}

/* The same in real numbers, for more taps than 16 bits can add up. */
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

static int only_moves(const whole_t *down, const whole_t *across)
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

/* Returns whether there was memory enough. */
static int resample_one(plane_t plane, int height, int width, const taps_t *down_taps,
                        const taps_t *across_taps, const whole_t *down, const whole_t *across,
                        int swap)
{
    if (down->count > MOST_TAPS || across->count > MOST_TAPS)
        return fill_plainly(&plane, width, down_taps, across_taps, swap);
    if (!swap && only_moves(down, across)) {
        for (int y = 0; y < down->length; y++)
            memcpy(plane.target + y * plane.target_stride,
                   plane.source + down->start[y] * plane.source_stride + across->start[0],
                   across->length);
        return 1;
    }
    unsigned char *padded = NULL;
    if (width < COLUMNS) { /* tiles are never read past the end of a row */
        padded = PyMem_RawCalloc(height, COLUMNS);
        if (!padded)
            return 0;
        for (int y = 0; y < height; y++)
            memcpy(padded + (size_t)y * COLUMNS, plane.source + y * plane.source_stride, width);
        plane.source = padded;
        plane.source_stride = width = COLUMNS;
    }
    short *turned = PyMem_RawMalloc(sizeof(short) * ROWS * width);
    if (turned)
        fill(&plane, width, turned, down, across, swap);
    PyMem_RawFree(turned);
    PyMem_RawFree(padded);
    return turned != NULL;
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

PyDoc_STRVAR(resample_planes_doc,
"resample_planes(pairs, kernel, rows, columns, swap)\n--\n\n"
"Fill the second plane of each pair with the first one, resampled.\n\n"
"All first planes are uint8 of one shape, and all second ones; columns are contiguous, rows may\n"
"lie apart.\n\n"
"kernel: AREA or LANCZOS.\n"
"rows, columns: for each axis of the first planes (extent, pitch, resized, shift, final, grain,\n"
"flip): it covers `extent` pixels, `pitch` of them a sample, which are resized to `resized`. Of\n"
"these, counted from the other end with `flip`, `final` are wanted, from the one at `shift`;\n"
"where there is none it counts as 128. Each new sample is the mean of `grain` of them, and of\n"
"those there are at the end.\n"
"swap: whether the first planes' rows become columns.\n\n"
"Raises ValueError for planes of other shapes than these say.\n");

static PyObject *resample_planes(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *pairs, *result = NULL;
    axis_t rows, columns;
    taps_t down_taps = {0}, across_taps = {0};
    whole_t down = {0}, across = {0};
    int kernel, swap, done = 1;

    if (!PyArg_ParseTuple(args, "O!i(iiiiiip)(iiiiiip)p", &PyTuple_Type, &pairs, &kernel,
                          &rows.extent, &rows.pitch, &rows.resized, &rows.shift, &rows.final,
                          &rows.grain, &rows.flip, &columns.extent, &columns.pitch,
                          &columns.resized, &columns.shift, &columns.final, &columns.grain,
                          &columns.flip, &swap))
        return NULL;
    if ((kernel != AREA && kernel != LANCZOS) || !is_axis(&rows) || !is_axis(&columns) ||
        (kernel == AREA && (rows.resized > rows.extent || columns.resized > columns.extent))) {
        PyErr_SetString(PyExc_ValueError, "planes cannot be resampled so");
        return NULL;
    }
    const int height = (rows.extent + rows.pitch - 1) / rows.pitch;
    const int width = (columns.extent + columns.pitch - 1) / columns.pitch;
    if (!make_taps(&down_taps, &rows, kernel) || !make_taps(&across_taps, &columns, kernel) ||
        !make_whole(&down, &down_taps, height) || !make_whole(&across, &across_taps, width)) {
        PyErr_NoMemory();
        goto end;
    }
    const int new_height = swap ? across.length : down.length;
    const int new_width = swap ? down.length : across.length;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(pairs) && done; i++) {
        Py_buffer source, target;
        PyObject *from, *to;
        PyObject *pair = PyTuple_GET_ITEM(pairs, i);
        if (!PyTuple_Check(pair)) {
            PyErr_SetString(PyExc_TypeError, "planes come in pairs");
            goto end;
        }
        if (!PyArg_ParseTuple(pair, "OO", &from, &to) ||
            PyObject_GetBuffer(from, &source, PyBUF_STRIDES) < 0)
            goto end;
        if (PyObject_GetBuffer(to, &target, PyBUF_STRIDES | PyBUF_WRITABLE) < 0) {
            PyBuffer_Release(&source);
            goto end;
        }
        const int fit =
            is_plane(&source, height, width) && is_plane(&target, new_height, new_width);
        if (fit) {
            const plane_t plane = {source.buf, target.buf, source.strides[0], target.strides[0]};
            Py_BEGIN_ALLOW_THREADS
            done = resample_one(plane, height, width, &down_taps, &across_taps, &down, &across,
                                swap);
            Py_END_ALLOW_THREADS
        }
        PyBuffer_Release(&source);
        PyBuffer_Release(&target);
        if (!fit) {
            PyErr_SetString(PyExc_ValueError, "planes are of other shapes than their axes say");
            goto end;
        }
    }
    if (done)
        result = Py_NewRef(Py_None);
    else
        PyErr_NoMemory();
end:
    free_taps(&down_taps);
    free_taps(&across_taps);
    free_whole(&down);
    free_whole(&across);
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
