/* kernels_avx2.h - single instructions of AVX2 for operations of kernels_vector.h that GCC 12 makes
 * several of. */
#include <immintrin.h>

#define SIMD_MAX(a, b) ((vec)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define SIMD_MIN(a, b) ((vec)_mm256_min_ps((__m256)(a), (__m256)(b)))

#define SIMD_BF16_LOAD(from)                                                                       \
    ((vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(from))), 16))
#define SIMD_NARROW(lanes)                                                                         \
    ((bf16_vec)_mm_packus_epi32(_mm256_castsi256_si128((__m256i)(lanes)),                          \
                                _mm256_extracti128_si256((__m256i)(lanes), 1)))

#define SIMD_ROUND(value) ((ivec)_mm256_cvtps_epi32((__m256)(value)))

/* A block of channels is two registers, which pass to and from 16 bits as a pair. */
#define SIMD_LOWER(a, b) ((vec)_mm256_permute2f128_ps((__m256)(a), (__m256)(b), 0x20))
#define SIMD_UPPER(a, b) ((vec)_mm256_permute2f128_ps((__m256)(a), (__m256)(b), 0x31))
#define SIMD_UNPACK_BF16(from, half)                                                               \
    ((vec)_mm256_unpack##half##_epi16(_mm256_setzero_si256(),                                      \
                                      _mm256_loadu_si256((const __m256i *)(from))))
#define SIMD_PACK_WORDS(a, b) _mm256_packus_epi32((__m256i)(a), (__m256i)(b))
#define SIMD_PACK_BYTES(a, b)                                                                      \
    _mm_packus_epi16(_mm256_castsi256_si128(_mm256_packs_epi32((__m256i)(a), (__m256i)(b))),       \
                     _mm256_extracti128_si256(_mm256_packs_epi32((__m256i)(a), (__m256i)(b)), 1))

#define SIMD_BYTES(value)                                                                          \
    ((active_lanes)_mm_cvtsi128_si64(                                                              \
        _mm_packus_epi16((__m128i)SIMD_NARROW(rounded(value)), _mm_setzero_si128())))
