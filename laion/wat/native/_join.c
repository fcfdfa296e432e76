/* Resolve the URLs of a page at once; those that are not simple are left to Python. */

#include "_urls.h"

static PyObject *join(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 4 || !PyList_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "join(urls: list, scheme, root, folder)");
        return NULL;
    }
    if (!is_base(arguments + 1)) return NULL;
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
