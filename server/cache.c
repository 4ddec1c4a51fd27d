/* cache.c - see cache.h.
 *
 * Entries lie in one array; chains of a hash table and the list by last use link them by index.
 * The table's slot is the key's first bytes, which SHA-256 has spread already.
 */
#include "cache.h"

#include <nettle/sha2.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NONE SIZE_MAX

struct entry {
    uint8_t key[CACHE_KEY_BYTES];
    struct cache_facts facts;
    size_t chain;        /* next of the same slot */
    size_t older, newer; /* by last use */
};

struct cache {
    size_t floats, most, slots;

    pthread_mutex_t mutex; /* guards all below */
    struct entry *entries; /* [most] */
    float *results;        /* [most][floats] */
    size_t *table;         /* [slots], first of a chain */
    size_t count, oldest, newest;
};

enum error_code cache_new(size_t bytes, size_t floats, struct cache **out, struct error *err)
{
    size_t most = bytes / (floats * sizeof(float) + sizeof(struct entry));
    struct cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for the cache");
    cache->floats = floats;
    cache->most = most > 0 ? most : 1;
    cache->slots = 2 * cache->most;
    cache->oldest = cache->newest = NONE;
    cache->entries = calloc(cache->most, sizeof *cache->entries);
    cache->results = calloc(cache->most, floats * sizeof(float)); /* untouched: no pages yet */
    cache->table = malloc(cache->slots * sizeof *cache->table);
    pthread_mutex_init(&cache->mutex, NULL);
    if (cache->entries == NULL || cache->results == NULL || cache->table == NULL) {
        cache_free(cache);
        return error_set(err, ERROR_MEMORY, "no memory for a cache of %zu bytes", bytes);
    }
    for (size_t i = 0; i < cache->slots; i++)
        cache->table[i] = NONE;
    *out = cache;
    return ERROR_NONE;
}

void cache_free(struct cache *cache)
{
    if (cache == NULL)
        return;
    pthread_mutex_destroy(&cache->mutex);
    free(cache->entries);
    free(cache->results);
    free(cache->table);
    free(cache);
}

void cache_key(const uint8_t *bytes, size_t size, uint8_t key[CACHE_KEY_BYTES])
{
    struct sha256_ctx context;
    sha256_init(&context);
    sha256_update(&context, size, bytes);
    sha256_digest(&context, CACHE_KEY_BYTES, key);
}

static size_t *slot_of(struct cache *cache, const uint8_t *key)
{
    uint64_t hash;
    memcpy(&hash, key, sizeof hash);
    return &cache->table[hash % cache->slots];
}

static size_t look_up(struct cache *cache, const uint8_t *key)
{
    size_t at = *slot_of(cache, key);
    while (at != NONE && memcmp(cache->entries[at].key, key, CACHE_KEY_BYTES) != 0)
        at = cache->entries[at].chain;
    return at;
}

static void leave_list(struct cache *cache, size_t at)
{
    const struct entry *entry = &cache->entries[at];
    *(entry->older == NONE ? &cache->oldest : &cache->entries[entry->older].newer) = entry->newer;
    *(entry->newer == NONE ? &cache->newest : &cache->entries[entry->newer].older) = entry->older;
}

static void join_list(struct cache *cache, size_t at)
{
    struct entry *entry = &cache->entries[at];
    entry->older = cache->newest;
    entry->newer = NONE;
    *(cache->newest == NONE ? &cache->oldest : &cache->entries[cache->newest].newer) = at;
    cache->newest = at;
}

/* A free entry, or that of the least recently used, out of list and chain. */
static size_t make_room(struct cache *cache)
{
    if (cache->count < cache->most)
        return cache->count++;
    size_t at = cache->oldest;
    size_t *link = slot_of(cache, cache->entries[at].key);
    while (*link != at)
        link = &cache->entries[*link].chain;
    *link = cache->entries[at].chain;
    leave_list(cache, at);
    return at;
}

bool cache_find(struct cache *cache, const uint8_t key[CACHE_KEY_BYTES], float *results,
                struct cache_facts *facts)
{
    pthread_mutex_lock(&cache->mutex);
    size_t at = look_up(cache, key);
    if (at != NONE) {
        memcpy(results, cache->results + at * cache->floats, cache->floats * sizeof(float));
        *facts = cache->entries[at].facts;
        leave_list(cache, at);
        join_list(cache, at);
    }
    pthread_mutex_unlock(&cache->mutex);
    return at != NONE;
}

void cache_store(struct cache *cache, const uint8_t key[CACHE_KEY_BYTES], const float *results,
                 const struct cache_facts *facts)
{
    pthread_mutex_lock(&cache->mutex);
    if (look_up(cache, key) == NONE) {
        size_t at = make_room(cache), *slot = slot_of(cache, key);
        struct entry *entry = &cache->entries[at];
        memcpy(entry->key, key, CACHE_KEY_BYTES);
        memcpy(cache->results + at * cache->floats, results, cache->floats * sizeof(float));
        entry->facts = *facts;
        entry->chain = *slot;
        *slot = at;
        join_list(cache, at);
    }
    pthread_mutex_unlock(&cache->mutex);
}

size_t cache_count(struct cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    size_t count = cache->count;
    pthread_mutex_unlock(&cache->mutex);
    return count;
}
