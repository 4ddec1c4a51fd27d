/* error.h - error codes and the first cause of a failure.
 *
 * Outside input (files, uploads, flags) never aborts: the function that meets the fault fills a
 * struct error with one line that says what was wrong, where, and what was expected, and every
 * caller passes the code up unchanged. The deepest cause wins: a later error_set on the same
 * struct is ignored. Programmer mistakes are asserts.
 */
#ifndef SENETD_ERROR_H
#define SENETD_ERROR_H

#include <stdbool.h>

/* code, name as it appears in logs and in the problem type of HTTP answers */
#define ERROR_CODES(X)                                                                             \
    X(ERROR_NONE, "none")                                                                          \
    X(ERROR_USAGE, "malformed-request")           /* a flag, query or body that is not right */    \
    X(ERROR_TOO_LARGE, "too-large")               /* beyond a limit of size or count */            \
    X(ERROR_UNKNOWN_FORMAT, "unsupported-format") /* not an image format we know */                \
    X(ERROR_UNDECODABLE, "undecodable-image")     /* a known format with broken content */         \
    X(ERROR_WEIGHTS, "bad-weights")               /* weight file, config.json or labels */         \
    X(ERROR_NOT_FOUND, "not-found")                                                                \
    X(ERROR_LOADING, "loading")            /* no model yet */                                      \
    X(ERROR_OVERLOADED, "overloaded")      /* a queue or a budget is full */                       \
    X(ERROR_DRAINING, "draining")          /* the server is shutting down */                       \
    X(ERROR_DEADLINE, "deadline-exceeded") /* the client's time ran out before it was computed */  \
    X(ERROR_ABANDONED, "client-gone")      /* nobody waits for the answer */                       \
    X(ERROR_MEMORY, "out-of-memory")                                                               \
    X(ERROR_IO, "input-output")                                                                    \
    X(ERROR_INTERNAL, "internal")

enum error_code {
#define ERROR_ENUM(code, name) code,
    ERROR_CODES(ERROR_ENUM)
#undef ERROR_ENUM
};

struct error {
    enum error_code code; /* ERROR_NONE until the first error_set */
    char message[480];    /* one line, UTF-8, no trailing newline; control bytes become '?' */
};

/* Records code and the printf-formatted message unless err already holds an error; err may be
 * NULL. Returns code, so that `return error_set(...)` reads well. */
enum error_code error_set(struct error *err, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __clang_analyzer__ /* which does not see into other files */
#define error_set(err, code, ...) (error_set((err), (code), __VA_ARGS__), (code))
#endif

/* Static name of a code, for example "too-large". */
const char *error_name(enum error_code code);

/* Leaves the function at once with the callee's code. Only where nothing is held. */
#define TRY(expression)                                                                            \
    do {                                                                                           \
        enum error_code try_code = (expression);                                                   \
        if (try_code != ERROR_NONE)                                                                \
            return try_code;                                                                       \
    } while (0)

#define MUST_CHECK __attribute__((warn_unused_result))

/* Functions of libsenet that other programs may call. */
#define SENET_API __attribute__((visibility("default")))

#endif
