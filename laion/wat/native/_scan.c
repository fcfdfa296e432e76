/* Read a page from the JSON of a WAT record in one pass.

   Accepts the same texts as Python's json.loads(strict=False) on the record decoded with
   errors="replace", and returns the same as laion/wat/page_json.py; the tests compare the two. */

#include "_json.h"

static const char CC[] = "creativecommons.org/licenses/";

/* The shift table for a Horspool search of CC. memmem would build its table anew for each of the
   hundreds of links of a page. */
static unsigned char shifts[256];

static void fill_shifts(void) {
    memset(shifts, sizeof(CC) - 1, sizeof shifts);
    for (size_t i = 0; i < sizeof(CC) - 2; i++)
        shifts[(unsigned char)CC[i]] = (unsigned char)(sizeof(CC) - 2 - i);
}

static int names_license(const char *p, Py_ssize_t size) {
    const Py_ssize_t last = sizeof(CC) - 2;
    for (Py_ssize_t at = last; at < size; at += shifts[(unsigned char)p[at]])
        if (p[at] == CC[last] && !memcmp(p + at - last, CC, last)) return 1;
    return 0;
}

typedef struct {
    Json json;
    PyObject *attributes; /* tuple of bytes: names after IMG@/ */
    PyObject *extensions; /* tuple of bytes: of files that links lead to; images if it is empty */
    int keep_all;         /* whether images without an alt text are kept */
    int is_page, is_metadata;
    Text page_url, base, languages;
    PyObject *head_licenses, *licenses; /* lists of (url, rel) */
    PyObject *urls, *alts, *names;
    Py_ssize_t without_alt;
    Py_ssize_t orphans; /* images at the end of the lists that may get the alt of the next link */
} Scan;

typedef struct {
    Text path, url, alt, rel, text;
} Link;

/* Read a key of a link and its value in any JSON spelling, from the opening quote of the key. */
static int read_link_item(Scan *s, Link *link) {
    Text key;
    TRY(read_string(&s->json, &key));
    TRY(read_colon(&s->json));
    static const char *const words[] = {"path", "url", "alt", "rel", "text"};
    Text *const targets[] = {&link->path, &link->url, &link->alt, &link->rel, &link->text};
    for (int i = 0; i < 5; i++) {
        int same = equals(&s->json, key, words[i], (Py_ssize_t)strlen(words[i]));
        if (same < 0) return same;
        if (same) return read_text(&s->json, targets[i]);
    }
    return skip_value(&s->json);
}

/* Read an object of a list of links. Its few known keys are compared including the quotes; other
   keys are read by read_link_item. */
static int read_link(Scan *s, Link *link) {
    Text ignored;
    const char *p, *end = s->json.end;
    memset(link, 0, sizeof *link);
    s->json.p++;
    skip_blanks(&s->json);
    p = s->json.p;
    if (p >= end) return -1;
    if (*p == '}') {
        s->json.p++;
        return 0;
    }
    for (;;) {
        if (p >= end || *p != '"') return -1;
#define LINK_KEY(word, target)                                            \
    if (end - p >= 16 && !memcmp(p, "\"" word "\":\"", sizeof(word) + 3)) { \
        p = past_string(p + sizeof(word) + 2, end, target);               \
        if (!p) return -1;                                                \
    }
        LINK_KEY("url", &link->url)
        else LINK_KEY("path", &link->path)
        else LINK_KEY("text", &link->text)
        else LINK_KEY("alt", &link->alt)
        else LINK_KEY("title", &ignored)
        else LINK_KEY("rel", &link->rel)
        else LINK_KEY("type", &ignored)
        else LINK_KEY("target", &ignored)
        else {
            s->json.p = p;
            TRY(read_link_item(s, link));
            p = s->json.p;
        }
        if (p < end && *p == ',') { /* white space is handled below */
            p++;
            if (p < end && *p == '"') continue;
            s->json.p = p;
            skip_blanks(&s->json);
            p = s->json.p;
            continue;
        }
        s->json.p = p;
        skip_blanks(&s->json);
        if (s->json.p >= end) return -1;
        char c = *s->json.p++;
        if (c == '}') return 0;
        if (c != ',') return -1;
        skip_blanks(&s->json);
        p = s->json.p;
    }
}

/* Append an item; steals the reference. */
static int append(PyObject *list, PyObject *item) {
    if (!item) return -2;
    int failed = PyList_Append(list, item);
    Py_DECREF(item);
    return failed ? -2 : 0;
}

static int add_license(Scan *s, Link *link, PyObject **licenses) {
    if (!link->url.at || link->url.size < (Py_ssize_t)sizeof(CC) - 1) return 0;
    Text url = link->url;
    if (unescape(&s->json, &url)) return -2;
    if (!names_license(url.at, url.size)) return 0;
    if (!*licenses && !(*licenses = PyList_New(0))) return -2;
    PyObject *pair = PyTuple_New(2);
    if (!pair) return -2;
    PyTuple_SET_ITEM(pair, 0, PyUnicode_DecodeUTF8(url.at, url.size, "replace"));
    PyTuple_SET_ITEM(pair, 1, to_str(&s->json, link->rel));
    if (!PyTuple_GET_ITEM(pair, 0) || !PyTuple_GET_ITEM(pair, 1)) {
        Py_DECREF(pair);
        return -2;
    }
    return append(*licenses, pair);
}

/* Return the index of the attribute among the wanted ones, -1 if it is not wanted. */
static int image_attribute(Scan *s, Text path) {
    if (!path.at || (!path.escaped && (path.size < 5 || memcmp(path.at, "IMG@/", 5)))) return -1;
    if (unescape(&s->json, &path)) return -2;
    if (path.size < 5 || memcmp(path.at, "IMG@/", 5)) return -1;
    Py_ssize_t count = PyTuple_GET_SIZE(s->attributes);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = PyTuple_GET_ITEM(s->attributes, i);
        if (PyBytes_GET_SIZE(name) == path.size - 5 &&
            !memcmp(PyBytes_AS_STRING(name), path.at + 5, path.size - 5))
            return (int)i;
    }
    return -1;
}

static int add_image(Scan *s, Link *link) {
    int which = image_attribute(s, link->path);
    if (which == -2) return -2;
    Py_ssize_t orphans = s->orphans;
    s->orphans = 0;
    int is_source = which >= 0 && PyBytes_GET_SIZE(PyTuple_GET_ITEM(s->attributes, which)) == 3 &&
                    !memcmp(PyBytes_AS_STRING(PyTuple_GET_ITEM(s->attributes, which)), "src", 3);
    if (orphans && link->alt.at && link->path.at) {
        int same = IS(s, link->path, "IMG@/src");
        if (same < 0) return same;
        Py_ssize_t size = PyList_GET_SIZE(s->alts);
        for (Py_ssize_t i = size - orphans; same && i < size; i++) {
            PyObject *alt = to_str(&s->json, link->alt);
            if (!alt || PyList_SetItem(s->alts, i, alt)) return -2;
        }
    }
    if (which < 0 || !link->url.at) return 0;
    if (!link->alt.at && is_source && !s->keep_all) {
        s->without_alt++;
        return 0;
    }
    if (!link->alt.at && !is_source) s->orphans = orphans + 1;
    TRY(append(s->urls, to_str(&s->json, link->url)));
    TRY(append(s->alts, to_str(&s->json, link->alt)));
    return append(s->names, PyLong_FromLong(which));
}

/* Return the index of the extension that the path of a URL ends in, -1 for another one: also where
   the path is empty, since hosts have such endings, too (example.md). */
static int extension_of(Scan *s, const char *url, Py_ssize_t size) {
    const char *end = url, *last = url + size, *leaf, *dot = NULL;
    while (url < last && strchr(" \t\n\r\f", *url) && *url) url++;
    while (last > url && strchr(" \t\n\r\f", last[-1]) && last[-1]) last--;
    for (leaf = end = url; end < last && *end != '?' && *end != '#'; end++) {
        if (*end == '.') dot = end;
        else if (*end == '/') {
            dot = NULL;
            leaf = end + 1;
        }
    }
    if (!dot) return -1;
    if (leaf - url >= 2 && leaf[-2] == '/' && (leaf - url == 2 || leaf[-3] == ':')) return -1;
    Py_ssize_t length = end - dot - 1, count = PyTuple_GET_SIZE(s->extensions);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *extension = PyTuple_GET_ITEM(s->extensions, i);
        if (PyBytes_GET_SIZE(extension) != length) continue;
        const char *wanted = PyBytes_AS_STRING(extension);
        Py_ssize_t at = 0;
        for (; at < length; at++) {
            char c = dot[at + 1];
            if (c >= 'A' && c <= 'Z') c = (char)(c + ('a' - 'A'));
            if (c != wanted[at]) break;
        }
        if (at == length) return (int)i;
    }
    return -1;
}

/* Take a link to a file with one of the extensions; its text is that of the link. */
static int add_document(Scan *s, Link *link) {
    Text url = link->url;
    if (!url.at) return 0;
    if (url.escaped && unescape(&s->json, &url)) return -2;
    int which = extension_of(s, url.at, url.size);
    if (which < 0) return 0;
    TRY(append(s->urls, to_str(&s->json, link->url)));
    TRY(append(s->alts, to_str(&s->json, link->text)));
    return append(s->names, PyLong_FromLong(which));
}

static int clear_links(Scan *s) {
    s->without_alt = s->orphans = 0;
    Py_CLEAR(s->licenses);
    if (PyList_SetSlice(s->urls, 0, PY_SSIZE_T_MAX, NULL) ||
        PyList_SetSlice(s->alts, 0, PY_SSIZE_T_MAX, NULL) ||
        PyList_SetSlice(s->names, 0, PY_SSIZE_T_MAX, NULL))
        return -2;
    return 0;
}

static int read_links(Scan *s, int in_head) {
    Link link;
    int done;
    for (int first = 1;; first = 0) {
        TRY(next_item(&s->json, first, &done));
        if (done) return 0;
        if (*s->json.p != '{') {
            TRY(skip_value(&s->json));
            if (!in_head) s->orphans = 0;
            continue;
        }
        TRY(read_link(s, &link));
        TRY(add_license(s, &link, in_head ? &s->head_licenses : &s->licenses));
        if (in_head) continue;
        if (PyTuple_GET_SIZE(s->extensions)) TRY(add_document(s, &link));
        else TRY(add_image(s, &link));
    }
}

static int read_records(Scan *s) {
    Text key, name, value;
    int done;
    for (int first = 1;; first = 0) {
        TRY(next_item(&s->json, first, &done));
        if (done) return 0;
        if (*s->json.p != '{') {
            TRY(skip_value(&s->json));
            continue;
        }
        name.at = value.at = NULL;
        for (int start = 1;; start = 0) {
            TRY(next_key(&s->json, start, &key, &done));
            if (done) break;
            int is_name = IS(s, key, "Name"), is_value = IS(s, key, "Value");
            if (is_name < 0 || is_value < 0) return -2;
            if (is_name) TRY(read_text(&s->json, &name));
            else if (is_value) TRY(read_text(&s->json, &value));
            else TRY(skip_value(&s->json));
        }
        if (name.at && value.at) {
            int same = IS(s, name, "languages-cld2");
            if (same < 0) return same;
            if (same) s->languages = value;
        }
    }
}

/* The objects that are read. Of a repeated key the last one counts, so what the earlier one had is
   cleared. */
enum { TOP, ENVELOPE, HEADER, PAYLOAD, RESPONSE, METADATA, HTML, HEAD };

static int clear(Scan *s, int object) {
    switch (object) {
        case ENVELOPE:
            TRY(clear(s, HEADER));
            return clear(s, PAYLOAD);
        case HEADER:
            s->page_url.at = NULL;
            return 0;
        case PAYLOAD:
            TRY(clear(s, METADATA));
            return clear(s, RESPONSE);
        case METADATA:
            s->is_metadata = 0;
            s->languages.at = NULL;
            return 0;
        case RESPONSE:
            s->is_page = 0;
            return clear(s, HTML);
        case HTML:
            TRY(clear(s, HEAD));
            return clear_links(s);
        default: /* HEAD */
            s->base.at = NULL;
            Py_CLEAR(s->head_licenses);
            return 0;
    }
}

static int read_object(Scan *s, int object);

static int enter(Scan *s, int object) {
    TRY(clear(s, object));
    if (*s->json.p != '{') return skip_value(&s->json);
    if (object == RESPONSE) s->is_page = 1;
    if (object == METADATA) s->is_metadata = 1;
    return read_object(s, object);
}

static int read_list(Scan *s, int (*read)(Scan *)) {
    return *s->json.p == '[' ? read(s) : skip_value(&s->json);
}

static int read_page_links(Scan *s) { return read_links(s, 0); }
static int read_head_links(Scan *s) { return read_links(s, 1); }

static int read_object(Scan *s, int object) {
    Text key;
    int done;
    for (int first = 1;; first = 0) {
        TRY(next_key(&s->json, first, &key, &done));
        if (done) return 0;
        if (key.escaped) {
            /* The key is compared before the value is read, which may reuse the buffer. */
            if (unescape(&s->json, &key)) return -2;
        }
#define KEY(word) (key.size == sizeof(word) - 1 && !memcmp(key.at, word, sizeof(word) - 1))
        if (object == TOP && KEY("Envelope")) TRY(enter(s, ENVELOPE));
        else if (object == ENVELOPE && KEY("WARC-Header-Metadata")) TRY(enter(s, HEADER));
        else if (object == ENVELOPE && KEY("Payload-Metadata")) TRY(enter(s, PAYLOAD));
        else if (object == HEADER && KEY("WARC-Target-URI")) TRY(read_text(&s->json, &s->page_url));
        else if (object == PAYLOAD && KEY("HTTP-Response-Metadata")) TRY(enter(s, RESPONSE));
        else if (object == PAYLOAD && KEY("WARC-Metadata-Metadata")) TRY(enter(s, METADATA));
        else if (object == RESPONSE && KEY("HTML-Metadata")) TRY(enter(s, HTML));
        else if (object == HTML && KEY("Head")) TRY(enter(s, HEAD));
        else if (object == HTML && KEY("Links")) {
            TRY(clear_links(s));
            TRY(read_list(s, read_page_links));
        } else if (object == HEAD && KEY("Base")) TRY(read_text(&s->json, &s->base));
        else if (object == HEAD && KEY("Link")) {
            Py_CLEAR(s->head_licenses);
            TRY(read_list(s, read_head_links));
        } else if (object == METADATA && KEY("Metadata-Records")) {
            s->languages.at = NULL;
            TRY(read_list(s, read_records));
        } else TRY(skip_value(&s->json));
    }
}

static int read_all(Scan *s) {
    skip_blanks(&s->json);
    if (s->json.p >= s->json.end) return -1;
    if (*s->json.p == '{') TRY(read_object(s, TOP));
    else TRY(skip_value(&s->json));
    skip_blanks(&s->json);
    return s->json.p == s->json.end ? 0 : -1;
}

static PyObject *list_or_empty(PyObject *list) {
    return list ? Py_NewRef(list) : PyTuple_New(0);
}

static PyObject *result(Scan *s) {
    PyObject *found = PyTuple_New(11);
    if (!found) return NULL;
    PyTuple_SET_ITEM(found, 0, PyBool_FromLong(s->is_page));
    PyTuple_SET_ITEM(found, 1, PyBool_FromLong(s->is_metadata));
    PyTuple_SET_ITEM(found, 2, to_str(&s->json, s->page_url));
    PyTuple_SET_ITEM(found, 3, to_str(&s->json, s->base));
    PyTuple_SET_ITEM(found, 4, to_str(&s->json, s->languages));
    PyTuple_SET_ITEM(found, 5, list_or_empty(s->head_licenses));
    PyTuple_SET_ITEM(found, 6, list_or_empty(s->licenses));
    PyTuple_SET_ITEM(found, 7, Py_NewRef(s->urls));
    PyTuple_SET_ITEM(found, 8, Py_NewRef(s->alts));
    PyTuple_SET_ITEM(found, 9, Py_NewRef(s->names));
    PyTuple_SET_ITEM(found, 10, PyLong_FromSsize_t(s->without_alt));
    for (int i = 0; i < 11; i++) {
        if (!PyTuple_GET_ITEM(found, i)) {
            Py_DECREF(found);
            return NULL;
        }
    }
    return found;
}

static int is_tuple_of_bytes(PyObject *tuple) {
    if (!PyTuple_Check(tuple)) return 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++)
        if (!PyBytes_Check(PyTuple_GET_ITEM(tuple, i))) return 0;
    return 1;
}

static PyObject *scan(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 6 || !is_tuple_of_bytes(arguments[3]) || !is_tuple_of_bytes(arguments[4])) {
        PyErr_SetString(PyExc_TypeError,
                        "scan(record, start, end, attributes, extensions, keep_all): attributes "
                        "and extensions are tuples of bytes");
        return NULL;
    }
    Py_ssize_t start = PyLong_AsSsize_t(arguments[1]), end = PyLong_AsSsize_t(arguments[2]);
    if (PyErr_Occurred()) return NULL;
    int keep_all = PyObject_IsTrue(arguments[5]);
    if (keep_all < 0) return NULL;
    Py_buffer view;
    if (PyObject_GetBuffer(arguments[0], &view, PyBUF_SIMPLE)) return NULL;
    if (start < 0 || end > view.len || start > end) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_ValueError, "start and end are not within the record");
        return NULL;
    }
    Scan s;
    memset(&s, 0, sizeof s);
    s.json.p = (const char *)view.buf + start;
    s.json.end = (const char *)view.buf + end;
    s.attributes = arguments[3];
    s.extensions = arguments[4];
    s.keep_all = keep_all;
    s.urls = PyList_New(0);
    s.alts = PyList_New(0);
    s.names = PyList_New(0);
    PyObject *found = NULL;
    if (s.urls && s.alts && s.names) {
        int status = read_all(&s);
        if (status == 0) found = result(&s);
        else if (status == -1) found = Py_NewRef(Py_None);
    }
    Py_XDECREF(s.urls);
    Py_XDECREF(s.alts);
    Py_XDECREF(s.names);
    Py_XDECREF(s.head_licenses);
    Py_XDECREF(s.licenses);
    PyMem_Free(s.json.buffer);
    PyBuffer_Release(&view);
    return found;
}

static PyMethodDef methods[] = {
    {"scan", (PyCFunction)(void (*)(void))scan, METH_FASTCALL,
     "Read a page from record[start:end]; None if it is not JSON."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_scan", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__scan(void) {
    fill_shifts();
    return PyModule_Create(&module);
}
