/* A forward-only JSON parser, which builds no tree.

   Grammar, white space, escapes and NaN are those of Python's json.loads(strict=False). */

#ifndef LAION_WAT_JSON_H
#define LAION_WAT_JSON_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Most levels of nesting in values that are skipped; the limit of json.loads is similar. */
#define MAX_DEPTH 900

typedef struct {
    const char *at; /* NULL: absent, or not a string */
    Py_ssize_t size;
    int escaped;
} Text;

typedef struct {
    const char *p, *end;
    char *buffer; /* holds an unescaped text */
    Py_ssize_t buffer_size;
} Json;

/* Results of all functions that read: 0, or -1 if the text is not JSON, or -2 if a Python exception
   is set. */
#define TRY(call)                  \
    do {                           \
        int status_ = (call);      \
        if (status_) return status_; \
    } while (0)

static inline void skip_blanks(Json *s) {
    if (s->p < s->end && (unsigned char)*s->p > ' ') return;
    while (s->p < s->end &&
           (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
}

static inline int is_digit(const Json *s, const char *p) {
    return p < s->end && *p >= '0' && *p <= '9';
}

static int hex(const char *p) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* Move from an opening quote past the closing one; NULL if there is none, or an invalid escape. */
static inline const char *past_string(const char *p, const char *end, Text *text) {
    p++;
    text->at = p;
    text->escaped = 0;
    for (;;) {
#ifdef __SSE2__
        const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
        while (end - p >= 16) {
            __m128i block = _mm_loadu_si128((const __m128i *)p);
            int mask = _mm_movemask_epi8(
                _mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, slash)));
            if (mask) {
                p += __builtin_ctz(mask);
                break;
            }
            p += 16;
        }
#endif
        while (p < end && *p != '"' && *p != '\\') p++;
        if (p >= end) return NULL;
        if (*p == '"') {
            text->size = p - text->at;
            return p + 1;
        }
        text->escaped = 1;
        if (end - p < 2) return NULL;
        switch (p[1]) {
            case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
                p += 2;
                break;
            case 'u':
                if (end - p < 6 || hex(p + 2) < 0) return NULL;
                p += 6;
                break;
            default:
                return NULL;
        }
    }
}

static int read_string(Json *s, Text *text) {
    const char *past = past_string(s->p, s->end, text);
    if (!past) return -1;
    s->p = past;
    return 0;
}

/* Unescape a text to UTF-8, into the buffer. Lone surrogates become U+FFFD. */
static int unescape(Json *s, Text *text) {
    if (!text->escaped) return 0;
    if (s->buffer_size < text->size) {
        char *larger = PyMem_Realloc(s->buffer, text->size);
        if (!larger) {
            PyErr_NoMemory();
            return -2;
        }
        s->buffer = larger;
        s->buffer_size = text->size;
    }
    const char *p = text->at, *end = p + text->size;
    unsigned char *out = (unsigned char *)s->buffer;
    while (p < end) {
        if (*p != '\\') {
            *out++ = (unsigned char)*p++;
            continue;
        }
        char kind = p[1];
        p += 2;
        if (kind != 'u') {
            *out++ = kind == 'b' ? '\b' : kind == 'f' ? '\f' : kind == 'n' ? '\n'
                     : kind == 'r' ? '\r' : kind == 't' ? '\t' : (unsigned char)kind;
            continue;
        }
        unsigned code = (unsigned)hex(p);
        p += 4;
        if (code >= 0xD800 && code <= 0xDBFF && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
            unsigned low = (unsigned)hex(p + 2);
            if (low >= 0xDC00 && low <= 0xDFFF) {
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                p += 6;
            }
        }
        if (code >= 0xD800 && code <= 0xDFFF) code = 0xFFFD;
        if (code < 0x80) {
            *out++ = (unsigned char)code;
        } else if (code < 0x800) {
            *out++ = (unsigned char)(0xC0 | code >> 6);
            *out++ = (unsigned char)(0x80 | (code & 0x3F));
        } else if (code < 0x10000) {
            *out++ = (unsigned char)(0xE0 | code >> 12);
            *out++ = (unsigned char)(0x80 | (code >> 6 & 0x3F));
            *out++ = (unsigned char)(0x80 | (code & 0x3F));
        } else {
            *out++ = (unsigned char)(0xF0 | code >> 18);
            *out++ = (unsigned char)(0x80 | (code >> 12 & 0x3F));
            *out++ = (unsigned char)(0x80 | (code >> 6 & 0x3F));
            *out++ = (unsigned char)(0x80 | (code & 0x3F));
        }
    }
    text->at = s->buffer;
    text->size = (char *)out - s->buffer;
    text->escaped = 0;
    return 0;
}

/* Return a new str, or None for an absent text; NULL with an exception set. */
static PyObject *to_str(Json *s, Text text) {
    if (!text.at) Py_RETURN_NONE;
    if (unescape(s, &text)) return NULL;
    return PyUnicode_DecodeUTF8(text.at, text.size, "replace");
}

static int equals(Json *s, Text text, const char *word, Py_ssize_t size) {
    if (unescape(s, &text)) return -2;
    return text.size == size && !memcmp(text.at, word, size);
}

#define IS(s, text, word) equals(&(s)->json, text, word, sizeof(word) - 1)

static int read_word(Json *s, const char *word, Py_ssize_t size) {
    if (s->end - s->p < size || memcmp(s->p, word, size)) return -1;
    s->p += size;
    return 0;
}

static int read_number(Json *s) {
    const char *p = s->p;
    if (*p == '-') p++;
    if (!is_digit(s, p)) return -1;
    if (*p == '0') p++;
    else while (is_digit(s, p)) p++;
    if (p < s->end && *p == '.' && is_digit(s, p + 1)) {
        p++;
        while (is_digit(s, p)) p++;
    }
    if (p < s->end && (*p == 'e' || *p == 'E')) {
        const char *q = p + 1;
        if (q < s->end && (*q == '+' || *q == '-')) q++;
        if (is_digit(s, q)) {
            while (is_digit(s, q)) q++;
            p = q;
        }
    }
    s->p = p;
    return 0;
}

/* Read a value that is neither an object nor an array. */
static int read_scalar(Json *s, Text *text) {
    text->at = NULL;
    switch (*s->p) {
        case '"': return read_string(s, text);
        case 't': return read_word(s, "true", 4);
        case 'f': return read_word(s, "false", 5);
        case 'n': return read_word(s, "null", 4);
        case 'N': return read_word(s, "NaN", 3);
        case 'I': return read_word(s, "Infinity", 8);
        case '-':
            if (s->end - s->p >= 2 && s->p[1] == 'I') return read_word(s, "-Infinity", 9);
        /* fall through */
        default: return read_number(s);
    }
}

static int read_colon(Json *s) {
    skip_blanks(s);
    if (s->p >= s->end || *s->p != ':') return -1;
    s->p++;
    skip_blanks(s);
    return s->p < s->end ? 0 : -1;
}

/* Validate and skip a value. */
static int skip_value(Json *s) {
    char open[MAX_DEPTH];
    int depth = 0;
    Text ignored;
    for (;;) {
        if (*s->p == '{' || *s->p == '[') {
            if (depth == MAX_DEPTH) return -1;
            char kind = *s->p++;
            skip_blanks(s);
            if (s->p >= s->end) return -1;
            if (*s->p == kind + 2) {
                s->p++; /* empty: '}' and ']' are 2 above '{' and '[' */
            } else {
                open[depth++] = kind;
                if (kind == '{') {
                    if (*s->p != '"') return -1;
                    TRY(read_string(s, &ignored));
                    TRY(read_colon(s));
                }
                continue;
            }
        } else {
            TRY(read_scalar(s, &ignored));
        }
        for (;;) { /* after a value */
            if (!depth) return 0;
            skip_blanks(s);
            if (s->p >= s->end) return -1;
            char kind = open[depth - 1], c = *s->p++;
            if (c == kind + 2) {
                depth--;
                continue;
            }
            if (c != ',') return -1;
            skip_blanks(s);
            if (s->p >= s->end) return -1;
            if (kind == '{') {
                if (*s->p != '"') return -1;
                TRY(read_string(s, &ignored));
                TRY(read_colon(s));
            }
            break;
        }
    }
}

/* Read the next key of an object, up to its value. `first`: at the start of the object. *done: at
   its end. */
static int next_key(Json *s, int first, Text *key, int *done) {
    if (first) s->p++;
    skip_blanks(s);
    if (s->p >= s->end) return -1;
    if (*s->p == '}' ) {
        s->p++;
        *done = 1;
        return 0;
    }
    if (!first) {
        if (*s->p++ != ',') return -1;
        skip_blanks(s);
        if (s->p >= s->end) return -1;
    }
    if (*s->p != '"') return -1;
    TRY(read_string(s, key));
    TRY(read_colon(s));
    *done = 0;
    return 0;
}

/* Move to the next item of an array. `first`: at the start of the array. *done: at its end. */
static int next_item(Json *s, int first, int *done) {
    if (first) s->p++;
    skip_blanks(s);
    if (s->p >= s->end) return -1;
    if (*s->p == ']') {
        s->p++;
        *done = 1;
        return 0;
    }
    if (!first) {
        if (*s->p++ != ',') return -1;
        skip_blanks(s);
        if (s->p >= s->end) return -1;
    }
    *done = 0;
    return 0;
}

/* Read a string; skip any other value. */
static int read_text(Json *s, Text *text) {
    text->at = NULL;
    if (*s->p == '"') return read_string(s, text);
    return skip_value(s);
}

#endif
