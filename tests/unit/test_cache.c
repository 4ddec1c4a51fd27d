/* test_cache.c - what the cache finds again, and what it forgets. */
#include "cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define FLOATS 100

static struct cache *open_cache(size_t bytes)
{
    struct cache *cache = NULL;
    struct error err = {0};
    assert_int_equal(cache_new(bytes, FLOATS, &cache, &err), ERROR_NONE);
    return cache;
}

static void key_of(unsigned number, uint8_t key[CACHE_KEY_BYTES])
{
    cache_key((const uint8_t *)&number, sizeof number, key);
}

static void store(struct cache *cache, unsigned number)
{
    uint8_t key[CACHE_KEY_BYTES];
    float results[FLOATS];
    for (size_t i = 0; i < FLOATS; i++)
        results[i] = (float)(number * FLOATS + i);
    key_of(number, key);
    cache_store(cache, key, results, &(struct cache_facts){IMAGE_PNG, number, number + 1});
}

/* Whether it is kept; if so it must be what was stored. */
static bool find(struct cache *cache, unsigned number)
{
    uint8_t key[CACHE_KEY_BYTES];
    float results[FLOATS] = {0};
    struct cache_facts facts;
    key_of(number, key);
    if (!cache_find(cache, key, results, &facts))
        return false;
    for (size_t i = 0; i < FLOATS; i++)
        assert_float_equal(results[i], (float)(number * FLOATS + i), 0);
    assert_int_equal(facts.format, IMAGE_PNG);
    assert_int_equal(facts.width, number);
    assert_int_equal(facts.height, number + 1);
    return true;
}

static void the_key_is_sha256(void **state)
{
    static const uint8_t expected[] = {0xba, 0x78, 0x16, 0xbf}; /* FIPS 180-2, appendix B.1 */
    uint8_t key[CACHE_KEY_BYTES];
    (void)state;
    cache_key((const uint8_t *)"abc", 3, key);
    assert_memory_equal(key, expected, sizeof expected);
}

static void what_was_stored_is_found(void **state)
{
    struct cache *cache = open_cache(1 << 20);
    (void)state;
    assert_false(find(cache, 1));
    for (unsigned i = 0; i < 50; i++)
        store(cache, i);
    store(cache, 7); /* again: no second entry */
    assert_int_equal(cache_count(cache), 50);
    for (unsigned i = 0; i < 50; i++)
        assert_true(find(cache, i));
    assert_false(find(cache, 50));
    cache_free(cache);
}

static void the_least_recently_used_makes_room(void **state)
{
    struct cache *cache = open_cache(10 * (FLOATS * sizeof(float) + 200));
    (void)state;
    unsigned most = 0;
    while (cache_count(cache) == most)
        store(cache, most++);
    most--; /* the last one pushed out number 0 */
    assert_true(most >= 8 && most <= 20);
    assert_false(find(cache, 0));
    assert_true(find(cache, 1)); /* now it is the newest */
    store(cache, 1000);
    assert_true(find(cache, 1));
    assert_false(find(cache, 2));
    for (unsigned i = 0; i < 1000; i++) /* chains and list stay whole under churn */
        store(cache, 2000 + i % (3 * most));
    assert_int_equal(cache_count(cache), most);
    assert_true(find(cache, 2000 + 999 % (3 * most)));
    cache_free(cache);
}

static void a_tiny_cache_keeps_one(void **state)
{
    struct cache *cache = open_cache(1);
    (void)state;
    store(cache, 1);
    store(cache, 2);
    assert_false(find(cache, 1));
    assert_true(find(cache, 2));
    cache_free(cache);
    cache_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_is_sha256),
        cmocka_unit_test(what_was_stored_is_found),
        cmocka_unit_test(the_least_recently_used_makes_room),
        cmocka_unit_test(a_tiny_cache_keeps_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
