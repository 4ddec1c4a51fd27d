/* framing.h - whether a request's header says unmistakably where the request ends.
 *
 * Two servers in a row that read a header differently can be made to disagree on where one request
 * ends and the next begins (request smuggling). libmicrohttpd 0.9.75 is lenient in many such
 * places; what is ambiguous is refused here, before any body is read, and the connection closed, so
 * that nothing behind it is taken for a request (RFC 9112, sections 2.2, 3, 5 and 6).
 *
 * The library hides some things: it ends a line at a bare LF, cuts a line at a zero byte, joins
 * folded lines wrongly. All of them leave a gap between the strings that it hands out, which lie
 * in its buffer one after another. So the addresses tell whether every byte of the header was
 * seen. Only addresses are compared; nothing is read through them but the strings themselves.
 *
 * No state beyond struct framing; no libmicrohttpd here.
 */
#ifndef SENETD_FRAMING_H
#define SENETD_FRAMING_H

#include "error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct framing {
    /* Known after framing_end. */
    bool chunked;
    bool has_length;
    uint64_t length;       /* Content-Length, where has_length; UINT64_MAX for more than that */
    bool expects_continue; /* Expect: 100-continue */

    /* The module's own. */
    bool exact, old; /* gaps are looked for; HTTP/1.0 */
    uintptr_t begin, end;
    unsigned lengths, encodings, hosts;
    bool expects_other;
    const char *encoding;
    unsigned status;
    struct error fault;
};

/* The request target as it was sent: the library decodes it in place before all the rest is known.
 */
struct framing_target {
    uintptr_t begin;
    size_t size;
    bool visible;        /* without blanks, control characters and escaped zero bytes */
    bool proper;         /* not of the form "http://host/path", or with a proper host */
    size_t origin_bytes; /* of "http://host:80" in that form, which an origin server must take, too
                            (RFC 9112, section 3.2.2); nothing in it is escaped */
};

struct framing_target framing_target(const char *uri);

/* The strings as the library gives them. exact: their addresses are to be compared, too. */
void framing_begin(struct framing *framing, bool exact, const char *method,
                   const struct framing_target *target, const char *version);

/* The next header. */
void framing_header(struct framing *framing, const char *name, size_t name_size, const char *value,
                    size_t value_size);

/* header_bytes: from the method's first byte to the end of the empty line. Returns 0, or the
 * status to refuse with (400, 417, 501, 505) and fills err. */
unsigned framing_end(struct framing *framing, size_t header_bytes, struct error *err) MUST_CHECK;

#endif
