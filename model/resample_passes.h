/* resample_passes.h - the two passes of a resize; the body of resample.c and resample_avx2.c.
 *
 * Included by these two alone, each of which is compiled for an instruction set: vectors of GCC are
 * taken apart where the registers are too narrow, before any function is inlined into another.
 *
 * Both passes are the same work: bytes that lie side by side, blended with those of further pixels
 * at a stride. For the horizontal pass eight rows are transposed, so that what lies side by side
 * are pixels above each other.
 */
#ifndef SENETD_RESAMPLE_PASSES_H
#define SENETD_RESAMPLE_PASSES_H

#include "image.h"
#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

/* Adds weighted bytes to the sums; those that belong together lie `stride` apart. Both ways are
 * what GCC makes good code of, the first with registers of 32 bytes, the second with others. */
#if defined(__AVX2__)
typedef int32_t words __attribute__((vector_size(32)));

static inline void widen(const uint8_t *from, words *out)
{
    for (size_t i = 0; i < 8; i++)
        (*out)[i] = from[i];
}

static inline void add(const uint8_t *from, size_t stride, const int32_t *weights, size_t length,
                       int32_t sums[CHUNK])
{
    words all[CHUNK / 8], part;
    memcpy(all, sums, sizeof all);
    for (size_t i = 0; i < length; i++, from += stride)
        for (size_t j = 0; j < CHUNK / 8; j++) {
            widen(from + 8 * j, &part);
            all[j] += part * weights[i];
        }
    memcpy(sums, all, sizeof all);
}
#else
static inline void add(const uint8_t *from, size_t stride, const int32_t *weights, size_t length,
                       int32_t sums[CHUNK])
{
    for (size_t i = 0; i < length; i++, from += stride)
        for (size_t j = 0; j < CHUNK; j++)
            sums[j] += from[j] * weights[i];
}
#endif

static inline void blend(const uint8_t *from, size_t stride, const int32_t *weights, size_t length,
                         uint8_t *out)
{
    int32_t sums[CHUNK];
    for (size_t j = 0; j < CHUNK; j++)
        sums[j] = 1 << (FRACTION_BITS - 1); /* to round */
    add(from, stride, weights, length, sums);
    for (size_t j = 0; j < CHUNK; j++) {
        int32_t value = sums[j] >> FRACTION_BITS; /* floor */
        value = value < 0 ? 0 : value;
        out[j] = (uint8_t)(value > 255 ? 255 : value);
    }
}

/* Swaps the high part of a and the low part of b; mask is of the low parts. */
static inline void swap(uint64_t *a, uint64_t *b, uint64_t mask, unsigned shift)
{
    uint64_t x = *a, y = *b;
    *a = (x & mask) | (y & mask) << shift;
    *b = (x >> shift & mask) | (y & ~mask);
}

/* Transposes SIDE x SIDE bytes, the first of a row in its lowest byte. */
static inline void transpose(uint64_t block[SIDE])
{
    for (size_t i = 0; i < 4; i++)
        swap(&block[i], &block[i + 4], 0x00000000FFFFFFFF, 32);
    for (size_t i = 0; i < 4; i++)
        swap(&block[i + (i & 2)], &block[i + (i & 2) + 2], 0x0000FFFF0000FFFF, 16);
    for (size_t i = 0; i < 4; i++)
        swap(&block[2 * i], &block[2 * i + 1], 0x00FF00FF00FF00FF, 8);
}

/* size bytes of `count` rows, the last of which stands for those that are missing ->
 * columns[size][SIDE], where size is rounded up to SIDE. */
static inline void rows_to_columns(const uint8_t *rows, size_t stride, size_t count, size_t size,
                                   uint8_t *columns)
{
    uint64_t block[SIDE] = {0};
    for (size_t at = 0; at < size; at += SIDE, columns += SIDE * SIDE) {
        for (size_t i = 0; i < SIDE; i++) {
            const uint8_t *from = rows + (i < count ? i : count - 1) * stride + at;
            if (size - at >= SIDE)
                memcpy(&block[i], from, SIDE);
            else
                memcpy(&block[i], from, size - at);
            block[i] = le64toh(block[i]);
        }
        transpose(block);
        for (size_t i = 0; i < SIDE; i++)
            block[i] = htole64(block[i]);
        memcpy(columns, block, sizeof block);
    }
}

/* The way back, to rows of size bytes. */
static inline void columns_to_rows(const uint8_t *columns, size_t size, size_t count, uint8_t *rows)
{
    uint64_t block[SIDE];
    for (size_t at = 0; at < size; at += SIDE, columns += SIDE * SIDE) {
        memcpy(block, columns, sizeof block);
        for (size_t i = 0; i < SIDE; i++)
            block[i] = le64toh(block[i]);
        transpose(block);
        for (size_t i = 0; i < count; i++) {
            uint64_t row = htole64(block[i]);
            if (size - at >= SIDE)
                memcpy(rows + i * size + at, &row, SIDE);
            else
                memcpy(rows + i * size + at, &row, size - at);
        }
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
