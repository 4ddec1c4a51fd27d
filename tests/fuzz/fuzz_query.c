/* fuzz_query.c - any text as the query of a request: split at & and =, then every key that any
 * route takes, against a real model. */
#include "query.h"
#include "senet.h"

#include <stdlib.h>
#include <string.h>

#define ALL_KEYS 0xfffu

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct senet *model;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct error err = {0};
    (void)argc;
    (void)argv;
    if (senet_open("tests/golden/fixtures/tiny_timm", NULL, &model, &err) != ERROR_NONE)
        abort();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *text = malloc(size + 1);
    struct query_pair pairs[QUERY_MAX_PAIRS];
    struct query query;
    struct error err = {0};
    size_t count = 0;
    if (text == NULL)
        return 0;
    memcpy(text, bytes, size);
    text[size] = '\0';
    char *rest = text;
    for (char *pair; count < QUERY_MAX_PAIRS && (pair = strsep(&rest, "&")) != NULL;) {
        char *value = strchr(pair, '=');
        if (value != NULL)
            *value++ = '\0';
        pairs[count++] = (struct query_pair){pair, value};
    }
    if (query_parse(pairs, count, ALL_KEYS, model, 5, &query, &err) != err.code)
        abort();
    query_free(&query);
    free(text);
    return 0;
}
