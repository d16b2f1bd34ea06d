/* EVERYWHERE: a small function that the host and, where nvcc compiles, a GPU call alike. What is written with it is
 * both C and C++: no compound literals, casts from void pointers spelled out. */
#ifndef ENGINE_EVERYWHERE_H
#define ENGINE_EVERYWHERE_H

#ifdef __CUDACC__
#define EVERYWHERE static __host__ __device__ inline
#else
#define EVERYWHERE static inline
#endif

#endif
