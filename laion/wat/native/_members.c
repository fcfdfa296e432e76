/* Find gzip members in the bytes of a file (RFC 1952), and the block of a WARC record. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Find gzip's magic number from `start` on, -1 if there is none. bytes.find is ten times slower. */
static PyObject *find_magic(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "find_magic(buffer, start)");
        return NULL;
    }
    Py_ssize_t start = PyLong_AsSsize_t(arguments[1]);
    if (PyErr_Occurred()) return NULL;
    Py_buffer view;
    if (PyObject_GetBuffer(arguments[0], &view, PyBUF_SIMPLE)) return NULL;
    const unsigned char *bytes = view.buf;
    Py_ssize_t found = -1, i = start < 0 ? 0 : start;
#ifdef __SSE2__
    const __m128i one = _mm_set1_epi8(0x1f), two = _mm_set1_epi8((char)0x8b);
    for (; found < 0 && view.len - i >= 18; i += 16) {
        __m128i first = _mm_loadu_si128((const __m128i *)(bytes + i));
        __m128i second = _mm_loadu_si128((const __m128i *)(bytes + i + 1));
        unsigned mask = (unsigned)_mm_movemask_epi8(
            _mm_and_si128(_mm_cmpeq_epi8(first, one), _mm_cmpeq_epi8(second, two)));
        for (; mask; mask &= mask - 1) {
            Py_ssize_t at = i + __builtin_ctz(mask);
            if (bytes[at + 2] == 8) {
                found = at;
                break;
            }
        }
    }
#endif
    for (; found < 0 && view.len - i >= 3; i++)
        if (bytes[i] == 0x1f && bytes[i + 1] == 0x8b && bytes[i + 2] == 8) found = i;
    PyBuffer_Release(&view);
    return PyLong_FromSsize_t(found);
}

/* Return (data, start, end) of the block of the one WARC record in `data`; empty if it is not JSON.
   None if anything is unusual; archive.py then reads it. */
static PyObject *cut(PyObject *module, PyObject *data) {
    static const char length[] = "\r\nContent-Length: ", json[] = "application/json";
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)) return NULL;
    const char *p = view.buf;
    Py_ssize_t start = -1, end = 0;
    const char *blank = view.len > 5 ? memmem(p, view.len, "\r\n\r\n", 4) : NULL;
    if (blank && !memcmp(p, "WARC/", 5)) {
        const char *digit = memmem(p, blank - p, length, sizeof(length) - 1);
        if (digit) {
            int count = 0;
            for (digit += sizeof(length) - 1; *digit >= '0' && *digit <= '9' && count < 12; count++)
                end = 10 * end + (*digit++ - '0');
            start = blank + 4 - p;
            end += start;
            if (!count || *digit != '\r' || end > view.len || view.len > end + 4) start = -1;
            else if (!memmem(p, blank - p, json, sizeof(json) - 1)) end = start;
        }
    }
    PyBuffer_Release(&view);
    if (start < 0) Py_RETURN_NONE;
    PyObject *record = PyTuple_New(3), *first = PyLong_FromSsize_t(start);
    PyObject *last = PyLong_FromSsize_t(end);
    if (!record || !first || !last) {
        Py_XDECREF(record);
        Py_XDECREF(first);
        Py_XDECREF(last);
        return NULL;
    }
    PyTuple_SET_ITEM(record, 0, Py_NewRef(data));
    PyTuple_SET_ITEM(record, 1, first);
    PyTuple_SET_ITEM(record, 2, last);
    return record;
}

static PyMethodDef methods[] = {
    {"find_magic", (PyCFunction)(void (*)(void))find_magic, METH_FASTCALL,
     "Find the next possible start of a gzip member; -1 if there is none."},
    {"cut", cut, METH_O,
     "Return (data, start, end) of a WARC record's block; None if it is unusual."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_members", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__members(void) {
    return PyModule_Create(&module);
}
