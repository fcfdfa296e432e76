/* Clean the texts and resolve the URLs of a page's images, and apply the rules to them, as
   laion/wat/sifting.py does; what is not simple is given to its functions. */

#include "_urls.h"

/* What is known of a character, see `text.character_flags`. */
enum { TOUCHED = 1, PAIRED = 2, ALONE = 4, CURLED = 8, SPACE = 16, HIDDEN = 32, UNSTABLE = 64 };

/* How images end, in the order of the counts that are returned. */
enum { NO_ALT, SHORT, BAD_URL, NOT_HTTP, FILE_TYPE, TOO_LONG, OUTCOMES };

#define MAX_URL_LENGTH 2048

typedef struct {
    const unsigned char *flags; /* one for each character of the Basic Multilingual Plane */
    PyObject *clean, *join, *judge;
    PyObject *scheme, *root, *folder;
    Py_ssize_t least;
    int needs_text, is_image;
    Py_ssize_t counts[OUTCOMES];
} Sift;

static Py_UCS4 straight(Py_UCS4 c) {
    return c >= 0x201c && c <= 0x201f ? '"' : '\'';
}

/* Whether the text needs more than white space and quotes put right; its length then in `size`, and
   its largest character in `most`. */
static int is_simple(const Sift *s, PyObject *text, Py_ssize_t *size, Py_UCS4 *most) {
    const int kind = PyUnicode_KIND(text), is_ascii = PyUnicode_IS_ASCII(text);
    const void *data = PyUnicode_DATA(text);
    const Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    int ampersand = 0, semicolon = 0, before = 0, controls = 0, waiting = 0;
    *size = 0;
    *most = 0;
    if (kind == PyUnicode_4BYTE_KIND) return 0;
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, i);
        const int flag = s->flags[c];
        ampersand |= c == '&';
        semicolon |= c == ';';
        if (is_ascii) {
            if (c < 0x20 || c == 0x7f) {
                if (c != '\t' && c != '\n') return 0;
                controls = 1;
            }
        } else {
            if (flag & (TOUCHED | ALONE | UNSTABLE)) return 0;
            if (flag & PAIRED && before & PAIRED) return 0;
        }
        before = flag;
        if (flag & SPACE) {
            waiting = *size > 0;
            continue;
        }
        if (flag & HIDDEN) return 0;
        if (flag & CURLED) c = straight(c);
        *size += 1 + waiting;
        waiting = 0;
        if (c > *most) *most = c;
    }
    return !(ampersand && (semicolon || controls));
}

/* Copy a simple text, its words one space apart. */
static PyObject *copy(const Sift *s, PyObject *text, Py_ssize_t size, Py_UCS4 most) {
    const int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    const Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    PyObject *cleaned = PyUnicode_New(size, most);
    if (!cleaned || !size) return cleaned;
    const int to = PyUnicode_KIND(cleaned);
    void *target = PyUnicode_DATA(cleaned);
    Py_ssize_t at = 0;
    int waiting = 0;
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, i);
        if (s->flags[c] & SPACE) {
            waiting = at > 0;
            continue;
        }
        if (waiting) PyUnicode_WRITE(to, target, at++, ' ');
        waiting = 0;
        PyUnicode_WRITE(to, target, at++, s->flags[c] & CURLED ? straight(c) : c);
    }
    return cleaned;
}

static PyObject *clean_text(const Sift *s, PyObject *alt) {
    Py_ssize_t size;
    Py_UCS4 most;
    if (alt == Py_None) return PyUnicode_New(0, 127);
    if (is_simple(s, alt, &size, &most)) return copy(s, alt, size, most);
    PyObject *cleaned = PyObject_CallOneArg(s->clean, alt);
    if (cleaned && !PyUnicode_Check(cleaned)) {
        PyErr_SetString(PyExc_TypeError, "clean returns a str");
        Py_CLEAR(cleaned);
    }
    return cleaned;
}

/* Whether there is nothing but ASCII white space. */
static int is_blank(PyObject *url) {
    const int kind = PyUnicode_KIND(url);
    const void *data = PyUnicode_DATA(url);
    for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(url); i++)
        if (!IS_BLANK(PyUnicode_READ(kind, data, i))) return 0;
    return 1;
}

static int is_extension(const unsigned char *end, const char *extension) {
    for (int i = 0; i < 4; i++) {
        const unsigned char c = end[i - 4];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != (unsigned char)extension[i]) return 0;
    }
    return 1;
}

/* Return the rule that an absolute URL violates, OUTCOMES for none; -1 after an error. */
static int violated(const Sift *s, PyObject *address) {
    const Py_ssize_t size = PyUnicode_GET_LENGTH(address);
    const unsigned char *p = PyUnicode_IS_ASCII(address) ? PyUnicode_1BYTE_DATA(address) : NULL;
    if (!p || size < 9 || memcmp(p, "http", 4) || memcmp(p + 4 + (p[4] == 's'), "://", 3)) {
        PyObject *answer = PyObject_CallFunction(s->judge, "Oi", address, s->is_image);
        if (!answer) return -1;
        const long code = answer == Py_None ? OUTCOMES : PyLong_AsLong(answer);
        Py_DECREF(answer);
        if (PyErr_Occurred()) return -1;
        if (code >= NO_ALT && code <= OUTCOMES) return (int)code;
        PyErr_SetString(PyExc_ValueError, "an unknown rule");
        return -1;
    }
    const unsigned char *host = p + 7 + (p[4] == 's'), *end = host;
    if (host == p + size || *host == '/' || *host == '?' || *host == '#') return NOT_HTTP;
    while (end < p + size && *end != '?' && *end != '#') end++;
    if (s->is_image &&
        (is_extension(end, ".svg") || is_extension(end, ".gif") || is_extension(end, ".ico")))
        return FILE_TYPE;
    return size > MAX_URL_LENGTH ? TOO_LONG : OUTCOMES;
}

/* Return the absolute URL of an image, or None. */
static PyObject *resolve(const Sift *s, PyObject *url) {
    PyObject *address = join_one(url, s->scheme, s->root, s->folder);
    if (address == Py_None) {
        Py_DECREF(address);
        address = PyObject_CallOneArg(s->join, url);
        if (address && address != Py_None && !PyUnicode_Check(address)) {
            PyErr_SetString(PyExc_TypeError, "join returns a str or None");
            Py_CLEAR(address);
        }
    }
    return address;
}

/* Judge one image; 0 unless there is an error. */
static int sift_one(Sift *s, PyObject *url, PyObject *alt, PyObject *addresses, PyObject *texts) {
    if (!PyUnicode_Check(url) || (alt != Py_None && !PyUnicode_Check(alt))) {
        PyErr_SetString(PyExc_TypeError, "URLs are str, texts are str or None");
        return -1;
    }
    if (alt == Py_None && s->needs_text) {
        s->counts[NO_ALT]++;
        return 0;
    }
    PyObject *address = NULL, *text = clean_text(s, alt);
    int failed = -1, rule;
    if (!text) return -1;
    if (PyUnicode_GET_LENGTH(text) < s->least) {
        s->counts[SHORT]++;
        failed = 0;
    } else if ((address = resolve(s, url))) {
        /* An empty URL would be joined to the page itself. */
        rule = address == Py_None || is_blank(url) ? BAD_URL : violated(s, address);
        if (rule == OUTCOMES)
            failed = PyList_Append(addresses, address) || PyList_Append(texts, text) ? -1 : 0;
        else if (rule >= 0) {
            s->counts[rule]++;
            failed = 0;
        }
    }
    Py_XDECREF(address);
    Py_DECREF(text);
    return failed;
}

/* sift(urls, alts, flags, (clean, join, judge), (scheme, root, folder), least, needs_text, is_image)
   returns (addresses, texts, counts). */
static PyObject *sift(PyObject *module, PyObject *arguments) {
    Sift s;
    PyObject *urls, *alts, *counts = NULL, *base[3];
    Py_buffer flags;
    memset(s.counts, 0, sizeof s.counts);
    if (!PyArg_ParseTuple(
            arguments, "O!O!y*(OOO)(OOO)nii", &PyList_Type, &urls, &PyList_Type, &alts, &flags,
            &s.clean, &s.join, &s.judge, &base[0], &base[1], &base[2], &s.least, &s.needs_text,
            &s.is_image))
        return NULL;
    PyObject *addresses = PyList_New(0), *texts = PyList_New(0), *found = NULL;
    int failed = !addresses || !texts || !is_base(base);
    if (!failed && (flags.len < 0x10000 || PyList_GET_SIZE(urls) != PyList_GET_SIZE(alts))) {
        PyErr_SetString(PyExc_ValueError, "a flag for each character, an alt for each URL");
        failed = 1;
    }
    s.flags = flags.buf;
    s.scheme = base[0], s.root = base[1], s.folder = base[2];
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(urls) && i < PyList_GET_SIZE(alts); i++) {
        PyObject *url = Py_NewRef(PyList_GET_ITEM(urls, i));
        PyObject *alt = Py_NewRef(PyList_GET_ITEM(alts, i));
        failed = sift_one(&s, url, alt, addresses, texts);
        Py_DECREF(url);
        Py_DECREF(alt);
    }
    if (!failed && (counts = PyTuple_New(OUTCOMES))) {
        for (int i = 0; i < OUTCOMES; i++)
            PyTuple_SET_ITEM(counts, i, PyLong_FromSsize_t(s.counts[i]));
        found = PyErr_Occurred() ? NULL : PyTuple_Pack(3, addresses, texts, counts);
    }
    Py_XDECREF(counts);
    Py_XDECREF(addresses);
    Py_XDECREF(texts);
    PyBuffer_Release(&flags);
    return found;
}

static PyMethodDef methods[] = {
    {"sift", sift, METH_VARARGS,
     "Return the addresses and texts of the images that no rule drops, and how many each dropped."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_sift", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__sift(void) {
    fill_kinds();
    return PyModule_Create(&module);
}
