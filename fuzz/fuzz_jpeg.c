/* A byte of settings, then a JPEG. */

#include "../img2ds/image/native/_jpeg.c"
#include "harness.h"

enum { LIMIT = 1 << 24 };

static PyObject *jpeg;

static void start_modules(void)
{
    jpeg = module_of(PyInit__jpeg);
}

static void run(input_t *input)
{
    const int settings = take(input), side = 1 << (settings & 3), coarse = settings >> 2 & 1;
    use_modern(NULL, settings & 8 ? Py_False : Py_True);
    PyObject *body = rest(input);
    if (settings & 16) {
        /* The size is the caller's, from its own reading of the header: here that of the planes. */
        PyObject *found = PyObject_CallMethod(jpeg, "decode_planes", "Oiin", body, side, 0,
                                              (Py_ssize_t)LIMIT);
        if (found && PyTuple_Check(found)) { /* else a number says why, or None */
            PyObject *plane = PyTuple_GET_ITEM(PyTuple_GET_ITEM(found, 2), 0);
            const int width = (int)PyLong_AsLong(PyTuple_GET_ITEM(plane, 2));
            const int height = (int)PyLong_AsLong(PyTuple_GET_ITEM(plane, 3));
            const size_t size = 3 * (size_t)width * (size_t)height;
            char *pixels = malloc(size);
            PyObject *target = PyMemoryView_FromMemory(pixels, (Py_ssize_t)size, PyBUF_WRITE);
            drop(PyObject_CallMethod(jpeg, "decode_rgb", "OiOn", body, side, target,
                                     (Py_ssize_t)LIMIT));
            Py_DECREF(target);
            free(pixels);
        }
        drop(found);
    } else if (settings & 32) {
        drop(PyObject_CallMethod(jpeg, "decode_components", "Oin", body, side, (Py_ssize_t)LIMIT));
    } else {
        drop(PyObject_CallMethod(jpeg, "decode_planes", "Oiin", body, side, coarse,
                                 (Py_ssize_t)LIMIT));
    }
    Py_DECREF(body);
}
