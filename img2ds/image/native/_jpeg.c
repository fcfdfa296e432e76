/* A decoder of common JPEGs (ITU-T T.81), in half the time of libjpeg-turbo.
 *
 * Memory: see `memory_of`; at the full size 3 bytes a pixel and the size of the file, and for images
 * of several scans 6.4 bytes a pixel more (half of that in 4:2:0), or 2.1 where the limit asks for
 * a pass over the file for each component. At an eighth of the size these are a 64th.
 *
 * Decodes baseline and progressive images of 8 bits, grey or YCbCr, at the full size, a half, a
 * quarter or an eighth. Declines what is rare, and what libjpeg would warn about (broken or
 * truncated data): libjpeg then decodes it, or states the error. What is decoded is bit-exact with
 * libjpeg.
 *
 * For x86-64 with SSE2; uses AVX2 if the CPU has it.
 */

#if !defined(__x86_64__) || defined(__ILP32__)
#error "written for x86-64"
#endif

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_jpeg_colour.h"
#include "_jpeg_image.h"

/* Bytes of planes whose memory is given back while they are converted. */
enum { CONSUMED = 32 << 20 };

/* Whether AVX2 and BMI2 are used. */
static int avx2;

/* Read the headers up to the first scan. NULL if the image is declined, or on an exception.
 * `colours`: whether an image is declined that is not grey or YCbCr. */
static frame_t *open_frame(const Py_buffer *body, scan_t *scan, int colours)
{
    void *memory;
    if (posix_memalign(&memory, 64, sizeof(frame_t))) {
        PyErr_NoMemory();
        return NULL;
    }
    frame_t *frame = memory;
    start_frame(frame, body->buf, (size_t)body->len, NULL, avx2);
    if (next_scan(frame, scan) == 1 &&
        (!colours || (frame->components <= COLOURS && is_ycc(frame))) &&
        prepare_scan(frame, scan, 1)) {
        frame->scratch = malloc((size_t)(frame->end - frame->at) + PADDING);
        if (frame->scratch)
            return frame;
        PyErr_NoMemory();
    }
    free_frame(frame);
    return NULL;
}

/* How to keep to a limit: 0 with the coefficients of all components, 1 with those of one after the
 * other, -1 not at all. */
static int passes_of(const frame_t *frame, const scan_t *scan, size_t planes, Py_ssize_t limit)
{
    for (int passes = 0; passes <= 1; passes++)
        if (limit > 0 && memory_of(frame, scan, planes, passes) <= (size_t)limit)
            return passes;
    return -1;
}

/* What is returned for an image that is not decoded, or NULL on an exception. */
static PyObject *declined(const frame_t *frame)
{
    if (PyErr_Occurred())
        return NULL;
    return frame && frame->fault != RARE ? PyLong_FromLong(frame->fault) : Py_NewRef(Py_None);
}

/* The size of chroma blocks in libjpeg: twice that of luma if both planes are then of one size. */
static int chroma_side(const frame_t *frame, int luma)
{
    return frame->h == 2 && frame->v == 2 && luma < SIDE ? 2 * luma : luma;
}

static int is_side(int side)
{
    if (side == 1 || side == 2 || side == 4 || side == 8)
        return 1;
    PyErr_SetString(PyExc_ValueError, "a block is decoded to 8, 4, 2 or 1 pixels a side");
    return 0;
}

PyDoc_STRVAR(decode_planes_doc,
"decode_planes(body, side, coarse, limit)\n--\n\n"
"Decode a JPEG to planes. None if it is declined, CUT if it is cut short, UNSURE if it ends\n"
"without EOI in a scan that this size does not need.\n\n"
"side: pixels a side that a block is decoded to: 8, 4, 2 or 1.\n"
"limit: bytes; an image is declined whose planes, coefficients and scans take more, those of one\n"
"component at a time.\n"
"coarse: decode chroma of 4:4:4 images at half of that, if it is not less than 1.\n\n"
"Returns a buffer, the luma samples that a chroma sample covers horizontally and vertically, and\n"
"for each of one (grey) or three (Y, Cb, Cr) planes offset, stride, width and height in bytes.\n");

/* Offset, stride, width and height of each plane; NULL on an exception. */
static PyObject *plane_places(const frame_t *frame)
{
    PyObject *planes = PyTuple_New(frame->components);
    for (int i = 0; planes && i < frame->components; i++) {
        const component_t *c = &frame->component[i];
        PyObject *plane =
            Py_BuildValue("nnii", (Py_ssize_t)(c->plane - frame->component[0].plane),
                          (Py_ssize_t)c->stride, c->width, c->height);
        if (plane)
            PyTuple_SET_ITEM(planes, i, plane);
        else
            Py_CLEAR(planes);
    }
    return planes;
}

/* Decode a frame to planes whose chroma has blocks of `chroma` pixels a side. */
static PyObject *planes_of(frame_t *frame, scan_t *scan, const Py_buffer *body, int side,
                           int chroma, Py_ssize_t limit)
{
    const size_t bytes = lay_out(frame, side, chroma);
    const int passes = passes_of(frame, scan, bytes, limit);
    if (passes < 0)
        return Py_NewRef(Py_None);
    PyObject *buffer = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bytes), *result = NULL;
    if (!buffer)
        return NULL;
    int done;
    Py_BEGIN_ALLOW_THREADS
    done = read_planes(frame, scan, (uint8_t *)PyBytes_AS_STRING(buffer), body->buf, passes);
    Py_END_ALLOW_THREADS
    if (!done) {
        result = declined(frame);
    } else {
        const int of_chroma = frame->component[frame->components > 1].side;
        PyObject *planes = plane_places(frame);
        if (planes)
            result = Py_BuildValue("O(ii)N", buffer, frame->h * side / of_chroma,
                                   frame->v * side / of_chroma, planes);
    }
    Py_DECREF(buffer);
    return result;
}

static PyObject *decode_planes(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer body;
    int side, coarse;
    Py_ssize_t limit;
    scan_t scan;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*ipn", &body, &side, &coarse, &limit))
        return NULL;
    if (is_side(side)) {
        frame_t *frame = open_frame(&body, &scan, 1);
        if (frame) {
            const int fine = frame->h == 1 && frame->v == 1 && side > 1;
            const int chroma = coarse && fine ? side / 2 : side;
            result = planes_of(frame, &scan, &body, side, chroma, limit);
            free_frame(frame);
        } else {
            result = declined(NULL);
        }
    }
    PyBuffer_Release(&body);
    return result;
}

PyDoc_STRVAR(decode_components_doc,
"decode_components(body, side, limit)\n--\n\n"
"Decode a JPEG of any colours to planes, as `decode_planes` does; of four components the last has\n"
"the size of the first. Chroma of 4:2:0 is decoded at the size of luma if that is not the full one.\n\n"
"Returns what `decode_planes` returns, and whether the first three components are YCbCr; with a\n"
"fourth: complements of the inks.\n");

static PyObject *decode_components(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer body;
    int side;
    Py_ssize_t limit;
    scan_t scan;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*in", &body, &side, &limit))
        return NULL;
    if (is_side(side)) {
        frame_t *frame = open_frame(&body, &scan, 0);
        if (frame) {
            result = planes_of(frame, &scan, &body, side, chroma_side(frame, side), limit);
            if (result && PyTuple_Check(result))
                result = Py_BuildValue("NO", result, is_ycc(frame) ? Py_True : Py_False);
            free_frame(frame);
        } else {
            result = declined(NULL);
        }
    }
    PyBuffer_Release(&body);
    return result;
}

PyDoc_STRVAR(decode_rgb_doc,
"decode_rgb(body, side, pixels, limit)\n--\n\n"
"Decode a JPEG in colour into `pixels`, uint8 [height, width, 3].\n\n"
"side: pixels a side that a block is decoded to: 8, 4, 2 or 1.\n"
"limit: bytes; an image is declined whose planes, coefficients and scans take more, those of one\n"
"component at a time.\n\n"
"Returns True, or as `decode_planes`; the contents of `pixels` are then undefined.\n");

static PyObject *decode_rgb(PyObject *self, PyObject *args)
{
    (void)self;
    Py_buffer body, pixels;
    Py_ssize_t limit;
    int side, done = 0;
    scan_t scan;
    uint8_t *planes = NULL;
    frame_t *frame = NULL;
    PyObject *result;
    if (!PyArg_ParseTuple(args, "y*iw*n", &body, &side, &pixels, &limit))
        return NULL;
    if (!is_side(side))
        goto end;
    frame = open_frame(&body, &scan, 1);
    if (!frame || frame->components != COLOURS)
        goto end;
    const size_t bytes = lay_out(frame, side, chroma_side(frame, side));
    const int passes = passes_of(frame, &scan, bytes, limit);
    if (passes < 0)
        goto end;
    planes = malloc(bytes);
    if (!planes) {
        PyErr_NoMemory();
    } else if (pixels.len == (Py_ssize_t)3 * frame->component->width * frame->component->height) {
        Py_BEGIN_ALLOW_THREADS
        done = read_planes(frame, &scan, planes, body.buf, passes) &&
               to_rgb(frame, pixels.buf, bytes >= CONSUMED);
        Py_END_ALLOW_THREADS
    }
end:
    result = done ? Py_NewRef(Py_True) : declined(frame);
    free(planes);
    if (frame)
        free_frame(frame);
    PyBuffer_Release(&body);
    PyBuffer_Release(&pixels);
    return result;
}

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("popcnt");
}

PyDoc_STRVAR(use_modern_doc,
"use_modern(flag)\n--\n\n"
"Turn AVX2 and BMI2 off, or on if the CPU has them; for tests.\n\n"
"Returns whether they are used.\n");

static PyObject *use_modern(PyObject *self, PyObject *flag)
{
    (void)self;
    const int wanted = PyObject_IsTrue(flag);
    if (wanted < 0)
        return NULL;
    avx2 = wanted && has_avx2();
    return PyBool_FromLong(avx2);
}

static PyMethodDef methods[] = {
    {"decode_components", decode_components, METH_VARARGS, decode_components_doc},
    {"decode_planes", decode_planes, METH_VARARGS, decode_planes_doc},
    {"decode_rgb", decode_rgb, METH_VARARGS, decode_rgb_doc},
    {"use_modern", use_modern, METH_O, use_modern_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_jpeg",
    .m_doc = "Decode common JPEGs to luma and chroma planes, or to RGB.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__jpeg(void)
{
    avx2 = has_avx2();
    PyObject *created = PyModule_Create(&module);
    if (created && (PyModule_AddIntConstant(created, "INTERFACE", 2) < 0 ||
                    PyModule_AddIntConstant(created, "CUT", CUT) < 0 ||
                    PyModule_AddIntConstant(created, "UNSURE", UNSURE) < 0))
        Py_CLEAR(created);
    return created;
}
