/* Resolve URLs of four simple forms, as laion/wat/urljoin.py does, which resolves the rest. */

#ifndef LAION_URLS_H
#define LAION_URLS_H

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
static const unsigned char *skip_kind(const unsigned char *p, const unsigned char *end, int kind) {
    while (p < end && kinds[*p] & kind) p++;
    return p;
}

/* Whether the rest is empty or a query that is not empty. */
static int is_tail(const unsigned char *p, const unsigned char *end) {
    if (p == end) return 1;
    return *p == '?' && p + 1 < end && skip_kind(p + 1, end, QUERY) == end;
}

/* Whether the rest is a host, a path and a query. */
static int is_plain_host(const unsigned char *p, const unsigned char *end, int needs_path) {
    const unsigned char *host = p;
    p = skip_kind(p, end, HOST);
    if (p == host) return 0;
    if (p < end && *p == '/') return is_tail(skip_kind(p, end, PATH), end);
    return !needs_path && is_tail(p, end);
}

/* Whether the rest is segments that are not empty and do not start with a dot, and a query. */
static int is_plain_path(const unsigned char *p, const unsigned char *end) {
    for (;;) {
        if (p == end || *p == '.' || !(kinds[*p] & SEGMENT)) return 0;
        p = skip_kind(p, end, SEGMENT);
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
        as_it_is = skip_kind(p, end, SHOWN) == end;
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

/* Whether the arguments are a base's scheme, root and folder; sets TypeError if not. */
static int is_base(PyObject *const *arguments) {
    for (int i = 0; i < 3; i++) {
        if (!PyUnicode_Check(arguments[i]) || !PyUnicode_IS_COMPACT_ASCII(arguments[i])) {
            PyErr_SetString(PyExc_TypeError, "scheme, root and folder are ASCII");
            return 0;
        }
    }
    return 1;
}

#endif
