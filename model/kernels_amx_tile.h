/* kernels_amx_tile.h - the register tile of Intel's tile registers (AMX); see kernels_tile.h.
 *
 * A tile register holds up to 16 rows of 64 bytes: of input a row is words of one pixel, of weights
 * a word of 16 outputs each, of sums 16 outputs of one pixel. All are read as they lie in memory, a
 * row of input a pixel's step after the one before. Two registers of pixels times two of weights
 * take four loads for four multiplications; where a row of the image has no more than 16 pixels,
 * one register of them is multiplied by all four of the block's weights.
 *
 * SIMD_TILE_DOT(sum, in, weights), of numbers of registers, multiplies and adds. The compiler knows
 * nothing of what these instructions read and write; the barriers tell it.
 */
#include <assert.h>
#include <immintrin.h>

#define ROWS      16 /* of a register */
#define ROW_WORDS 16 /* of a row, at most */
#define BARRIER() __asm__ volatile("" : : : "memory")

/* Numbers, and not of an enum, as they become part of the instructions' text. */
#define SUM_0     0
#define SUM_1     1
#define SUM_2     2
#define SUM_3     3
#define IN_0      4
#define IN_1      5
#define WEIGHTS_0 6
#define WEIGHTS_1 7

/* All weights count as near, so that no sums are kept. */
#define NEAR_BYTES (SIZE_MAX / 2)

/* What ldtilecfg reads. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* For registers of `pixels` pixels, of each `words` words. */
static void configure(size_t pixels, size_t words)
{
    struct tile_config config = {.palette = 1};
    for (size_t i = SUM_0; i <= WEIGHTS_1; i++) {
        config.rows[i] = (uint8_t)(i < WEIGHTS_0 ? pixels : words);
        config.row_bytes[i] = (uint16_t)(i == IN_0 || i == IN_1 ? words * sizeof(word) : 64);
    }
    BARRIER();
    _tile_loadconfig(&config);
}

/* Pixels of a register, where a row is cut into as few pieces as can be, all of this size. */
static size_t piece_of(size_t pixels)
{
    return divide_up(pixels, divide_up(pixels, ROWS));
}

/* Words of a register: a photo's window has few in a row, all else whole registers full. */
static size_t words_of(const struct tile *tile)
{
    return min_size(tile->row_words, ROW_WORDS);
}

static void tiles_begin(struct tile *tile, size_t width, enum input input, size_t pixels)
{
    (void)width, (void)input;
    assert(tile->row_words % words_of(tile) == 0);
    tile->most = 2 * ROWS;
    configure(piece_of(pixels), words_of(tile));
}

static void tiles_end(void)
{
    _tile_release();
}

/* The weights that follow, a share of them at each of a 1x1 tile's input blocks. */
INLINE void prefetch_ahead(const struct tile *t, size_t block)
{
    for (size_t l = block * t->ahead_lines; l < (block + 1) * t->ahead_lines; l++)
        for (size_t r = 0; r < REGISTERS; r++)
            __builtin_prefetch(t->ahead + l * LANES + r * SIMD_FLOATS);
}

/* As block_end and join_block, of a register of outputs at channel `at` of a pixel's block. */
INLINE void register_end(const struct tile *t, sums sum, size_t pixel, size_t at)
{
    unsigned char *out = t->out + pixel * t->out_pixel;
    if (!t->gates) {
        sums_end(sum, t->bias + at, t->head, t->relu, out, at);
        return;
    }
    linear *x = (linear *)(void *)out + at;
    vec value = sums_value(sum, t->bias + at, t->head);
    value = join(value, LOAD(t->gates + at), bf16_load(x));
    bf16_store(x, value);
    if (APART && t->next)
        active_store(t->next + pixel * LANES + at, value * t->inverse);
}

/* `count` pixels from each of the places on, counted in the row: of two places two registers' worth
 * of outputs from the first-th on, of one all four. Pixels before `fresh` are stored already. */
INLINE void tile_body(const struct tile *t, const size_t places, const size_t *place, size_t count,
                      size_t fresh, size_t step, size_t first)
{
    _Alignas(64) sums sum[REGISTERS][ROWS];
    const size_t words = words_of(t), wide = REGISTERS / places;
    const long in_row = (long)(step * sizeof(active)), weights_row = LANES * sizeof(word);
    const word *weights = t->weights + first * SIMD_FLOATS;
    for (size_t s = 0; s < REGISTERS; s++)
        sum[s][0] = sums_begin(t->bias + (first + s % wide) * SIMD_FLOATS, t->head);
    BARRIER();
    _tile_loadd(SUM_0, sum[0], 0); /* of every pixel the same */
    _tile_loadd(SUM_1, sum[1], 0);
    _tile_loadd(SUM_2, sum[2], 0);
    _tile_loadd(SUM_3, sum[3], 0);
    for (size_t b = 0; b < t->blocks; b++) {
        if (t->kernel == 1 && first == 0)
            prefetch_ahead(t, b);
        for (size_t ky = 0; ky < t->kernel; ky++) {
            const active *in = t->in + b * t->in_block + ky * t->in_row;
            for (size_t i = 0; i < t->row_words;
                 i += words, in += words * GROUP, weights += words * LANES) {
                _tile_loadd(IN_0, in + place[0] * step, in_row);
                _tile_loadd(WEIGHTS_0, weights, weights_row);
                SIMD_TILE_DOT(SUM_0, IN_0, WEIGHTS_0);
                _tile_loadd(WEIGHTS_1, weights + SIMD_FLOATS, weights_row);
                SIMD_TILE_DOT(SUM_1, IN_0, WEIGHTS_1);
                if (places == 2) {
                    _tile_loadd(IN_1, in + place[1] * step, in_row);
                    SIMD_TILE_DOT(SUM_2, IN_1, WEIGHTS_0);
                    SIMD_TILE_DOT(SUM_3, IN_1, WEIGHTS_1);
                } else {
                    _tile_loadd(WEIGHTS_0, weights + 2 * SIMD_FLOATS, weights_row);
                    SIMD_TILE_DOT(SUM_2, IN_0, WEIGHTS_0);
                    _tile_loadd(WEIGHTS_1, weights + 3 * SIMD_FLOATS, weights_row);
                    SIMD_TILE_DOT(SUM_3, IN_0, WEIGHTS_1);
                }
            }
        }
    }
    _tile_stored(SUM_0, sum[0], sizeof(sums));
    _tile_stored(SUM_1, sum[1], sizeof(sums));
    _tile_stored(SUM_2, sum[2], sizeof(sums));
    _tile_stored(SUM_3, sum[3], sizeof(sums));
    BARRIER();
    for (size_t s = 0; s < REGISTERS; s++) {
        size_t at = (first + s % wide) * SIMD_FLOATS, begin = place[s / wide];
        for (size_t p = s / wide + 1 == places ? fresh - begin : 0; p < count; p++)
            register_end(t, sum[s][p], begin + p, at);
    }
}

static void tile_of_one(const struct tile *t, const size_t *place, size_t count, size_t fresh,
                        size_t step)
{
    tile_body(t, 1, place, count, fresh, step, 0);
}

static void tile_of_two(const struct tile *t, const size_t *place, size_t count, size_t fresh,
                        size_t step, size_t first)
{
    tile_body(t, 2, place, count, fresh, step, first);
}

/* Output pixels of one row. Pieces are all of the configured size, so the last may begin within the
 * one before; what that stored is not joined again. */
static void run_row(struct tile *tile, size_t pixels, size_t in_step)
{
    size_t count = piece_of(pixels), pieces = divide_up(pixels, count);
    for (size_t piece = 0; piece < pieces; piece += 2) {
        size_t place[] = {min_size(piece * count, pixels - count),
                          min_size((piece + 1) * count, pixels - count)};
        bool alone = piece + 1 == pieces;
        size_t fresh = (alone ? piece : piece + 1) * count; /* of the last of them */
        if (alone)
            tile_of_one(tile, place, count, fresh, in_step);
        else
            for (size_t first = 0; first < REGISTERS; first += REGISTERS / 2)
                tile_of_two(tile, place, count, fresh, in_step, first);
        tile->ahead += tile->blocks * tile->ahead_lines * LANES;
    }
}

/* Four sums, as a tile has, of full registers. */
static double peak(size_t loops)
{
    enum { DOTS = 4 };
    configure(ROWS, ROW_WORDS);
    _tile_zero(SUM_0);
    _tile_zero(SUM_1);
    _tile_zero(SUM_2);
    _tile_zero(SUM_3);
    _tile_zero(IN_0);
    _tile_zero(IN_1);
    _tile_zero(WEIGHTS_0);
    _tile_zero(WEIGHTS_1);
    for (size_t i = 0; i < loops; i++) {
        SIMD_TILE_DOT(SUM_0, IN_0, WEIGHTS_0);
        SIMD_TILE_DOT(SUM_1, IN_0, WEIGHTS_1);
        SIMD_TILE_DOT(SUM_2, IN_1, WEIGHTS_0);
        SIMD_TILE_DOT(SUM_3, IN_1, WEIGHTS_1);
    }
    _tile_release();
    return (double)loops * DOTS * ROWS * SIMD_FLOATS * ROW_WORDS * GROUP;
}
