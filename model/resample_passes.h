/* resample_passes.h - the two passes of a resize; the body of resample.c and resample_avx2.c.
 *
 * Included by these two alone, each of which is compiled for an instruction set.
 *
 * Both passes are the same work: bytes that lie side by side, blended with those of further pixels
 * at a stride. For the horizontal pass eight rows are transposed, so that what lies side by side
 * are pixels above each other.
 */
#ifndef SENETD_RESAMPLE_PASSES_H
#define SENETD_RESAMPLE_PASSES_H

#include "image.h"
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define FRACTION_BITS 22

#define SIDE  8          /* rows at a time */
#define CHUNK (3 * SIDE) /* bytes that are blended at a time */

/* For output positions first..first+count-1 of an axis resized from `from` to `to`: the input
 * window each reads and its fixed-point weights. */
struct axis {
    size_t count, taps; /* outputs; most weights of one */
    size_t *begin;      /* [count] first input position */
    size_t *length;     /* [count] */
    int32_t *weights;   /* [count][taps] */
};

struct passes {
    const struct image *image;
    struct axis columns, lines;
    size_t first, last; /* image rows that the lines read */
    uint8_t *tile;      /* [tile_width + SIDE][3][SIDE] */
    size_t tile_width;  /* pixels */
    uint8_t *turned;    /* [columns.count + SIDE][3][SIDE] */
    uint8_t *rows;      /* [last - first][columns.count][3], and CHUNK that are read in vain */
};

/* The same by AVX2, where the processor has it. */
void resample_avx2_run(const struct passes *passes, uint8_t *out);

/* CHUNK bytes, each the weighted sum of those that lie `stride` apart, rounded. AVX2 packs its sums
 * with saturation, which GCC does not make of comparisons. */
#if defined(__AVX2__)
static inline __m256i rounded(__m256i sums)
{
    return _mm256_srai_epi32(sums, FRACTION_BITS); /* floor */
}

static inline void blend(const uint8_t *from, size_t stride, const int32_t *weights, size_t length,
                         uint8_t *out)
{
    const __m256i half = _mm256_set1_epi32(1 << (FRACTION_BITS - 1));
    __m256i sums[CHUNK / 8] = {half, half, half};
    for (size_t i = 0; i < length; i++, from += stride)
        for (size_t j = 0; j < CHUNK / 8; j++) {
            __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)(from + 8 * j));
            __m256i part =
                _mm256_mullo_epi32(_mm256_cvtepu8_epi32(eight), _mm256_set1_epi32(weights[i]));
            sums[j] = _mm256_add_epi32(sums[j], part);
        }
    /* Packing works in halves of a register: four bytes of each sum's low half, then of its high.
     */
    __m256i first = _mm256_packs_epi32(rounded(sums[0]), rounded(sums[1]));
    __m256i last = _mm256_packs_epi32(rounded(sums[2]), rounded(sums[2]));
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i all = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(first, last), order);
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_castsi256_si128(all));
    _mm_storel_epi64((__m128i *)(void *)(out + 16), _mm256_extracti128_si256(all, 1));
}
#else
static inline void blend(const uint8_t *from, size_t stride, const int32_t *weights, size_t length,
                         uint8_t *out)
{
    int32_t sums[CHUNK];
    for (size_t j = 0; j < CHUNK; j++)
        sums[j] = 1 << (FRACTION_BITS - 1); /* to round */
    for (size_t i = 0; i < length; i++, from += stride)
        for (size_t j = 0; j < CHUNK; j++)
            sums[j] += from[j] * weights[i];
    for (size_t j = 0; j < CHUNK; j++) {
        int32_t value = sums[j] >> FRACTION_BITS; /* floor */
        value = value < 0 ? 0 : value;
        out[j] = (uint8_t)(value > 255 ? 255 : value);
    }
}
#endif

typedef uint8_t bytes __attribute__((vector_size(2 * SIDE)));

/* Bytes of a and b in turns: of their first halves, and of their second. */
static inline void interleave(bytes a, bytes b, bytes out[2])
{
    out[0] = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    out[1] =
        __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

/* Transposes SIDE x SIDE bytes. To take those of the first half and of the second in turns rotates
 * the bits of a byte's place by one; three times swaps row and column. */
static inline void transpose(uint8_t block[SIDE * SIDE])
{
    bytes from[4], to[4];
    memcpy(from, block, sizeof from);
    for (size_t turn = 0; turn < 3; turn++) {
        interleave(from[0], from[2], to);
        interleave(from[1], from[3], to + 2);
        memcpy(from, to, sizeof from);
    }
    memcpy(block, from, sizeof from);
}

/* size bytes of `count` rows, the last of which stands for those that are missing ->
 * columns[size][SIDE], where size is rounded up to SIDE. */
static inline void rows_to_columns(const uint8_t *rows, size_t stride, size_t count, size_t size,
                                   uint8_t *columns)
{
    for (size_t at = 0; at < size; at += SIDE, columns += SIDE * SIDE) {
        uint8_t block[SIDE * SIDE] = {0};
        for (size_t i = 0; i < SIDE; i++) {
            const uint8_t *from = rows + (i < count ? i : count - 1) * stride + at;
            if (size - at >= SIDE)
                memcpy(block + i * SIDE, from, SIDE);
            else
                memcpy(block + i * SIDE, from, size - at);
        }
        transpose(block);
        memcpy(columns, block, sizeof block);
    }
}

/* The way back, to rows of size bytes. */
static inline void columns_to_rows(const uint8_t *columns, size_t size, size_t count, uint8_t *rows)
{
    for (size_t at = 0; at < size; at += SIDE, columns += SIDE * SIDE) {
        uint8_t block[SIDE * SIDE];
        memcpy(block, columns, sizeof block);
        transpose(block);
        for (size_t i = 0; i < count; i++)
            if (size - at >= SIDE)
                memcpy(rows + i * size + at, block + i * SIDE, SIDE);
            else
                memcpy(rows + i * size + at, block + i * SIDE, size - at);
    }
}

/* `count` image rows from y on to `rows`. */
static inline void pass_horizontal(const struct passes *passes, size_t y, size_t count)
{
    const struct axis *columns = &passes->columns;
    size_t stride = 3 * passes->image->width, x = 0;
    while (x < columns->count) {
        size_t begin = columns->begin[x], last = x, end = begin;
        for (; last < columns->count; last++) {
            if (columns->begin[last] + columns->length[last] - begin > passes->tile_width)
                break;
            end = columns->begin[last] + columns->length[last];
        }
        rows_to_columns(passes->image->pixels + y * stride + 3 * begin, stride, count,
                        3 * (end - begin), passes->tile);
        for (; x < last; x++)
            blend(passes->tile + (columns->begin[x] - begin) * CHUNK, CHUNK,
                  columns->weights + x * columns->taps, columns->length[x],
                  passes->turned + x * CHUNK);
    }
    columns_to_rows(passes->turned, 3 * columns->count, count,
                    passes->rows + (y - passes->first) * 3 * columns->count);
}

static inline void pass_vertical(const struct passes *passes, uint8_t *out)
{
    const struct axis *lines = &passes->lines;
    size_t size = 3 * passes->columns.count;
    uint8_t part[CHUNK];
    for (size_t y = 0; y < lines->count; y++, out += size) {
        const uint8_t *from = passes->rows + (lines->begin[y] - passes->first) * size;
        const int32_t *weights = lines->weights + y * lines->taps;
        size_t at = 0;
        for (; at + CHUNK <= size; at += CHUNK)
            blend(from + at, size, weights, lines->length[y], out + at);
        if (at == size)
            continue;
        blend(from + at, size, weights, lines->length[y], part);
        memcpy(out + at, part, size - at);
    }
}

static inline void passes_run(const struct passes *passes, uint8_t *out)
{
    for (size_t y = passes->first; y < passes->last; y += SIDE)
        pass_horizontal(passes, y, passes->last - y < SIDE ? passes->last - y : SIDE);
    pass_vertical(passes, out);
}

#endif
