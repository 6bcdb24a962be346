/* The interleaved engine for x86-64 with BMI2 and AVX2 (Haswell, Zen and later). */
#define LEVEL_RUN interleaved_avx2
#include "x86.h"
