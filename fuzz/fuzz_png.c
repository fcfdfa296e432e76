/* Width and bytes a pixel, a byte each, then the rows of a PNG. */

#include "../img2ds/image/native/_png.c"
#include "harness.h"

static PyObject *png;

static void start_modules(void)
{
    png = module_of(PyInit__png);
}

static void run(input_t *input)
{
    static const int SIZES[] = {1, 2, 3, 4, 6, 8};
    const int width = 1 + take(input), channels = SIZES[take(input) % 6];
    const int height = (int)(input->left / (size_t)(1 + width * channels));
    if (!height)
        return;
    input->left = (size_t)height * (size_t)(1 + width * channels);
    /* Of the exact size, as the caller has it. */
    char *memory = malloc((size_t)(height * width * channels)), *copy = malloc(input->left);
    memcpy(copy, input->at, input->left);
    PyObject *raw = PyMemoryView_FromMemory(copy, (Py_ssize_t)input->left, PyBUF_READ);
    PyObject *pixels = array(memory, height, width, channels, 1);
    drop(PyObject_CallMethod(png, "unfilter", "OO", raw, pixels));
    Py_DECREF(raw);
    Py_DECREF(pixels);
    free(copy);
    free(memory);
}
