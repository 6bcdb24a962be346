/* The batch kernel in plain C, for every CPU. */
#define LEVEL_RUN fz_inflate_portable
#include "level.h"
