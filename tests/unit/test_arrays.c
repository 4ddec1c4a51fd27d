/* test_arrays.c - the bytes of npy, npz and safetensors; that numpy reads them is another test's
 * business (tests/scripts/test_arrays.py). */
#include "arrays.h"
#include "safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const float values[6] = {0, 0.25F, 0.5F, 0.75F, 1, 0.125F};
static const struct tensors_item items[] = {
    {.name = "layer1.0", .dtype = "F32", .rank = 2, .shape = {2, 3}, .data = values},
    {.name = "x", .dtype = "F32", .rank = 1, .shape = {4}, .data = values},
};

static uint64_t integer(const char *at, size_t bytes)
{
    uint64_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | (unsigned char)at[bytes];
    return value;
}

static void npy_has_the_head_that_numpy_wants(void **state)
{
    struct writer w = {0};
    (void)state;
    arrays_write(&w, ARRAYS_NPY, items, 1);
    assert_memory_equal(w.bytes, "\x93NUMPY\x01\x00", 8);
    size_t head = integer(w.bytes + 8, 2) + 10;
    assert_int_equal(head % 64, 0);
    static const char dictionary[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3,), }";
    assert_memory_equal(w.bytes + 10, dictionary, sizeof dictionary - 1);
    assert_int_equal(w.bytes[head - 1], '\n');
    assert_int_equal(w.size, head + sizeof values);
    assert_memory_equal(w.bytes + head, values, sizeof values);
    writer_free(&w);
}

static void npz_is_a_zip_of_stored_files(void **state)
{
    struct writer w = {0};
    (void)state;
    arrays_write(&w, ARRAYS_NPZ, items, 2);
    const char *end = w.bytes + w.size - 22;
    assert_int_equal(integer(end, 4), 0x06054b50);
    assert_int_equal(integer(end + 10, 2), 2);
    size_t size = integer(end + 12, 4), start = integer(end + 16, 4);
    assert_true(w.bytes + start + size == end);
    const char *central = w.bytes + start;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(integer(central, 4), 0x02014b50);
        size_t name = integer(central + 28, 2), offset = integer(central + 42, 4);
        const char *local = w.bytes + offset;
        assert_int_equal(integer(local, 4), 0x04034b50);
        assert_memory_equal(local + 4, central + 6, 26); /* the common fields */
        assert_int_equal(integer(local + 8, 2), 0);      /* stored */
        assert_int_equal(integer(local + 18, 4), integer(local + 22, 4));
        assert_memory_equal(local + 30, i == 0 ? "layer1.0.npy" : "x.npy", name);
        assert_memory_equal(local + 30 + name, "\x93NUMPY", 6);
        central += 46 + name;
    }
    writer_free(&w);
}

static void safetensors_come_back(void **state)
{
    struct writer w = {0};
    struct safetensors *file;
    struct error err = {0};
    (void)state;
    arrays_write(&w, ARRAYS_SAFETENSORS, items, 2);
    if (safetensors_parse("x", (const uint8_t *)w.bytes, w.size, &file, &err) != ERROR_NONE)
        fail_msg("%s", err.message);
    const struct tensor *tensor = safetensors_find(file, "layer1.0");
    assert_non_null(tensor);
    assert_true(tensor->rank == 2 && tensor->shape[0] == 2 && tensor->shape[1] == 3);
    assert_memory_equal(tensor->data, values, sizeof values);
    assert_int_equal(((uintptr_t)tensor->data - (uintptr_t)w.bytes) % 8, 0);
    safetensors_close(file);
    writer_free(&w);
}

static void unknown_formats_are_refused(void **state)
{
    enum arrays_format format = ARRAYS_NONE;
    struct error err = {0};
    (void)state;
    assert_int_equal(arrays_find("npz", &format, &err), ERROR_NONE);
    assert_int_equal(format, ARRAYS_NPZ);
    assert_int_equal(arrays_find("csv", &format, &err), ERROR_USAGE);
    assert_non_null(strstr(err.message, "expected json, npy, npz or safetensors"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(npy_has_the_head_that_numpy_wants),
        cmocka_unit_test(npz_is_a_zip_of_stored_files),
        cmocka_unit_test(safetensors_come_back),
        cmocka_unit_test(unknown_formats_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
