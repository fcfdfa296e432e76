/* A byte that chooses a scanner, then the bytes of a record, a file, or URLs apart by zeros. */

#include "../laion/wat/native/_members.c"
#define methods scan_methods
#define module scan_module
#include "../laion/wat/native/_scan.c"
#undef methods
#undef module
#define methods join_methods
#define module join_module
#define skip join_skip
#include "../laion/wat/native/_join.c"
#undef methods
#undef module
#undef skip
#include "harness.h"

static PyObject *scanner, *members, *joiner, *attributes, *extensions, *none;

static void start_modules(void)
{
    scanner = module_of(PyInit__scan);
    members = module_of(PyInit__members);
    joiner = module_of(PyInit__join);
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
        join_urls(input);
    }
    Py_DECREF(data);
}
