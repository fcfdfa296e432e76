/* The inner loops of laion dedup, over arrays that numpy and Arrow own; the same as the Python code
   of laion/dedup/bloom.py and laion/dedup/shuffle.py. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

/* See laion/dedup/bloom.py. */
enum { WORDS = 8, CHOICE = 6 };

/* Digests between asking for a block and using it: the filter does not fit the caches. */
enum { AHEAD = 16 };

#if defined(__GNUC__) || defined(__clang__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif

/* A number of elements of `size` bytes in `view`, which must be `expected` if that is not negative;
   -1 with an exception set otherwise. */
static Py_ssize_t elements(const Py_buffer *view, Py_ssize_t size, Py_ssize_t expected) {
    const Py_ssize_t count = view->len / size;
    if (view->len % size || (expected >= 0 && count != expected)) {
        PyErr_SetString(PyExc_ValueError, "an array has another size");
        return -1;
    }
    return count;
}

static uint64_t *block_of(uint64_t *words, uint64_t blocks, uint64_t low) {
    return words + WORDS * ((low >> 32) * blocks >> 32);
}

static void look_up(uint64_t *words, uint64_t blocks, const uint64_t *high, const uint64_t *low,
                    uint8_t *found, Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i + AHEAD < count) PREFETCH(block_of(words, blocks, low[i + AHEAD]));
        const uint64_t *block = block_of(words, blocks, low[i]);
        uint64_t all = 1;
        for (int word = 0; word < WORDS; word++)
            all &= block[word] >> (high[i] >> CHOICE * word & 63);
        found[i] = (uint8_t)all;
    }
}

static void set_bits(uint64_t *words, uint64_t blocks, const uint64_t *high, const uint64_t *low,
                     Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i + AHEAD < count) PREFETCH(block_of(words, blocks, low[i + AHEAD]));
        uint64_t *block = block_of(words, blocks, low[i]);
        for (int word = 0; word < WORDS; word++)
            block[word] |= (uint64_t)1 << (high[i] >> CHOICE * word & 63);
    }
}

/* contains(words, high, low, found): for each digest whether its bits are set, into `found`. */
static PyObject *contains(PyObject *self, PyObject *args) {
    Py_buffer words, high, low, found;
    if (!PyArg_ParseTuple(args, "y*y*y*w*", &words, &high, &low, &found)) return NULL;
    const Py_ssize_t blocks = elements(&words, 8 * WORDS, -1), count = elements(&high, 8, -1);
    int ok = blocks > 0 && count >= 0 && elements(&low, 8, count) >= 0 &&
             elements(&found, 1, count) >= 0;
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        look_up(words.buf, (uint64_t)blocks, high.buf, low.buf, found.buf, count);
        Py_END_ALLOW_THREADS
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, "the filter is empty");
    }
    PyBuffer_Release(&words);
    PyBuffer_Release(&high);
    PyBuffer_Release(&low);
    PyBuffer_Release(&found);
    if (!ok) return NULL;
    Py_RETURN_NONE;
}

/* add(words, high, low): set the bits of each digest. */
static PyObject *add(PyObject *self, PyObject *args) {
    Py_buffer words, high, low;
    if (!PyArg_ParseTuple(args, "w*y*y*", &words, &high, &low)) return NULL;
    const Py_ssize_t blocks = elements(&words, 8 * WORDS, -1), count = elements(&high, 8, -1);
    int ok = blocks > 0 && count >= 0 && elements(&low, 8, count) >= 0;
    if (ok) {
        Py_BEGIN_ALLOW_THREADS
        set_bits(words.buf, (uint64_t)blocks, high.buf, low.buf, count);
        Py_END_ALLOW_THREADS
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, "the filter is empty");
    }
    PyBuffer_Release(&words);
    PyBuffer_Release(&high);
    PyBuffer_Release(&low);
    if (!ok) return NULL;
    Py_RETURN_NONE;
}

static int is_alphabetic(unsigned char c) {
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* Find the host of a URL, with user name and port: what is between :// and the next of / ? #.
   It is empty where the URL does not begin with a scheme. */
static const char *host_of(const char *url, const char *end, Py_ssize_t *size) {
    const char *at = url;
    *size = 0;
    if (at == end || !is_alphabetic((unsigned char)*at)) return url;
    while (at < end && (is_alphabetic((unsigned char)*at) || (*at >= '0' && *at <= '9') ||
                        *at == '+' || *at == '.' || *at == '-'))
        at++;
    if (end - at < 3 || memcmp(at, "://", 3)) return url;
    const char *host = at += 3;
    while (at < end && *at != '/' && *at != '?' && *at != '#') at++;
    *size = at - host;
    return host;
}

typedef struct {
    const char *host;
    Py_ssize_t size;
    uint64_t hash;
    int32_t code;
} Entry;

typedef struct {
    Entry *entries;
    size_t mask;
    int32_t used;
} Table;

static uint64_t hash_of(const char *text, Py_ssize_t size) {
    uint64_t hash = 0x9e3779b97f4a7c15u ^ (uint64_t)size;
    for (; size >= 8; text += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, text, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    uint64_t rest = 0;
    if (size) memcpy(&rest, text, (size_t)size);
    hash = (hash ^ rest) * 0xff51afd7ed558ccdu;
    return hash ^ hash >> 29;
}

/* Make room for twice the hosts. Returns 0 when there is no memory. */
static int grow(Table *table) {
    const size_t mask = table->mask * 2 + 1;
    Entry *entries = PyMem_RawCalloc(mask + 1, sizeof(Entry));
    if (!entries) return 0;
    for (size_t i = 0; table->entries && i <= table->mask; i++) {
        if (!table->entries[i].host) continue;
        size_t place = table->entries[i].hash & mask;
        while (entries[place].host) place = (place + 1) & mask;
        entries[place] = table->entries[i];
    }
    PyMem_RawFree(table->entries);
    table->entries = entries;
    table->mask = mask;
    return 1;
}

/* The number of a host, by the order in which hosts come; -1 when there is no memory. */
static int32_t code_of(Table *table, const char *host, Py_ssize_t size) {
    if (2 * (size_t)table->used >= table->mask && !grow(table)) return -1;
    const uint64_t hash = hash_of(host, size);
    size_t place = hash & table->mask;
    for (;; place = (place + 1) & table->mask) {
        Entry *entry = &table->entries[place];
        if (!entry->host) {
            *entry = (Entry){host, size, hash, table->used++};
            return entry->code;
        }
        if (entry->hash == hash && entry->size == size &&
            (!size || !memcmp(entry->host, host, (size_t)size)))
            return entry->code;
    }
}

/* 1 when all rows have a code, 0 when there is no memory, -1 when a row is outside of the texts. */
static int number_hosts(const Py_buffer *data, const int32_t *offsets, Py_ssize_t texts,
                        const int64_t *rows, int32_t *codes, Py_ssize_t count) {
    Table table = {NULL, 511, 0};
    int done = grow(&table);
    for (Py_ssize_t i = 0; done == 1 && i < count; i++) {
        const int64_t row = rows[i];
        if (row < 0 || row >= texts || offsets[row] < 0 || offsets[row] > offsets[row + 1] ||
            offsets[row + 1] > data->len) {
            done = -1;
            break;
        }
        const char *text = (const char *)data->buf + offsets[row];
        Py_ssize_t size;
        const char *host = host_of(text, text + (offsets[row + 1] - offsets[row]), &size);
        codes[i] = code_of(&table, host, size);
        if (codes[i] < 0) done = 0;
    }
    PyMem_RawFree(table.entries);
    return done;
}

/* host_codes(data, offsets, rows, codes): the number of the host of each of `rows`, of texts as
   Arrow stores them, into `codes`. */
static PyObject *host_codes(PyObject *self, PyObject *args) {
    Py_buffer data, offsets, rows, codes;
    if (!PyArg_ParseTuple(args, "y*y*y*w*", &data, &offsets, &rows, &codes)) return NULL;
    const Py_ssize_t texts = elements(&offsets, 4, -1) - 1, count = elements(&rows, 8, -1);
    int done = 0;
    if (!PyErr_Occurred() && elements(&codes, 4, count) >= 0) {
        /* An address that is not NULL, also of texts that are all empty. */
        Py_buffer bytes = data;
        if (!bytes.buf) bytes.buf = "";
        Py_BEGIN_ALLOW_THREADS
        done = number_hosts(&bytes, offsets.buf, texts, rows.buf, codes.buf, count);
        Py_END_ALLOW_THREADS
        if (done == 0) PyErr_NoMemory();
        if (done < 0) PyErr_SetString(PyExc_ValueError, "a row is outside of the texts");
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&offsets);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&codes);
    if (done != 1) return NULL;
    Py_RETURN_NONE;
}

typedef struct {
    uint64_t key;
    uint64_t place;
} Item;

/* Bits of a key that are sorted by in one pass. */
enum { DIGIT = 11, PASSES = (64 + DIGIT - 1) / DIGIT, VALUES = 1 << DIGIT };

/* Sort by the keys, the earlier of equal keys first. The result is in `items` or in `spare`. */
static Item *radix_sort(Item *items, Item *spare, Py_ssize_t count, size_t (*counts)[VALUES]) {
    for (Py_ssize_t i = 0; i < count; i++)
        for (int pass = 0; pass < PASSES; pass++)
            counts[pass][items[i].key >> DIGIT * pass & (VALUES - 1)]++;
    for (int pass = 0; pass < PASSES; pass++) {
        size_t *starts = counts[pass], total = 0;
        const int shift = DIGIT * pass;
        if (count && starts[items[0].key >> shift & (VALUES - 1)] == (size_t)count) continue;
        for (int value = 0; value < VALUES; value++) {
            const size_t here = starts[value];
            starts[value] = total;
            total += here;
        }
        for (Py_ssize_t i = 0; i < count; i++)
            spare[starts[items[i].key >> shift & (VALUES - 1)]++] = items[i];
        Item *sorted = spare;
        spare = items;
        items = sorted;
    }
    return items;
}

/* argsort(keys, order): the stable order of 64-bit keys without sign, into `order`. */
static PyObject *argsort(PyObject *self, PyObject *args) {
    Py_buffer keys, order;
    if (!PyArg_ParseTuple(args, "y*w*", &keys, &order)) return NULL;
    const Py_ssize_t count = elements(&keys, 8, -1);
    int ok = count >= 0 && elements(&order, 8, count) >= 0;
    if (ok) {
        Item *items = PyMem_RawMalloc(2 * ((size_t)count + 1) * sizeof(Item));
        size_t(*counts)[VALUES] = PyMem_RawCalloc(PASSES, sizeof(*counts));
        ok = items && counts;
        if (ok) {
            Py_BEGIN_ALLOW_THREADS
            for (Py_ssize_t i = 0; i < count; i++)
                items[i] = (Item){((const uint64_t *)keys.buf)[i], (uint64_t)i};
            const Item *sorted = radix_sort(items, items + count, count, counts);
            for (Py_ssize_t i = 0; i < count; i++)
                ((int64_t *)order.buf)[i] = (int64_t)sorted[i].place;
            Py_END_ALLOW_THREADS
        } else {
            PyErr_NoMemory();
        }
        PyMem_RawFree(items);
        PyMem_RawFree(counts);
    }
    PyBuffer_Release(&keys);
    PyBuffer_Release(&order);
    if (!ok) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"contains", contains, METH_VARARGS, "contains(words, high, low, found)"},
    {"add", add, METH_VARARGS, "add(words, high, low)"},
    {"host_codes", host_codes, METH_VARARGS, "host_codes(data, offsets, rows, codes)"},
    {"argsort", argsort, METH_VARARGS, "argsort(keys, order)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_pairs", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__pairs(void) {
    return PyModule_Create(&module);
}
