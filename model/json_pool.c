/* json_pool.c - see json_pool.h.
 *
 * jansson's allocator is set once for the process and looks for a pool of its thread: with one it
 * hands out what comes next in it and takes nothing back, without one it is the allocator that was
 * set before.
 */
#include "json_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The worst document is a list of empty objects: 3 bytes each, for which jansson takes some 260,
 * tables that it outgrows included. */
#define BYTES_A_BYTE 128
#define BYTES_AT_ALL 8192

struct pool {
    uint8_t *next, *end;
};

static _Thread_local struct pool *present;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static json_malloc_t other_malloc = malloc;
static json_free_t other_free = free;

static void *take(size_t size)
{
    const size_t unit = alignof(max_align_t);
    if (present == NULL)
        return other_malloc(size);
    size_t rounded = (size + unit - 1) / unit * unit;
    if (rounded < size || rounded > (size_t)(present->end - present->next))
        return NULL; /* not with a document that size was told of */
    void *block = present->next;
    present->next += rounded;
    return block;
}

static void give_back(void *block)
{
    if (present == NULL)
        other_free(block);
}

static void set_allocator(void)
{
    json_get_alloc_funcs(&other_malloc, &other_free);
    json_set_alloc_funcs(take, give_back);
}

enum error_code json_pool_parse(const char *what, const char *text, size_t size,
                                enum error_code fault, const json_t **root, void **memory,
                                struct error *err)
{
    json_error_t told;
    size_t room = BYTES_A_BYTE * size + BYTES_AT_ALL;
    uint8_t *block = malloc(room);
    if (block == NULL)
        return error_set(err, ERROR_MEMORY, "no memory to parse %s", what);
    pthread_once(&once, set_allocator);
    struct pool pool = {block, block + room};
    present = &pool;
    *root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &told);
    present = NULL;
    *memory = block;
    if (*root != NULL)
        return ERROR_NONE;
    free(block);
    *memory = NULL;
    return error_set(err, fault, "%s is not valid JSON: %s (line %d, column %d)", what, told.text,
                     told.line, told.column);
}

static enum error_code read_file(const char *path, char *text, enum error_code fault,
                                 const json_t **root, void **memory, struct error *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set(err, errno == ENOMEM ? ERROR_MEMORY : ERROR_IO, "cannot open %s: %s", path,
                         strerror(errno));
    size_t size = fread(text, 1, JSON_POOL_FILE_BYTES + 1, file);
    int broken = ferror(file) ? errno : 0;
    fclose(file);
    if (broken != 0)
        return error_set(err, ERROR_IO, "cannot read %s: %s", path, strerror(broken));
    if (size > JSON_POOL_FILE_BYTES)
        return error_set(err, fault, "%s has more than %zu bytes", path, JSON_POOL_FILE_BYTES);
    return json_pool_parse(path, text, size, fault, root, memory, err);
}

enum error_code json_pool_read(const char *path, enum error_code fault, const json_t **root,
                               void **memory, struct error *err)
{
    char *text = malloc(JSON_POOL_FILE_BYTES + 1);
    if (text == NULL)
        return error_set(err, ERROR_MEMORY, "no memory to read %s", path);
    enum error_code code = read_file(path, text, fault, root, memory, err);
    free(text);
    return code;
}
