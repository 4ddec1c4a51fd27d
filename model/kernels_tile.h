/* kernels_tile.h - what a convolution hands to a register tile, in which all multiplications are
 * done, and what all tiles have in common; included by kernels_simd.h, which says what the names
 * are.
 *
 * A tile is some output pixels of a row times some blocks of output channels; it runs over all
 * input channels and taps with the sums in registers, and stores once, with bias and ReLU. Of
 * vector registers it is made by kernels_simd_tile.h, of Intel's tile registers by
 * kernels_amx_tile.h. Each defines
 *   tiles_begin, tiles_end   before and after the rows of a region, whose tiles are alike
 *   run_row                  output pixels of one row
 *   peak                     see kernels.h
 */
#define WORDS (LANES / GROUP) /* of active input that hold a block of channels of one pixel */

/* A photo's channels and stride: fixed, so that the tiles' addresses are. */
#define PHOTO_CHANNELS 3
#define PHOTO_STRIDE   2

struct tile {
    void (*const *run)(const struct tile *); /* by the pixels of a tile, less one */
    size_t most;                             /* pixels of a tile */
    const active *in;    /* first output pixel's window, in the first input block */
    size_t in_row;       /* channels from an input row to the next */
    size_t in_block;     /* channels from an input block to the next */
    size_t blocks;       /* input blocks */
    size_t kernel;       /* side of the window */
    size_t row_words;    /* of a row of the window in an input block */
    const word *weights; /* of the first output block */
    size_t panel;        /* words from an output block's weights to the next one's */
    const word *ahead;   /* weights that are read next, of which a 1x1 tile prefetches */
    size_t ahead_lines;  /* so many words of each output of each of its input blocks */
    const float *bias;
    size_t head;        /* floats from one vector before the bias to the next, see HEAD_FLOATS */
    unsigned char *out; /* first output pixel in the first output block */
    size_t out_pixel;   /* bytes from an output pixel to the next */
    size_t out_block;   /* bytes from an output block to the next */
    bool relu;
    const float *gates; /* of the first output block, where `out` is the shortcut that the tile is
                         * joined with, see conv_join; else NULL */
    active *next;       /* the first output pixel there of the sum's active form, or NULL */
    float inverse;      /* of its unit */
    sums *kept;         /* of the first output pixel and block, where the tile */
    bool resumes, suspends;        /* begins with sums kept before, or keeps its own for later */
    size_t kept_pixel, kept_block; /* registers from a pixel's to the next, a block's to the next */
};

/* Elements from the first register of a tile's pixel to its j-th, in an array whose blocks are
 * `block` apart. */
#define AT(j, block) ((j) / REGISTERS * (block) + (j) % REGISTERS * SIMD_FLOATS)

/* The kinds of input, each with tiles of its own, so that their loops and addresses are fixed:
 * blocked, of which a window is one pixel; that, with outputs that are joined with the shortcut;
 * blocked, larger windows at stride 1 and 2; a photo. */
enum input { flat, joined, dense, strided, photo, INPUTS };

/* Channels from a pixel that an output reads to the next output's. */
INLINE size_t pixel_step(enum input input)
{
    return input == photo ? PHOTO_STRIDE * PHOTO_CHANNELS : input == strided ? 2 * LANES : LANES;
}

/* Blocks of the next tile where `left` are left of a group of `wide`. */
static size_t tile_width(size_t wide, size_t left)
{
    if (left >= wide)
        return wide;
    return TILE_2 && left >= 2 ? 2 : 1;
}

/* The widest tile that suits blocked input: 4 blocks for short rows, else 2, else 1. Where a block
 * takes several registers, tiles of two are narrow; they are for rows that tiles of one would cut
 * into two of so few sums that each waits for the one before. */
static size_t widest_of(size_t columns)
{
    if (TILE_4 && columns <= 3 * TILE_4 && columns != TILE_2)
        return 4;
    return TILE_2 && (REGISTERS == 1 || (columns < 3 * TILE_1 && columns % TILE_1)) ? 2 : 1;
}

/* Has the `tiles` that 1x1 weights pass by share the prefetching of those that follow: as many, of
 * `words` an input block. */
static void aim_ahead(struct tile *tile, const word *weights, size_t words, size_t tiles)
{
    tile->ahead = weights;
    tile->ahead_lines = divide_up(words, tiles);
}
