/* Reverse the row filters of PNG (3rd edition, 9) for samples of 8 and 16 bits.
 *
 * Sub, Average and Paeth depend on the previous pixel, so pixels are computed one by one, with SSE2
 * all samples of a pixel at once.
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

/* One row of `size` bytes a pixel, any size. */
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
    if (size > 4) {
        unsigned long long both = 0;
        memcpy(&both, from, (size_t)size);
        return _mm_loadl_epi64((const __m128i *)(const void *)&both);
    }
    if (size == 4) {
        memcpy(&value, from, 4);
    } else {
        /* Copying three bytes through memory would stall on store forwarding. */
        unsigned short low;
        memcpy(&low, from, 2);
        value = low | (unsigned int)from[2] << 16;
    }
    return _mm_cvtsi32_si128((int)value);
}

static inline void store(unsigned char *to, __m128i pixel, int size)
{
    if (size > 4) {
        unsigned long long both;
        _mm_storel_epi64((__m128i *)(void *)&both, pixel);
        memcpy(to, &both, (size_t)size);
        return;
    }
    const int value = _mm_cvtsi128_si32(pixel);
    memcpy(to, &value, size);
}

static inline __m128i choose(__m128i mask, __m128i yes, __m128i no)
{
    return _mm_or_si128(_mm_and_si128(mask, yes), _mm_andnot_si128(mask, no));
}

/* The Paeth predictor of a (left), b (above) and c (above left), in words.
 *
 * Without distances, after stb_image: with t = 3c - a - b it is the larger of a and b if t <= the
 * smaller, the smaller if t >= the larger, else c. This shortens the chain of dependent
 * instructions, which takes the time.
 */
static inline __m128i predict(__m128i a, __m128i b, __m128i c, __m128i c3b)
{
    const __m128i t = _mm_sub_epi16(c3b, a);
    const __m128i low = _mm_min_epi16(a, b), high = _mm_max_epi16(a, b);
    const __m128i inner = choose(_mm_cmpgt_epi16(high, t), c, low);
    return choose(_mm_cmpgt_epi16(t, low), inner, high);
}

/* 3c - b, which does not depend on the previous pixel. */
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

/* Two Paeth rows at once, the second one pixel behind: two independent chains. */
static inline __attribute__((always_inline)) void
two_paeth_rows(unsigned char *row, const unsigned char *raw, const unsigned char *above,
               Py_ssize_t length, int size)
{
    const __m128i zero = _mm_setzero_si128();
    unsigned char *below = row + length;
    const unsigned char *raw_below = raw + length + 1;
    __m128i a = zero, c = zero;         /* of the first row */
    __m128i left = zero, corner = zero; /* of the second row, whose b is a of the first */
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
            /* _mm_avg_epu8 rounds up, PNG down: subtract the odd bit. */
            const __m128i odd = _mm_and_si128(_mm_xor_si128(a, b), _mm_set1_epi8(1));
            a = _mm_add_epi8(d, _mm_sub_epi8(_mm_avg_epu8(a, b), odd));
        } else {
            const __m128i b = load_words(above + i, size);
            /* Bytes are added, so the upper halves of the words stay zero. */
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
    /* Constant sizes and filters, so that each pair is compiled separately. */
#define FAST(SIZE)                                                                                 \
    if (filter == SUB)                                                                             \
        fast_row(SUB, row, raw, above, length, SIZE);                                              \
    else if (filter == AVERAGE)                                                                    \
        fast_row(AVERAGE, row, raw, above, length, SIZE);                                          \
    else                                                                                           \
        fast_row(PAETH, row, raw, above, length, SIZE)
    switch (size) {
    case 3:
        FAST(3);
        break;
    case 4:
        FAST(4);
        break;
    case 6:
        FAST(6);
        break;
    case 8:
        FAST(8);
        break;
    default:
        plain_row(filter, row, raw, above, length, size);
    }
#undef FAST
}

static void two_rows(unsigned char *row, const unsigned char *raw, const unsigned char *above,
                     Py_ssize_t length, int size)
{
    switch (size) {
    case 3:
        two_paeth_rows(row, raw, above, length, 3);
        break;
    case 4:
        two_paeth_rows(row, raw, above, length, 4);
        break;
    case 6:
        two_paeth_rows(row, raw, above, length, 6);
        break;
    default:
        two_paeth_rows(row, raw, above, length, 8);
    }
}
#else
#define one_row plain_row
#endif

/* Reverse the filters of all rows. Returns 0 for an unknown filter, or if memory is exhausted. */
static int all_rows(unsigned char *row, const unsigned char *raw, Py_ssize_t length,
                    Py_ssize_t height, int size)
{
    unsigned char *zeros = calloc((size_t)length + 1, 1);
    const unsigned char *above = zeros;
    int known = zeros != NULL;
    for (Py_ssize_t y = 0; known && y < height; y++) {
        const int filter = *raw++;
        if (filter == NONE)
            memcpy(row, raw, length);
        else if (filter == UP)
            up(row, raw, above, length);
#ifdef __SSE2__
        else if (filter == PAETH && size >= 3 && y + 1 < height && raw[length] == PAETH) {
            two_rows(row, raw, above, length, size);
            y++;
            row += length;
            raw += length + 1;
        }
#endif
        else if (filter <= PAETH)
            one_row(filter, row, raw, above, length, size);
        else
            known = 0;
        above = row;
        row += length;
        raw += length;
    }
    free(zeros);
    return known;
}

PyDoc_STRVAR(unfilter_doc,
"unfilter(raw, pixels)\n--\n\n"
"Reverse the row filters of inflated IDAT data into uint8 pixels [height, width, bytes a pixel].\n\n"
"Returns False if a row has an unknown filter. Raises ValueError unless `raw` has height rows of\n"
"1 + width * bytes, and these are 1 to 4, 6 or 8.\n");

static int is_size(Py_ssize_t size)
{
    return (size >= 1 && size <= 4) || size == 6 || size == 8;
}

static PyObject *unfilter(PyObject *self, PyObject *args)
{
    Py_buffer raw, pixels;
    PyObject *raw_object, *pixels_object, *result = NULL;
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
    if (pixels.ndim != 3 || pixels.itemsize != 1 || !is_size(pixels.shape[2]) ||
        raw.len != pixels.shape[0] * (1 + pixels.shape[1] * pixels.shape[2])) {
        PyErr_SetString(PyExc_ValueError, "the data do not have the size of the image");
    } else {
        const int size = (int)pixels.shape[2];
        int known;
        Py_BEGIN_ALLOW_THREADS
        known = all_rows(pixels.buf, raw.buf, pixels.shape[1] * size, pixels.shape[0], size);
        Py_END_ALLOW_THREADS
        result = PyBool_FromLong(known);
    }
    PyBuffer_Release(&raw);
    PyBuffer_Release(&pixels);
    return result;
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
    PyObject *created = PyModule_Create(&module);
    if (created && PyModule_AddIntConstant(created, "MAX_SIZE", 8) < 0)
        Py_CLEAR(created);
    return created;
}
