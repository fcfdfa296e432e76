/* Two axes for `resample_planes`, and two sizes for `resample`; the samples do not matter. */

#include "../img2ds/image/native/_planes.c"
#include "harness.h"

static PyObject *planes;

static void start_modules(void)
{
    planes = module_of(PyInit__planes);
}

static int take_word(input_t *input)
{
    const int high = take(input);
    return high << 8 | take(input);
}

/* An axis as planes.py may give it; half of the resized one may be outside. */
static axis_t take_axis(input_t *input)
{
    axis_t axis = {.extent = 1 + take_word(input) % 200, .pitch = 1 + take(input) % 2};
    axis.resized = 1 + take_word(input) % 200;
    axis.shift = take_word(input) % 200 - 100;
    axis.final = 1 + take_word(input) % 200;
    axis.grain = 1 + take(input) % 2;
    axis.flip = take(input) & 1;
    return axis;
}

static int ceiling(int pixels, int samples)
{
    return (pixels + samples - 1) / samples;
}

static void run(input_t *input)
{
    const int settings = take(input), swap = settings & 1, kernel = settings & 2 ? AREA : LANCZOS;
    axis_t rows = take_axis(input), columns = take_axis(input);
    if (settings & 4)
        rows.pitch = columns.pitch = rows.grain = columns.grain = 1;
    rows.extent *= 1 + (settings >> 4); /* many taps */
    const int height = ceiling(rows.extent, rows.pitch);
    const int width = ceiling(columns.extent, columns.pitch);
    const int down = ceiling(rows.final, rows.grain), across = ceiling(columns.final, columns.grain);
    char *source = malloc((size_t)height * width), *target = malloc((size_t)down * across);
    for (int i = 0; i < height * width; i++)
        source[i] = (char)(i * 73);
    PyObject *from = array(source, height, width, 0, 0);
    PyObject *to = array(target, swap ? across : down, swap ? down : across, 0, 1);
    drop(PyObject_CallMethod(
        planes, "resample_planes", "((OO))i(iiiiiii)(iiiiiii)i", from, to, kernel, rows.extent,
        rows.pitch, rows.resized, rows.shift, rows.final, rows.grain, rows.flip, columns.extent,
        columns.pitch, columns.resized, columns.shift, columns.final, columns.grain, columns.flip,
        swap));
    Py_DECREF(from);
    Py_DECREF(to);
    free(source);
    free(target);
}
