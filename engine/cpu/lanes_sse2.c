/* The kernels of lanes_conv.h and lanes_other.h for any x86-64. */
#include <immintrin.h> /* before the target is set: its functions bring their own */

#define LANES_WIDTH  4
#define LANES_PIXELS 2
#define LANES_TABLE  lanes_sse2_kernels
#define LANES_ROWS   lanes_sse2_rows

#include "engine/cpu/lanes_tile.h" /* the order matters */

#include "engine/cpu/lanes_conv.h"

#include "engine/cpu/lanes_depthwise.h"

#include "engine/cpu/lanes_forward.h"

#include "engine/cpu/lanes_inverted.h"

#include "engine/cpu/lanes_back.h"

#include "engine/cpu/lanes_gradient.h"

#include "engine/cpu/lanes_dense.h"

#include "engine/cpu/lanes_product.h"

#include "engine/cpu/lanes_points.h"

#include "engine/cpu/lanes_winograd.h"

#include "engine/cpu/lanes_winograd_few.h"

#include "engine/cpu/lanes_winograd_dw.h"

#include "engine/cpu/lanes_norm.h"

#include "engine/cpu/lanes_update.h"

#include "engine/cpu/lanes_nests.h"

#include "engine/cpu/lanes_relayout.h"

#include "engine/cpu/lanes_pool.h"

#include "engine/cpu/lanes_softmax.h"

#include "engine/cpu/lanes_other.h"

#include "engine/cpu/lanes_row.h"
