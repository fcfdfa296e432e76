/* Runs an extension in an embedded interpreter under libFuzzer.
 *
 * A harness includes the source of extensions and defines `start_modules`, which creates them, and
 * `run`, which calls them with what an input stands for. Failures are exceptions that the callers
 * do not expect, and what the sanitizers find. */

#ifndef IMG2DS_FUZZ_HARNESS_H
#define IMG2DS_FUZZ_HARNESS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    const uint8_t *at;
    size_t left;
} input_t;

/* Take a byte off the front; 0 at the end. */
static int take(input_t *input)
{
    if (!input->left)
        return 0;
    input->left--;
    return *input->at++;
}

/* What is left, in place: the sanitizer guards both of its ends. */
static inline PyObject *rest(const input_t *input)
{
    static char none[1];
    return PyMemoryView_FromMemory(input->left ? (char *)input->at : none,
                                   (Py_ssize_t)input->left, PyBUF_READ);
}

/* Bytes of memory as an array uint8 [height, width] or, with channels, [height, width, channels]. */
static inline PyObject *array(char *memory, int height, int width, int channels, int writable)
{
    const Py_ssize_t size = (Py_ssize_t)height * width * (channels ? channels : 1);
    PyObject *flat = PyMemoryView_FromMemory(memory, size, writable ? PyBUF_WRITE : PyBUF_READ);
    PyObject *shaped = channels
        ? PyObject_CallMethod(flat, "cast", "s(iii)", "B", height, width, channels)
        : PyObject_CallMethod(flat, "cast", "s(ii)", "B", height, width);
    Py_DECREF(flat);
    return shaped;
}

/* Drop the result of a call, which may have refused its arguments. */
static void drop(PyObject *result)
{
    if (!result && !PyErr_ExceptionMatches(PyExc_ValueError) &&
        !PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Print();
        abort();
    }
    PyErr_Clear();
    Py_XDECREF(result);
}

/* Start Python with the allocator of C, whose blocks the sanitizer guards. */
static void start_python(void)
{
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.allocator = PYMEM_ALLOCATOR_MALLOC;
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    const char *home = getenv("FUZZ_PYTHON_HOME");
    if (PyStatus_Exception(Py_PreInitialize(&before)) ||
        (home && PyStatus_Exception(PyConfig_SetBytesString(&config, &config.home, home))) ||
        PyStatus_Exception(Py_InitializeFromConfig(&config))) {
        fprintf(stderr, "Python does not start; FUZZ_PYTHON_HOME is its prefix\n");
        exit(1);
    }
    PyConfig_Clear(&config);
}

static PyObject *module_of(PyObject *(*start)(void))
{
    PyObject *created = start();
    if (!created) {
        PyErr_Print();
        exit(1);
    }
    return created;
}

static void start_modules(void);
static void run(input_t *input);

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    start_python();
    start_modules();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input_t input = {data, size};
    run(&input);
    return 0;
}

#endif
