/* writer.c - see writer.h.
 *
 * Numbers are the bulk of an answer: 15,104 gates of one image. printf takes about 2 ms for them;
 * here a number is scaled by a power of ten to an integer of `digits` digits and printed by
 * division, which is exact enough (a double carries 15) and much faster. Values from 1e-5 to 1, as
 * gates are, go without loops that depend on the value, arrays of them by fractions.c. Very small
 * and very large ones, which are rare, go through printf.
 */
#include "writer.h"
#include "fractions.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No answer comes near this; it keeps a mistake from taking the machine's memory. */
#define WRITER_MAX_BYTES ((size_t)1 << 30)

/* The longest number: sign, digits, point, zeros; or printf's exponent form. */
#define NUMBER_BYTES 32

void writer_free(struct writer *w)
{
    free(w->bytes);
    *w = (struct writer){0};
}

static char last_byte(const struct writer *w)
{
    return w->size > 0 ? w->bytes[w->size - 1] : w->before;
}

void writer_taken(struct writer *w)
{
    w->before = last_byte(w);
    w->size = 0;
}

void writer_reserve(struct writer *w, size_t bytes)
{
    if (w->failed || bytes <= w->capacity - w->size)
        return;
    if (bytes > WRITER_MAX_BYTES - w->size) {
        w->failed = true;
        return;
    }
    size_t capacity = w->capacity < 512 ? 1024 : w->capacity * 2;
    if (capacity < w->size + bytes)
        capacity = w->size + bytes;
    char *grown = realloc(w->bytes, capacity);
    if (grown == NULL) {
        w->failed = true;
        return;
    }
    w->bytes = grown;
    w->capacity = capacity;
}

void writer_raw(struct writer *w, const char *bytes, size_t size)
{
    writer_reserve(w, size);
    if (w->failed || size == 0)
        return;
    memcpy(w->bytes + w->size, bytes, size);
    w->size += size;
}

void writer_text(struct writer *w, const char *text)
{
    writer_raw(w, text, strlen(text));
}

void writer_format(struct writer *w, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (size < 0)
        w->failed = true;
    else
        writer_reserve(w, (size_t)size + 1);
    if (!w->failed) {
        vsnprintf(w->bytes + w->size, (size_t)size + 1, format, again);
        w->size += (size_t)size;
    }
    va_end(again);
}

static void separate(struct writer *w)
{
    char last = last_byte(w);
    if (last != '\0' && last != '{' && last != '[' && last != ':' && last != ',' && last != '\n')
        writer_raw(w, ",", 1);
}

void writer_open(struct writer *w, char bracket)
{
    separate(w);
    writer_raw(w, &bracket, 1);
}

void writer_close(struct writer *w, char bracket)
{
    writer_raw(w, &bracket, 1);
}

void writer_key(struct writer *w, const char *name)
{
    separate(w);
    writer_raw(w, "\"", 1);
    writer_text(w, name);
    writer_raw(w, "\":", 2);
}

/* RFC 3629: no overlong form, no surrogate. */
size_t writer_utf8_length(const unsigned char *text, size_t size)
{
    unsigned char lead = text[0];
    if (lead < 0x80)
        return 1;
    size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || length > size)
        return 0;
    unsigned char low = 0x80, high = 0xBF; /* of the second byte */
    if (lead == 0xE0)
        low = 0xA0;
    else if (lead == 0xED)
        high = 0x9F;
    else if (lead == 0xF0)
        low = 0x90;
    else if (lead == 0xF4)
        high = 0x8F;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

static void write_special(struct writer *w, unsigned char byte)
{
    if (byte == '"' || byte == '\\')
        writer_format(w, "\\%c", byte);
    else if (byte == '\n')
        writer_text(w, "\\n");
    else if (byte < 0x20 || byte == 0x7F)
        writer_format(w, "\\u%04x", byte);
    else
        writer_text(w, "\xEF\xBF\xBD");
}

void writer_string_n(struct writer *w, const char *text, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)text;
    separate(w);
    writer_raw(w, "\"", 1);
    size_t start = 0, i = 0;
    while (i < size) {
        size_t length = writer_utf8_length(bytes + i, size - i);
        bool plain = length > 1 || (length == 1 && bytes[i] >= 0x20 && bytes[i] != '"' &&
                                    bytes[i] != '\\' && bytes[i] != 0x7F);
        if (plain) {
            i += length;
            continue;
        }
        writer_raw(w, text + start, i - start);
        write_special(w, bytes[i]);
        start = ++i;
    }
    writer_raw(w, text + start, size - start);
    writer_raw(w, "\"", 1);
}

void writer_string(struct writer *w, const char *text)
{
    if (text == NULL)
        writer_null(w);
    else
        writer_string_n(w, text, strlen(text));
}

void writer_integer(struct writer *w, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    separate(w);
    writer_raw(w, digits + at, sizeof digits - at);
}

void writer_bool(struct writer *w, bool value)
{
    separate(w);
    writer_text(w, value ? "true" : "false");
}

void writer_null(struct writer *w)
{
    separate(w);
    writer_text(w, "null");
}

static const double power_of_ten[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6, 1e7,
                                      1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14};

/* Writes the last `width` decimal digits of value before end; returns where they begin. */
static char *digits_before(char *end, uint64_t value, size_t width)
{
    for (; width > 0; width--, value /= 10)
        *--end = (char)('0' + value % 10);
    return end;
}

/* Digits before the point of a magnitude in [1, 1e14). */
static int whole_digits(double magnitude)
{
    int whole = 0;
    while (magnitude >= power_of_ten[whole])
        whole++;
    return whole;
}

/* Writes the text of value so that it ends at end, NUMBER_BYTES of room; returns its begin. */
static char *number_before(char *end, double value, unsigned digits)
{
    double magnitude = fabs(value);
    size_t decimals = (size_t)((int)digits - whole_digits(magnitude));
    uint64_t scaled = (uint64_t)(magnitude * power_of_ten[decimals] + 0.5);
    while (decimals > 0 && scaled % 10 == 0) {
        scaled /= 10;
        decimals--;
    }
    char *at = end;
    if (decimals > 0) {
        uint64_t unit = (uint64_t)power_of_ten[decimals];
        at = digits_before(at, scaled % unit, decimals);
        *--at = '.';
        scaled /= unit;
    }
    do {
        *--at = (char)('0' + scaled % 10);
        scaled /= 10;
    } while (scaled != 0);
    if (value < 0)
        *--at = '-';
    return at;
}

/* The same of a magnitude in [1e-14, 1e-5), as printf's %g writes it. */
static char *small_before(char *end, double value, unsigned digits)
{
    unsigned exponent = 6;
    while (fabs(value) * power_of_ten[exponent] < 1)
        exponent++;
    double mantissa = value * power_of_ten[exponent];
    if (fabs(mantissa) + 0.5 / power_of_ten[digits - 1] >= 10) { /* it rounds to the next power */
        mantissa = value < 0 ? -1 : 1;
        exponent--;
    }
    end = digits_before(end, exponent, 2);
    *--end = '-';
    *--end = 'e';
    return number_before(end, mantissa, digits);
}

/* Writes a value in [1e-5, 1) to out, NUMBER_BYTES of room; returns the length. */
static size_t put_fraction(char *out, double value, unsigned digits)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    static const char zero[6] = {'0', '.', '0', '0', '0', '0'};
    size_t zeros = value < 0.1;
    zeros += value < 0.01;
    zeros += value < 0.001;
    zeros += value < 0.0001;
    uint32_t scaled = (uint32_t)(value * power_of_ten[digits + zeros] + 0.5);
    if (scaled >= (uint32_t)power_of_ten[digits]) { /* rounded up to a power of ten */
        if (zeros == 0) {
            *out = '1';
            return 1;
        }
        zeros--;
        scaled /= 10;
    }
    size_t size = 2 + zeros + digits;
    char *at = out + size;
    for (uint32_t rest = scaled; rest % 10 == 0; rest /= 10)
        size--;
    memcpy(out, zero, sizeof zero);
    for (; at - out >= (ptrdiff_t)(4 + zeros); scaled /= 100) {
        at -= 2;
        memcpy(at, pairs + 2 * (scaled % 100), 2);
    }
    if (at > out + 2 + zeros)
        *--at = (char)('0' + scaled);
    return size;
}

/* Within the buffer's reserved room. */
static void append_number(struct writer *w, double value, unsigned digits)
{
    char number[NUMBER_BYTES];
    double magnitude = fabs(value);
    if (magnitude >= 1e-5 && magnitude < 1) {
        if (value < 0)
            w->bytes[w->size++] = '-';
        w->size += put_fraction(w->bytes + w->size, magnitude, digits);
        return;
    }
    bool small = magnitude >= 1e-14 && magnitude < 1e-5;
    if (small || (magnitude >= 1 && magnitude < power_of_ten[digits])) {
        char *end = number + sizeof number;
        char *at = small ? small_before(end, value, digits) : number_before(end, value, digits);
        memcpy(w->bytes + w->size, at, (size_t)(end - at));
        w->size += (size_t)(end - at);
        return;
    }
    int size;
    if (!isfinite(value))
        size = snprintf(number, sizeof number, "null");
    else if (value == 0)
        size = snprintf(number, sizeof number, "0");
    else
        size = snprintf(number, sizeof number, "%.*g", (int)digits, value);
    memcpy(w->bytes + w->size, number, (size_t)size);
    w->size += (size_t)size;
}

void writer_number(struct writer *w, double value, unsigned digits)
{
    assert(digits >= 1 && digits <= 9);
    separate(w);
    writer_reserve(w, NUMBER_BYTES);
    if (!w->failed)
        append_number(w, value, digits);
}

/* The same of up to FRACTIONS_MOST, a comma behind each. */
static void append_floats(struct writer *w, const float *values, size_t count, unsigned digits)
{
    struct fractions fractions;
    bool made = digits <= FRACTIONS_DIGITS;
    if (made)
        fractions_of(values, count, digits, &fractions);
    char *at = w->bytes + w->size;
    for (size_t i = 0; i < count; i++) {
        if (made && fractions.length[i] != 0) {
            at = fractions_put(at, &fractions, i);
        } else {
            w->size = (size_t)(at - w->bytes);
            append_number(w, (double)values[i], digits);
            at = w->bytes + w->size;
        }
        *at++ = ',';
    }
    w->size = (size_t)(at - w->bytes);
}

void writer_floats(struct writer *w, const float *values, size_t count, unsigned digits)
{
    assert(digits >= 1 && digits <= 9);
    writer_open(w, '[');
    for (size_t i = 0; i < count; i += FRACTIONS_MOST) {
        size_t left = count - i;
        writer_reserve(w, FRACTIONS_MOST * (NUMBER_BYTES + 1));
        if (w->failed)
            return;
        append_floats(w, values + i, left < FRACTIONS_MOST ? left : FRACTIONS_MOST, digits);
    }
    if (count > 0)
        w->size--; /* the last comma */
    writer_close(w, ']');
}

void writer_key_string(struct writer *w, const char *name, const char *text)
{
    writer_key(w, name);
    writer_string(w, text);
}

void writer_key_integer(struct writer *w, const char *name, uint64_t value)
{
    writer_key(w, name);
    writer_integer(w, value);
}

void writer_key_number(struct writer *w, const char *name, double value, unsigned digits)
{
    writer_key(w, name);
    writer_number(w, value, digits);
}
