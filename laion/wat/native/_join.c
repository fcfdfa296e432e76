/* Resolve URLs of four simple forms, as laion/wat/urljoin.py does, which resolves the rest. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

/* Character classes of the URLs' parts; the patterns of laion/wat/urljoin.py. */
enum { HOST = 1, PATH = 2, SEGMENT = 4, QUERY = 8, SHOWN = 16 };
static unsigned char kinds[256];

static void fill_kinds(void) {
    for (int c = 0x20; c < 0x80; c++) {
        kinds[c] = PATH | SEGMENT | QUERY;
        if (strchr(";?#[]\\", c)) kinds[c] &= ~(PATH | SEGMENT);
        if (strchr("#[]", c)) kinds[c] &= ~QUERY;
        if (strchr("/:", c)) kinds[c] &= ~SEGMENT;
        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
            strchr(".:@_~%-", c))
            kinds[c] |= HOST;
        if (c > 0x20 && c < 0x7f) kinds[c] |= SHOWN;
    }
}

/* Skip characters of a class. */
static const unsigned char *skip(const unsigned char *p, const unsigned char *end, int kind) {
    while (p < end && kinds[*p] & kind) p++;
    return p;
}

/* Whether the rest is empty or a query that is not empty. */
static int is_tail(const unsigned char *p, const unsigned char *end) {
    if (p == end) return 1;
    return *p == '?' && p + 1 < end && skip(p + 1, end, QUERY) == end;
}

/* Whether the rest is a host, a path and a query. */
static int is_plain_host(const unsigned char *p, const unsigned char *end, int needs_path) {
    const unsigned char *host = p;
    p = skip(p, end, HOST);
    if (p == host) return 0;
    if (p < end && *p == '/') return is_tail(skip(p, end, PATH), end);
    return !needs_path && is_tail(p, end);
}

/* Whether the rest is segments that are not empty and do not start with a dot, and a query. */
static int is_plain_path(const unsigned char *p, const unsigned char *end) {
    for (;;) {
        if (p == end || *p == '.' || !(kinds[*p] & SEGMENT)) return 0;
        p = skip(p, end, SEGMENT);
        if (p == end || *p != '/') return is_tail(p, end);
        p++;
    }
}

static PyObject *concatenate(PyObject *prefix, const unsigned char *p, Py_ssize_t size) {
    Py_ssize_t before = PyUnicode_GET_LENGTH(prefix);
    PyObject *joined = PyUnicode_New(before + size, 127);
    if (joined) {
        memcpy(PyUnicode_1BYTE_DATA(joined), PyUnicode_1BYTE_DATA(prefix), before);
        memcpy(PyUnicode_1BYTE_DATA(joined) + before, p, size);
    }
    return joined;
}

static PyObject *join_one(PyObject *url, PyObject *scheme, PyObject *root, PyObject *folder) {
    if (!PyUnicode_Check(url) || !PyUnicode_IS_COMPACT_ASCII(url)) Py_RETURN_NONE;
    const unsigned char *whole = PyUnicode_1BYTE_DATA(url), *p = whole;
    const unsigned char *end = p + PyUnicode_GET_LENGTH(url);
#define IS_BLANK(c) ((c) == ' ' || ((c) >= '\t' && (c) <= '\r' && (c) != '\v'))
    while (p < end && IS_BLANK(*p)) p++;
    while (p < end && IS_BLANK(end[-1])) end--;
    Py_ssize_t size = end - p;
    int as_it_is = 0;
    if (size > 8 && !memcmp(p, "http", 4)) {
        const unsigned char *host = p + 4 + (p[4] == 's');
        as_it_is = !memcmp(host, "://", 3) && is_plain_host(host + 3, end, 0);
    } else if (size > 11 && !memcmp(p, "data:image/", 11)) {
        as_it_is = skip(p, end, SHOWN) == end;
    }
    if (as_it_is) {
        if (p == whole && size == PyUnicode_GET_LENGTH(url)) return Py_NewRef(url);
        return PyUnicode_DecodeASCII((const char *)p, size, NULL);
    }
    if (!PyUnicode_GET_LENGTH(scheme) || !size) Py_RETURN_NONE;
    if (*p != '/') {
        if (is_plain_path(p, end)) return concatenate(folder, p, size);
    } else if (size > 1 && p[1] != '/') {
        if (is_plain_path(p + 1, end)) return concatenate(root, p, size);
    } else if (size > 2 && is_plain_host(p + 2, end, 1)) {
        return concatenate(scheme, p, size);
    }
    Py_RETURN_NONE;
}

static PyObject *join(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 4 || !PyList_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "join(urls: list, scheme, root, folder)");
        return NULL;
    }
    for (int i = 1; i < 4; i++) {
        if (!PyUnicode_Check(arguments[i]) || !PyUnicode_IS_COMPACT_ASCII(arguments[i])) {
            PyErr_SetString(PyExc_TypeError, "scheme, root and folder are ASCII");
            return NULL;
        }
    }
    Py_ssize_t size = PyList_GET_SIZE(arguments[0]);
    PyObject *joined = PyList_New(size);
    for (Py_ssize_t i = 0; joined && i < size; i++) {
        PyObject *one = join_one(
            PyList_GET_ITEM(arguments[0], i), arguments[1], arguments[2], arguments[3]);
        if (one) PyList_SET_ITEM(joined, i, one);
        else Py_CLEAR(joined);
    }
    return joined;
}

static PyMethodDef methods[] = {
    {"join", (PyCFunction)(void (*)(void))join, METH_FASTCALL,
     "Resolve URLs of simple forms; None for others."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_join", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__join(void) {
    fill_kinds();
    return PyModule_Create(&module);
}
