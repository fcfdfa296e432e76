/* Two sizes and the channels; the levels do not matter. */

#include "../img2ds/image/native/_resample.c"
#include "harness.h"

static PyObject *module_resample;

static void start_modules(void)
{
    module_resample = module_of(PyInit__resample);
}

static void run(input_t *input)
{
    int sides[4];
    for (int i = 0; i < 4; i++) {
        const int high = take(input);
        sides[i] = 1 + (high << 8 | take(input)) % 150;
    }
    const int settings = take(input), channels = settings & 1 ? 3 : 0;
    const size_t each = channels ? 3 : 1;
    char *source = malloc(each * (size_t)sides[0] * (size_t)sides[1]);
    char *target = malloc(each * (size_t)sides[2] * (size_t)sides[3]);
    memset(source, settings, each * (size_t)sides[0] * (size_t)sides[1]);
    PyObject *from = array(source, sides[0], sides[1], channels, 0);
    PyObject *to = array(target, sides[2], sides[3], channels, 1);
    drop(PyObject_CallMethod(module_resample, "resample", "OOi", from, to,
                             settings & 2 ? AREA : LANCZOS));
    Py_DECREF(from);
    Py_DECREF(to);
    free(source);
    free(target);
}
