/* test_safetensors.c - every fault of a safetensors file gets its message; widening is exact. */
#include "safetensors.h"
#include "tensor_file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A header that must be refused with a message that contains every word given. */
static const struct fault {
    const char *header;
    size_t data_bytes;
    const char *words[3];
} faults[] = {
    {"not json", 0, {"not valid JSON"}},
    {"[]", 0, {"not a JSON object"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
     8,
     {"duplicate", "a"}},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, {"tensor a", "dtype is missing"}},
    {"{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}",
     4,
     {"tensor a", "dtype is F33", "expected F32"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, {"tensor a", "shape"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, {"tensor a", "shape"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}",
     4,
     {"tensor a", "shape", "at most 8"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, {"data_offsets"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,-4]}}", 4, {"data_offsets"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, {"outside"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
     4,
     {"tensor a", "[0, 8]", "outside the 4 bytes"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}",
     8,
     {"tensor a", "8 bytes of data", "ask for 12"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
     0,
     {"tensor a", "more than"}},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}",
     0,
     {"tensor a", "more than"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
     12,
     {"tensors a and b overlap", "offset 4"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
     12,
     {"4 bytes before tensor b", "belong to no tensor"}},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
     6,
     {"2 bytes after the last tensor"}},
};

static void expect_words(const struct error *err, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count && words[i]; i++)
        if (!strstr(err->message, words[i]))
            fail_msg("\"%s\" lacks \"%s\"", err->message, words[i]);
}

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        size_t size;
        uint8_t *bytes = tensor_file_raw(faults[i].header, faults[i].data_bytes, &size);
        struct safetensors *file = NULL;
        struct error err = {0};
        assert_int_equal(safetensors_parse("m", bytes, size, &file, &err), ERROR_WEIGHTS);
        assert_null(file);
        expect_words(&err, faults[i].words, 3);
        free(bytes);
    }
}

static void test_header_length(void **state)
{
    (void)state;
    struct safetensors *file = NULL;
    uint8_t bytes[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    struct error err = {0};
    assert_int_equal(safetensors_parse("m", bytes, 16, &file, &err), ERROR_WEIGHTS);
    expect_words(&err, (const char *const[]){"claims 9 bytes", "has 8"}, 2);
    memset(bytes, 0xff, 8); /* 2^64 - 1: must not wrap */
    err = (struct error){0};
    assert_int_equal(safetensors_parse("m", bytes, 16, &file, &err), ERROR_WEIGHTS);
    expect_words(&err, (const char *const[]){"claims 18446744073709551615 bytes"}, 1);
    for (size_t size = 0; size < 8; size++) {
        err = (struct error){0};
        assert_int_equal(safetensors_parse("m", bytes, size, &file, &err), ERROR_WEIGHTS);
        expect_words(&err, (const char *const[]){"too short"}, 1);
    }
    err = (struct error){0};
    assert_int_equal(safetensors_open("/nonexistent/x", &file, &err), ERROR_IO);
    expect_words(&err, (const char *const[]){"/nonexistent/x", "No such file"}, 2);
    err = (struct error){0};
    assert_int_equal(safetensors_open("/tmp", &file, &err), ERROR_IO);
}

/* Cut anywhere, a real checkpoint is refused, never read past its end. */
static void test_truncated(void **state)
{
    (void)state;
    struct safetensors *whole = NULL, *file = NULL;
    assert_int_equal(
        safetensors_open("tests/golden/fixtures/tiny_timm/model.safetensors", &whole, NULL), 0);
    size_t size;
    const uint8_t *bytes = safetensors_bytes(whole, &size);
    for (size_t cut = 0; cut < size; cut += 1 + cut / 16) {
        uint8_t *part = malloc(cut + 1); /* so that ASan sees a read past it */
        memcpy(part, bytes, cut);
        assert_int_equal(safetensors_parse("m", part, cut, &file, NULL), ERROR_WEIGHTS);
        free(part);
    }
    safetensors_close(whole);
}

static void test_right(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes =
        tensor_file_raw("{\"__metadata__\":{\"format\":\"pt\"},"
                        "\"b\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[2,10]},"
                        "\"a\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0,2]},"
                        "\"e\":{\"dtype\":\"U8\",\"shape\":[0,3],\"data_offsets\":[10,10]}}   ",
                        10, &size);
    struct safetensors *file = NULL;
    assert_int_equal(safetensors_parse("m", bytes, size, &file, NULL), ERROR_NONE);
    assert_int_equal(safetensors_count(file), 3);
    const struct tensor *a = safetensors_find(file, "a"), *b = safetensors_find(file, "b");
    assert_ptr_equal(safetensors_at(file, 0), a);
    assert_int_equal(a->rank, 0);
    assert_int_equal(a->count, 1);
    assert_int_equal(b->shape[1], 2);
    assert_int_equal(safetensors_find(file, "e")->count, 0);
    assert_null(safetensors_find(file, "c"));
    float value;
    assert_int_equal(tensor_to_float(a, &value, NULL), ERROR_NONE);
    assert_true(value == 1.05859375F); /* 0x3c3c */
    struct error err = {0};
    assert_int_equal(tensor_to_float(safetensors_find(file, "e"), &value, &err), ERROR_WEIGHTS);
    expect_words(&err, (const char *const[]){"tensor e", "dtype is U8"}, 2);
    safetensors_close(file);
    free(bytes);
}

static float widen(const char *dtype, const void *data, enum error_code expected)
{
    struct tensor tensor = {.name = "t", .count = 1, .data = data};
    memcpy(tensor.dtype, dtype, strlen(dtype) + 1);
    float value = 0;
    assert_int_equal(tensor_to_float(&tensor, &value, NULL), expected);
    return value;
}

/* All 65,536 halves against the compiler's own conversion. */
static void test_widening(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        uint16_t half = (uint16_t)bits;
        bool finite = (half & 0x7c00) != 0x7c00, finite_bf16 = (half & 0x7f80) != 0x7f80;
        float value = widen("F16", &half, finite ? ERROR_NONE : ERROR_WEIGHTS);
        float bf16 = widen("BF16", &half, finite_bf16 ? ERROR_NONE : ERROR_WEIGHTS), expected;
        uint32_t wide = bits << 16;
        memcpy(&expected, &wide, sizeof expected);
        if (finite_bf16)
            assert_memory_equal(&bf16, &expected, sizeof bf16);
        if (!finite)
            continue;
        int exponent = half >> 10 & 31, mantissa = half & 0x3ff;
        double magnitude =
            exponent ? (1024 + mantissa) * __builtin_ldexp(1, exponent - 25) : mantissa * 0x1p-24;
        assert_true((double)value == (half & 0x8000 ? -magnitude : magnitude));
        assert_int_equal(__builtin_signbit(value) != 0, half >> 15);
    }
}

static void test_not_finite(void **state)
{
    (void)state;
    float values[3] = {1, 2, __builtin_nanf("")}, out[3];
    struct tensor tensor = {
        .name = "t", .dtype = "F32", .count = 3, .data = (const uint8_t *)values};
    struct error err = {0};
    assert_int_equal(tensor_to_float(&tensor, out, &err), ERROR_WEIGHTS);
    expect_words(&err, (const char *const[]){"tensor t", "element 2 is NaN"}, 2);
    values[1] = __builtin_inff();
    err = (struct error){0};
    assert_int_equal(tensor_to_float(&tensor, out, &err), ERROR_WEIGHTS);
    expect_words(&err, (const char *const[]){"element 1 is infinite"}, 1);
}

/* Its bytes are the reader's own once it is open. */
static void test_truncated_while_open(void **state)
{
    enum { COUNT = 100000 }; /* many pages */
    static const char header[] =
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[100000],\"data_offsets\":[0,100000]}}";
    char path[] = "/tmp/senetd-test-XXXXXX";
    size_t size;
    struct safetensors *file;
    struct error err = {0};
    (void)state;
    uint8_t *bytes = tensor_file_raw(header, COUNT, &size);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    assert_int_equal(safetensors_open(path, &file, &err), ERROR_NONE);
    assert_int_equal(ftruncate(fd, 0), 0);
    const struct tensor *tensor = safetensors_find(file, "a");
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(tensor->data[i], 0x3c);
    safetensors_close(file);
    close(fd);
    unlink(path);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_header_length),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_right),
        cmocka_unit_test(test_widening),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_truncated_while_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
