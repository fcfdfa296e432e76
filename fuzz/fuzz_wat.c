/* A byte that chooses a scanner, then the bytes of a record, a file, or URLs apart by zeros. */

#include "../laion/wat/native/_members.c"
#define methods scan_methods
#define module scan_module
#include "../laion/wat/native/_scan.c"
#undef methods
#undef module
#define methods join_methods
#define module join_module
#include "../laion/wat/native/_join.c"
#undef methods
#undef module
#define methods sift_methods
#define module sift_module
#include "../laion/wat/native/_sift.c"
#undef methods
#undef module
#include "harness.h"

static PyObject *scanner, *members, *joiner, *sifter, *attributes, *extensions, *none;
/* What stands in for Python's functions; the flags are those of text.py. */
static PyObject *helpers, *flags_of_all;

static void start_modules(void)
{
    scanner = module_of(PyInit__scan);
    members = module_of(PyInit__members);
    joiner = module_of(PyInit__join);
    sifter = module_of(PyInit__sift);
    PyObject *names = PyDict_New();
    drop(PyRun_String(
        "clean = str.strip\n"
        "def join(url): return None if '[' in url else 'http://a.example/' + url\n"
        "def judge(url, is_image): return None if len(url) % 3 else len(url) % 6\n"
        "helpers = (clean, join, judge)\n"
        "flags = bytes(code.isspace() << 4 | (not code.isprintable()) << 5\n"
        "              | (code in '\\u2018\\u201d') << 3 | ord(code) * 37 % 8\n"
        "              for code in map(chr, range(65536)))\n",
        Py_file_input, names, names));
    helpers = Py_XNewRef(PyDict_GetItemString(names, "helpers"));
    flags_of_all = Py_XNewRef(PyDict_GetItemString(names, "flags"));
    Py_DECREF(names);
    attributes = Py_BuildValue("(yy)", "src", "data-src"); /* as of page.py */
    extensions = Py_BuildValue("(yyy)", "mp3", "pdf", "md");
    none = PyTuple_New(0);
}

static void join_urls(input_t *input)
{
    PyObject *urls = PyList_New(0);
    while (input->left) {
        const uint8_t *zero = memchr(input->at, 0, input->left);
        const size_t size = zero ? (size_t)(zero - input->at) : input->left;
        PyObject *url = PyUnicode_DecodeLatin1((const char *)input->at, (Py_ssize_t)size, NULL);
        PyList_Append(urls, url);
        Py_DECREF(url);
        input->at += size;
        input->left -= size;
        take(input);
    }
    drop(PyObject_CallMethod(joiner, "join", "Osss", urls, "https:", "https://a.example",
                             "https://a.example/b/"));
    Py_DECREF(urls);
}

/* URLs and texts by turns, apart by zeros; a text that starts with 1 is none. */
static void sift_images(input_t *input)
{
    PyObject *lists[2] = {PyList_New(0), PyList_New(0)};
    const int choice = take(input);
    for (int turn = 0; input->left; turn ^= 1) {
        const uint8_t *zero = memchr(input->at, 0, input->left);
        const size_t size = zero ? (size_t)(zero - input->at) : input->left;
        PyObject *text = PyUnicode_DecodeUTF8((const char *)input->at, (Py_ssize_t)size, "replace");
        PyList_Append(lists[turn], turn && size && *input->at == 1 ? Py_None : text);
        Py_DECREF(text);
        input->at += size;
        input->left -= size;
        take(input);
    }
    drop(PyObject_CallMethod(sifter, "sift", "OOOO(sss)nii", lists[0], lists[1], flags_of_all,
                             helpers, "https:", "https://a.example", "https://a.example/b/",
                             (Py_ssize_t)(choice & 7), choice >> 3 & 1, choice >> 4 & 1));
    Py_DECREF(lists[0]);
    Py_DECREF(lists[1]);
}

static void run(input_t *input)
{
    const int choice = take(input);
    PyObject *data = rest(input);
    switch (choice & 3) {
    case 0:
        drop(PyObject_CallMethod(members, "find_magic", "Oi", data, choice >> 2));
        break;
    case 1:
        drop(PyObject_CallMethod(members, "cut", "O", data));
        break;
    case 2:
        drop(PyObject_CallMethod(scanner, "scan", "OinOOi", data, 0, (Py_ssize_t)input->left,
                                 attributes, choice & 4 ? extensions : none, choice >> 3 & 1));
        break;
    default:
        choice & 4 ? sift_images(input) : join_urls(input);
    }
    Py_DECREF(data);
}
