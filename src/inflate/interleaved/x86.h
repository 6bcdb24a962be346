/* The interleaved engine for x86-64: included by the levels that have BMI2 and AVX2 at least. */
#if defined __x86_64__
#include <immintrin.h>

/* Only these: with -march=native gcc 12 keeps integers in vector registers, which costs the loops 15 %. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("bmi,bmi2,lzcnt,avx2"))), apply_to = function)
#else
#pragma GCC target("bmi,bmi2,lzcnt,avx2")
#endif
#define LEVEL_AVX2
#include "level.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
#include "lane.h"
void LEVEL_RUN(interleaved_state *state) { interleaved_portable(state); }   /* never chosen */
#endif
