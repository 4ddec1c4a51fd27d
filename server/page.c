/* page.c - see page.h.
 *
 * The assembler includes the files that the build has gathered in build/ui: those of server/ui, the
 * charts' library from its Debian packages, and the sample photo. One validator stands for all of
 * them: a hash of every file, made by the build.
 */
#include "page.h"
#include "page_etag.h" /* PAGE_ETAG; generated */
#include "route.h"

#include <string.h>
#include <strings.h>

#define EMBED(symbol, file)                                                                        \
    __asm__(".section .rodata\n"                                                                   \
            "senetd_page_" #symbol "_begin:\n"                                                     \
            ".incbin \"build/ui/" file "\"\n"                                                      \
            "senetd_page_" #symbol "_end:\n"                                                       \
            ".previous\n");                                                                        \
    extern const char symbol##_begin[] __asm__("senetd_page_" #symbol "_begin");                   \
    extern const char symbol##_end[] __asm__("senetd_page_" #symbol "_end");
#define EMBED_BOTH(symbol, path, file, type)                                                       \
    EMBED(symbol##_plain, file)                                                                    \
    EMBED(symbol##_gzip, file ".gz")
PAGE_FILES(EMBED_BOTH)

static const struct page_file {
    const char *path, *type;
    const char *plain, *plain_end, *gzip, *gzip_end;
} files[] = {
#define ROW(symbol, path, file, type)                                                              \
    {path, type, symbol##_plain_begin, symbol##_plain_end, symbol##_gzip_begin, symbol##_gzip_end},
    PAGE_FILES(ROW)
#undef ROW
};
#define FILE_COUNT (sizeof files / sizeof files[0])

#define COMMON_HEADERS                                                                             \
    {"Cache-Control", "no-cache"}, {"Vary", "Accept, Accept-Encoding"},                            \
        {"Content-Security-Policy",                                                                \
         "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "   \
         "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "       \
         "frame-ancestors 'none'"},                                                                \
        {"Referrer-Policy", "no-referrer"}, {"Cross-Origin-Opener-Policy", "same-origin"},         \
        {"Cross-Origin-Resource-Policy", "same-origin"},                                           \
        {"Permissions-Policy", "camera=(self), microphone=(), geolocation=()"},                    \
    {                                                                                              \
        NULL, NULL                                                                                 \
    }

/* Two representations are two validators (RFC 9110, 8.8.3). */
#define PLAIN_ETAG "\"" PAGE_ETAG "\""
#define GZIP_ETAG  "\"" PAGE_ETAG "-gzip\""
static const struct exchange_header plain_headers[] = {{"ETag", PLAIN_ETAG}, COMMON_HEADERS};
static const struct exchange_header gzip_headers[] = {
    {"ETag", GZIP_ETAG}, {"Content-Encoding", "gzip"}, COMMON_HEADERS};

/* Whether a list such as "gzip;q=0.5, br" has that element with a weight above zero. */
static bool lists(const char *list, const char *element)
{
    while (list != NULL && *list != '\0') {
        list += strspn(list, " \t,");
        size_t size = strcspn(list, ",;"), name = size;
        while (name > 0 && (list[name - 1] == ' ' || list[name - 1] == '\t'))
            name--;
        const char *rest = list + size, *end = rest + strcspn(rest, ",");
        if (name == strlen(element) && strncasecmp(list, element, name) == 0) {
            const char *weight = strcasestr(rest, "q=");
            bool weighted = weight != NULL && weight < end;
            return !weighted || strspn(weight + 2, "0.") != strcspn(weight + 2, ", \t;");
        }
        list = end;
    }
    return false;
}

bool page_is_part(const char *path)
{
    for (size_t i = 0; i < FILE_COUNT; i++)
        if (strcmp(files[i].path, path) == 0)
            return true;
    return false;
}

bool page_declined(const char *accept)
{
    return lists(accept, "application/json") && !lists(accept, "text/html");
}

unsigned page_answer(struct exchange *exchange)
{
    size_t i = 0;
    while (i + 1 < FILE_COUNT && strcmp(files[i].path, exchange->route->path) != 0)
        i++;
    const struct page_file *file = &files[i];
    bool gzip = lists(exchange->accept_encoding, "gzip");
    const char *known = exchange->if_none_match;
    exchange->headers = gzip ? gzip_headers : plain_headers;
    if (known != NULL &&
        (strcmp(known, "*") == 0 || strstr(known, gzip ? GZIP_ETAG : PLAIN_ETAG) != NULL))
        return 304;
    exchange->out_type = file->type;
    if (gzip)
        writer_raw(&exchange->out, file->gzip, (size_t)(file->gzip_end - file->gzip));
    else
        writer_raw(&exchange->out, file->plain, (size_t)(file->plain_end - file->plain));
    return 200;
}
