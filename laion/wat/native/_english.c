/* The n-grams of a text's words, as laion/wat/english.py finds them. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>

enum { SHORTEST = 2, LONGEST = 5, MAX_TEXT = 400 };
#define BASIS 2166136261u /* FNV-1a, 32 bits */
#define PRIME 16777619u
#define WORD_BASIS 0x9e3779b9u

typedef struct {
    const int8_t *weights;
    uint32_t mask;
    long sum, count;
} total_t;

static void add(total_t *total, uint32_t h) {
    h ^= h >> 15;
    h *= 0x2c1b3c6du;
    h ^= h >> 13;
    total->sum += total->weights[h & total->mask];
    total->count++;
}

/* Bytes of the letter at p; 0 if it is none. */
static int letter(const uint8_t *p, const uint8_t *end) {
    if (*p < 0x80) return *p >= 'a' && *p <= 'z';
    if (*p < 0xc3) return 0; /* within a character, or a sign of Latin-1 */
    if (*p < 0xe0) return end - p >= 2 ? 2 : 0;
    if (*p < 0xf0) {
        const int is_sign = end - p < 3 || (*p == 0xe2 && p[1] < 0xb0) || (*p == 0xe3 && p[1] == 0x80);
        return is_sign ? 0 : 3;
    }
    return *p == 0xf0 && end - p >= 4 && p[1] != 0x9f ? 4 : 0;
}

/* A word between two spaces: its n-grams, and itself. */
static void add_word(total_t *total, const uint8_t *word, int size) {
    uint32_t whole = WORD_BASIS;
    for (int from = 0; from < size; from++) {
        uint32_t h = BASIS;
        whole = (whole ^ word[from]) * PRIME;
        for (int n = 1; n <= LONGEST && from + n <= size; n++) {
            h = (h ^ word[from + n - 1]) * PRIME;
            if (n >= SHORTEST) add(total, h);
        }
    }
    add(total, whole);
}

static PyObject *score(PyObject *self, PyObject *args) {
    Py_buffer text, weights;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*", &text, &weights)) return NULL;
    uint8_t word[MAX_TEXT + 2] = " ";
    const uint8_t *p = text.buf, *end = p + (text.len < MAX_TEXT ? text.len : MAX_TEXT);
    total_t total = {weights.buf, (uint32_t)weights.len - 1, 0, 0};
    const int is_valid = weights.len > 0 && !(weights.len & (weights.len - 1));
    int used = 1;
    while (is_valid && p <= end) {
        const int size = p < end ? letter(p, end) : 0;
        for (int n = 0; n < size; n++) word[used++] = p[n];
        if (!size && used > 1) {
            word[used++] = ' ';
            add_word(&total, word, used);
            used = 1;
        }
        p += size ? size : 1;
    }
    PyBuffer_Release(&text);
    PyBuffer_Release(&weights);
    if (!is_valid) return PyErr_Format(PyExc_ValueError, "the weights are not a power of two");
    return PyFloat_FromDouble(total.count ? total.sum / sqrt((double)total.count) : 0.0);
}

static PyMethodDef methods[] = {
    {"score", score, METH_VARARGS, "score(text, weights): the sum over the root of the count"},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_english", NULL, -1, methods,
                                    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__english(void) { return PyModule_Create(&module); }
