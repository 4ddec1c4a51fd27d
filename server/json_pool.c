/* json_pool.c - see json_pool.h.
 *
 * jansson's allocator is set once for the process and looks for a pool of its thread: with one it
 * hands out what comes next in it and takes nothing back, without one it is malloc and free.
 */
#include "json_pool.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* The worst document is a list of empty objects: 3 bytes each, for which jansson takes some 260,
 * tables that it outgrows included. */
#define BYTES_A_BYTE 128
#define BYTES_AT_ALL 8192

struct pool {
    uint8_t *next, *end;
};

static _Thread_local struct pool *present;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void *take(size_t size)
{
    const size_t unit = alignof(max_align_t);
    if (present == NULL)
        return malloc(size);
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
        free(block);
}

static void set_allocator(void)
{
    json_set_alloc_funcs(take, give_back);
}

enum error_code json_pool_parse(const char *text, size_t size, const json_t **root, void **memory,
                                struct error *err)
{
    json_error_t fault;
    size_t room = BYTES_A_BYTE * size + BYTES_AT_ALL;
    uint8_t *block = malloc(room);
    if (block == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for the request's JSON");
    pthread_once(&once, set_allocator);
    struct pool pool = {block, block + room};
    present = &pool;
    *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &fault);
    present = NULL;
    *memory = block;
    if (*root == NULL)
        return error_set(err, ERROR_USAGE, "the request is not JSON: %s", fault.text);
    return ERROR_NONE;
}
