/* The interleaved engine for x86-64 with AVX-512 and VBMI (Ice Lake, Zen 4 and later): that of AVX2 with
 * other copies of long matches. */
#define LEVEL_AVX512
#define LEVEL_RUN interleaved_avx512
#include "x86.h"
