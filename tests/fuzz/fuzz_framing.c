/* fuzz_framing.c - any bytes as a request's header, taken apart as libmicrohttpd does: what is
 * accepted must be written in the one way that no other server reads differently. */
#include "framing.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Ends the line at its CR LF or LF; the next one's beginning, or NULL. */
static char *end_line(char *line, const char *end)
{
    char *feed = memchr(line, '\n', (size_t)(end - line));
    if (feed == NULL)
        return NULL;
    *feed = '\0';
    if (feed > line && feed[-1] == '\r')
        feed[-1] = '\0';
    return feed + 1;
}

/* Where scheme and host end nobody may see otherwise. */
static void check_origin(const char *uri, const struct framing_target *target)
{
    size_t size = target->origin_bytes;
    if (size > 0 && (!target->proper || size > target->size || strchr("/?", uri[size]) == NULL ||
                     memchr(uri, '%', size) != NULL || memchr(uri, '@', size) != NULL))
        abort();
}

static void take_apart(char *text, size_t size, const uint8_t *original)
{
    struct framing framing;
    struct error err = {0};
    const char *end = text + size;
    char *line = end_line(text, end), *uri = strchr(text, ' ');
    char *version = uri != NULL ? strrchr(text, ' ') : NULL;
    if (line == NULL || version == NULL || uri == version || strlen(version + 1) != 8)
        return;
    *uri++ = *version++ = '\0';
    const struct framing_target target = framing_target(uri);
    check_origin(uri, &target);
    framing_begin(&framing, true, text, &target, version);
    while (line != NULL && *line != '\0') {
        char *next = end_line(line, end), *colon = strchr(line, ':');
        if (next == NULL || colon == NULL)
            return;
        *colon++ = '\0';
        colon += strspn(colon, " \t");
        framing_header(&framing, line, strlen(line), colon, strlen(colon));
        line = next;
    }
    if (line == NULL || (line = end_line(line, end)) == NULL)
        return;
    size_t bytes = (size_t)(line - text);
    if (framing_end(&framing, bytes, &err) != 0)
        return;
    /* Accepted: but for the last line's end, every LF has its CR, or a zero byte in the CR's place,
     * which the library makes of a CR, and a zero byte is nowhere else. */
    for (size_t i = 0; i + 4 < bytes; i++) {
        bool ends = original[i + 1] == '\n' && i + 5 < bytes;
        if (original[i] == '\0' && !ends)
            abort();
        if (original[i] == '\n' && (i == 0 || (original[i - 1] != '\r' && original[i - 1] != '\0')))
            abort();
    }
    if (framing.chunked && framing.has_length)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, bytes, size);
    text[size] = '\0';
    take_apart(text, size, bytes);
    free(text);
    return 0;
}
