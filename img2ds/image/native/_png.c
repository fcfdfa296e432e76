/* Undoes the row filters of PNG (PNG specification, third edition, 9) for 8-bit samples.
 *
 * The filters Sub, Average and Paeth depend on the pixel before, so a row cannot be done at once:
 * with SSE2 the samples of a pixel are done together.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { NONE = 0, SUB = 1, UP = 2, AVERAGE = 3, PAETH = 4 };

static void up(unsigned char *restrict row, const unsigned char *restrict raw,
               const unsigned char *restrict above, Py_ssize_t length)
{
    for (Py_ssize_t i = 0; i < length; i++)
        row[i] = (unsigned char)(raw[i] + above[i]);
}

static inline unsigned char paeth_of(int a, int b, int c)
{
    const int pa = abs(b - c), pb = abs(a - c), pc = abs(a + b - 2 * c);
    return (unsigned char)(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}

/* One row, any pixel size: `size` bytes a pixel. */
static void plain_row(int filter, unsigned char *row, const unsigned char *raw,
                      const unsigned char *above, Py_ssize_t length, int size)
{
    for (Py_ssize_t i = 0; i < length; i++) {
        const int a = i < size ? 0 : row[i - size], b = above[i];
        const int c = i < size ? 0 : above[i - size];
        const int guess = filter == SUB ? a : filter == AVERAGE ? (a + b) / 2 : paeth_of(a, b, c);
        row[i] = (unsigned char)(raw[i] + guess);
    }
}

#ifdef __SSE2__
static inline __m128i load(const unsigned char *from, int size)
{
    unsigned int value;
    if (size == 4) {
        memcpy(&value, from, 4);
    } else {
        /* Three bytes through memory would wait for each other's stores. */
        unsigned short low;
        memcpy(&low, from, 2);
        value = low | (unsigned int)from[2] << 16;
    }
    return _mm_cvtsi32_si128((int)value);
}

static inline void store(unsigned char *to, __m128i pixel, int size)
{
    const int value = _mm_cvtsi128_si32(pixel);
    memcpy(to, &value, size);
}

static inline __m128i choose(__m128i mask, __m128i yes, __m128i no)
{
    return _mm_or_si128(_mm_and_si128(mask, yes), _mm_andnot_si128(mask, no));
}

/* What Paeth's filter predicts from left, above and above left, all as words.
 *
 * Said without distances, after stb_image: with t = 3c - a - b it is the larger of a and b when
 * t <= the smaller, the smaller when t >= the larger, and c between. The chain is shorter so, and
 * it is the length of the chain that takes the time.
 */
static inline __m128i predict(__m128i a, __m128i b, __m128i c, __m128i c3b)
{
    const __m128i t = _mm_sub_epi16(c3b, a);
    const __m128i low = _mm_min_epi16(a, b), high = _mm_max_epi16(a, b);
    const __m128i inner = choose(_mm_cmpgt_epi16(high, t), c, low);
    return choose(_mm_cmpgt_epi16(t, low), inner, high);
}

/* 3c - b, which does not wait for the pixel before. */
static inline __m128i ready(__m128i b, __m128i c)
{
    return _mm_sub_epi16(_mm_add_epi16(c, _mm_add_epi16(c, c)), b);
}

static inline __m128i load_words(const unsigned char *from, int size)
{
    return _mm_unpacklo_epi8(load(from, size), _mm_setzero_si128());
}

static inline void store_words(unsigned char *to, __m128i words, int size)
{
    store(to, _mm_packus_epi16(words, words), size);
}

/* Two Paeth rows at once, the second a pixel behind: two chains side by side. */
static inline __attribute__((always_inline)) void
two_paeth_rows(unsigned char *row, const unsigned char *raw, const unsigned char *above,
               Py_ssize_t length, int size)
{
    const __m128i zero = _mm_setzero_si128();
    unsigned char *below = row + length;
    const unsigned char *raw_below = raw + length + 1;
    __m128i a = zero, c = zero;             /* of the first row */
    __m128i left = zero, corner = zero;     /* of the second one; its above is the first's a */
    for (Py_ssize_t i = 0; i < length; i += size) {
        const __m128i b = load_words(above + i, size);
        const __m128i next =
            _mm_add_epi8(load_words(raw + i, size), predict(a, b, c, ready(b, c)));
        store_words(row + i, next, size);
        if (i) {
            left = _mm_add_epi8(load_words(raw_below + i - size, size),
                                predict(left, a, corner, ready(a, corner)));
            store_words(below + i - size, left, size);
            corner = a;
        }
        a = next;
        c = b;
    }
    left = _mm_add_epi8(load_words(raw_below + length - size, size),
                        predict(left, a, corner, ready(a, corner)));
    store_words(below + length - size, left, size);
}

static inline __attribute__((always_inline)) void
fast_row(int filter, unsigned char *row, const unsigned char *raw, const unsigned char *above,
         Py_ssize_t length, int size)
{
    const __m128i zero = _mm_setzero_si128();
    __m128i a = zero, c = zero; /* left; above left, as words */
    for (Py_ssize_t i = 0; i < length; i += size) {
        const __m128i d = load(raw + i, size);
        if (filter == SUB) {
            a = _mm_add_epi8(d, a);
        } else if (filter == AVERAGE) {
            const __m128i b = load(above + i, size);
            /* _mm_avg_epu8 rounds up, PNG down: take the lost bit away. */
            const __m128i odd = _mm_and_si128(_mm_xor_si128(a, b), _mm_set1_epi8(1));
            a = _mm_add_epi8(d, _mm_sub_epi8(_mm_avg_epu8(a, b), odd));
        } else {
            const __m128i b = load_words(above + i, size);
            /* Bytes are added, so the words' upper halves stay zero. */
            a = _mm_add_epi8(_mm_unpacklo_epi8(d, zero), predict(a, b, c, ready(b, c)));
            c = b;
            store_words(row + i, a, size);
            continue;
        }
        store(row + i, a, size);
    }
}

static void one_row(int filter, unsigned char *row, const unsigned char *raw,
                    const unsigned char *above, Py_ssize_t length, int size)
{
    /* Sizes and filters as constants, so that each pair is compiled for itself. */
    if (size == 3) {
        if (filter == SUB)
            fast_row(SUB, row, raw, above, length, 3);
        else if (filter == AVERAGE)
            fast_row(AVERAGE, row, raw, above, length, 3);
        else
            fast_row(PAETH, row, raw, above, length, 3);
    } else if (size == 4) {
        if (filter == SUB)
            fast_row(SUB, row, raw, above, length, 4);
        else if (filter == AVERAGE)
            fast_row(AVERAGE, row, raw, above, length, 4);
        else
            fast_row(PAETH, row, raw, above, length, 4);
    } else {
        plain_row(filter, row, raw, above, length, size);
    }
}
#else
#define one_row plain_row
#endif

PyDoc_STRVAR(unfilter_doc,
"unfilter(raw, pixels)\n--\n\n"
"Fill uint8 pixels [height, width, channels] from the unpacked IDAT data of a PNG.\n\n"
"False when a row names a filter that there is not; `raw` must have height rows of\n"
"1 + width * channels bytes (ValueError).\n");

static PyObject *unfilter(PyObject *self, PyObject *args)
{
    Py_buffer raw, pixels;
    PyObject *raw_object, *pixels_object;
    (void)self;

    if (!PyArg_ParseTuple(args, "OO", &raw_object, &pixels_object))
        return NULL;
    if (PyObject_GetBuffer(raw_object, &raw, PyBUF_SIMPLE) < 0)
        return NULL;
    if (PyObject_GetBuffer(pixels_object, &pixels,
                           PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) < 0) {
        PyBuffer_Release(&raw);
        return NULL;
    }
    int known = 1;
    if (pixels.ndim != 3 || pixels.itemsize != 1 || pixels.shape[2] > 4 ||
        raw.len != pixels.shape[0] * (1 + pixels.shape[1] * pixels.shape[2])) {
        PyErr_SetString(PyExc_ValueError, "the data are not those of such a picture");
        known = -1;
    } else {
        const int size = (int)pixels.shape[2];
        const Py_ssize_t length = pixels.shape[1] * size, height = pixels.shape[0];
        Py_BEGIN_ALLOW_THREADS
        unsigned char *nothing = calloc((size_t)length + 1, 1);
        const unsigned char *above = nothing, *from = raw.buf;
        unsigned char *row = pixels.buf;
        for (Py_ssize_t y = 0; nothing && known && y < height; y++) {
            const int filter = *from++;
            if (filter == NONE)
                memcpy(row, from, length);
            else if (filter == UP)
                up(row, from, above, length);
#ifdef __SSE2__
            else if (filter == PAETH && size >= 3 && y + 1 < height && from[length] == PAETH) {
                if (size == 3)
                    two_paeth_rows(row, from, above, length, 3);
                else
                    two_paeth_rows(row, from, above, length, 4);
                y++;
                row += length;
                from += length + 1;
            }
#endif
            else if (filter <= PAETH)
                one_row(filter, row, from, above, length, size);
            else
                known = 0;
            above = row;
            row += length;
            from += length;
        }
        if (!nothing)
            known = 0;
        free(nothing);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&raw);
    PyBuffer_Release(&pixels);
    return known < 0 ? NULL : PyBool_FromLong(known);
}

static PyMethodDef methods[] = {
    {"unfilter", unfilter, METH_VARARGS, unfilter_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_png",
    .m_doc = "The row filters of PNG.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__png(void)
{
    return PyModule_Create(&module);
}
