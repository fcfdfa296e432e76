/* The bytes of a text. */

#include "../laion/wat/native/_english.c"
#include "harness.h"

static PyObject *english, *weights;

static void start_modules(void)
{
    static char numbers[256];
    english = module_of(PyInit__english);
    weights = PyMemoryView_FromMemory(numbers, sizeof numbers, PyBUF_READ);
}

static void run(input_t *input)
{
    PyObject *text = rest(input);
    drop(PyObject_CallMethod(english, "score", "OO", text, weights));
    Py_DECREF(text);
}
