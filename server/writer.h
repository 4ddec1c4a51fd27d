/* writer.h - a growing byte buffer that writes JSON and plain text.
 *
 * Commas are put by looking at the last byte: a value or key that follows anything but an opening
 * bracket, a colon or a comma is a sibling. So the caller only says what to write, in order.
 * A failed allocation is remembered in `failed`, and everything after it does nothing: one check
 * at the end is enough. A struct writer belongs to one thread; zeroed memory is an empty writer.
 */
#ifndef SENETD_WRITER_H
#define SENETD_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct writer {
    char *bytes; /* [size], owned, not terminated; NULL while empty */
    size_t size, capacity;
    char before; /* the byte before bytes[0], if some were taken out by writer_taken */
    bool failed; /* memory ran out; the content is incomplete */
};

/* Releases the bytes and empties the writer. */
void writer_free(struct writer *w);

/* Length of the valid UTF-8 sequence that text[size] begins with, or 0; size >= 1. */
size_t writer_utf8_length(const unsigned char *text, size_t size);

/* Empties the buffer after its bytes were written elsewhere; what follows continues the document.
 */
void writer_taken(struct writer *w);

/* Makes room for that many more bytes, so that the bulk is not copied while growing. */
void writer_reserve(struct writer *w, size_t bytes);

/* Bytes as they are: no comma, no escape. */
void writer_raw(struct writer *w, const char *bytes, size_t size);
void writer_text(struct writer *w, const char *text);
void writer_format(struct writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* '{' or '[' and '}' or ']'. */
void writer_open(struct writer *w, char bracket);
void writer_close(struct writer *w, char bracket);

/* "name": within an object; name is a literal that needs no escape. */
void writer_key(struct writer *w, const char *name);

/* A JSON string, or null for NULL. Bytes that are not UTF-8 become U+FFFD. */
void writer_string(struct writer *w, const char *text);
void writer_string_n(struct writer *w, const char *text, size_t size);

void writer_integer(struct writer *w, uint64_t value);
void writer_bool(struct writer *w, bool value);
void writer_null(struct writer *w);

/* A number with that many significant digits, 1..9, trailing zeros dropped; null if not finite.
 * Nearest, but for ties that differ beyond the 15th digit. */
void writer_number(struct writer *w, double value, unsigned digits);

/* An array of numbers. */
void writer_floats(struct writer *w, const float *values, size_t count, unsigned digits);

/* Key and value in one line. */
void writer_key_string(struct writer *w, const char *name, const char *text);
void writer_key_integer(struct writer *w, const char *name, uint64_t value);
void writer_key_number(struct writer *w, const char *name, double value, unsigned digits);

#endif
