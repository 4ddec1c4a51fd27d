/* error.c - error codes and the first cause; see error.h. */
#include "error.h"
#include <stdarg.h>
#include <stdio.h>

enum error_code(error_set)(struct error *err, enum error_code code, const char *format, ...)
{
    if (!err || err->code != ERROR_NONE)
        return code;
    err->code = code;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(err->message, sizeof err->message, format, arguments);
    va_end(arguments);
    /* Names from hostile files end up here: keep the message on one printable line. */
    for (int i = 0; i < length && err->message[i]; i++)
        if ((unsigned char)err->message[i] < 0x20 || err->message[i] == 0x7f)
            err->message[i] = '?';
    return code;
}

const char *error_name(enum error_code code)
{
    static const char *const names[] = {
#define ERROR_NAME(enumerator, name) [enumerator] = name,
        ERROR_CODES(ERROR_NAME)
#undef ERROR_NAME
    };
    return names[code];
}
